"""Two gloo processes against one process with the whole batch: same loss, same gradients."""

from __future__ import annotations

import socket
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from bench.engine.parallel import World, share_statistics
from mgca.model import MGCA

REPORTS = [
    "the heart is enlarged . small left effusion .",
    "lungs are clear . no effusion .",
    "right upper lobe opacity . the heart is normal .",
    "no pneumothorax . lungs are clear .",
    "large right effusion . mild edema .",
    "the heart is normal . no acute disease .",
]
BRANCHES = ("resnet", "vit")
ENCODERS = {
    "resnet": {"name": "resnet_small", "width": 4},
    "vit": {"name": "vit", "size": 32, "patch": 16, "width": 16, "depth": 1, "heads": 2},
}


def model(branch: str) -> MGCA:
    """Every normalisation, contrast and code depends on the whole batch; no dropout noise."""
    torch.manual_seed(0)
    made = MGCA(
        ENCODERS[branch],
        {"source": "scratch", "layers": 1, "width": 16, "heads": 2, "pieces": 80, "max_pieces": 16},
        dimensions=8,
        hidden=16,
        prototypes=10,
    )
    made.prepare(REPORTS)
    made.double().train()  # gradients through batch norm of six samples amplify rounding
    made.text_encoder.model.eval()
    return made


def batch(start: int, stop: int, whole: World | None = None) -> SimpleNamespace:
    noise = torch.Generator().manual_seed(1)
    images = torch.randn(6, 1, 3, 32, 32, generator=noise, dtype=torch.float64)
    texts = REPORTS[start:stop]
    return SimpleNamespace(images=images[start:stop], texts=texts, progress=0.5, whole=whole)


def measure(made: MGCA, part: SimpleNamespace) -> dict[str, Tensor]:
    """Terms, gradients and batch statistics of one process."""
    terms = made.loss(part)
    sum(terms.values()).backward()
    result = {f"loss/{k}": v.detach() for k, v in terms.items()}
    result |= {f"grad/{k}": v.grad for k, v in made.named_parameters() if v.grad is not None}
    buffers = {k: v for k, v in made.named_buffers() if k.endswith(("mean", "var"))}
    return result | {f"buffer/{k}": v for k, v in buffers.items()}


def work(rank: int, port: int, folder: Path) -> None:
    address = f"tcp://127.0.0.1:{port}"
    patience = timedelta(minutes=5)  # importing torch on a busy machine
    dist.init_process_group("gloo", address, patience, rank=rank, world_size=2)
    for branch in BRANCHES:
        made = model(branch)
        share_statistics(made, 2)
        found = measure(made, batch(3 * rank, 3 * rank + 3, World(rank, 2)))
        for value in found.values():  # what data-parallel training does with gradients
            dist.all_reduce(value)
            value /= 2
        if rank == 0:
            torch.save(found, folder / f"{branch}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the means over two processes, of each branch."""
    folder = tmp_path_factory.mktemp("pair")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    other = mp.get_context("spawn").Process(target=work, args=(1, port, folder))
    other.start()
    work(0, port, folder)
    other.join()
    assert other.exitcode == 0
    return folder


@pytest.mark.parametrize("branch", BRANCHES)
def test_two_processes_equal_one(pair: Path, branch: str) -> None:
    expected = measure(model(branch), batch(0, 6))
    found = torch.load(pair / f"{branch}.pt", weights_only=True)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-5, atol=1e-5), name
