"""Checkpoints: bit for bit, and never half."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.engine.checkpoint import load_state, load_weights, save_state, save_weights
from bench.errors import DataError


class Net(nn.Module):
    """Floats, halves, integers, a buffer, tied weights, and a tensor that is not contiguous."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(3)
        self.low = nn.Parameter(torch.randn(2).bfloat16())
        self.turned = nn.Parameter(torch.randn(4, 2).t())

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.second(self.first(x)))
        return y.square().sum() + self.low.float().sum() + self.turned.sum()


def trained(seed: int, steps: int = 3, amsgrad: bool = True) -> tuple[Net, torch.optim.Optimizer]:
    net = Net(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, amsgrad=amsgrad)
    advance(net, optimizer, steps)
    return net, optimizer


def advance(net: Net, optimizer: torch.optim.Optimizer, steps: int) -> None:
    torch.manual_seed(5)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.randn(4, 3)).backward()
        optimizer.step()


def equal(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(k == m and v.dtype == w.dtype and torch.equal(v, w) for (k, v), (m, w) in pairs)


def test_weights(tmp_path: Path) -> None:
    net, _ = trained(0)
    save_weights(tmp_path / "w.safetensors", net, step=3, note="å")
    other = Net(1)
    assert load_weights(tmp_path / "w.safetensors", other) == {"step": 3, "note": "å"}
    assert equal(net, other)
    assert other.second.weight is other.first.weight


def test_equal_weights_are_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_weights(tmp_path / name, trained(0)[0], step=3)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_state_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    net, optimizer = trained(0)
    facts = {"meter": {"steps": 3, "seconds": 0.1 + 0.2}, "curve": [{"loss": 1 / 3}], "best": None}
    save_state(tmp_path / "last.safetensors", net, optimizer, facts)
    other, restored = trained(1, steps=1)
    assert load_state(tmp_path / "last.safetensors", other, restored) == facts
    assert equal(net, other)
    for one, two in ((net, optimizer), (other, restored)):
        advance(one, two, 4)
    assert equal(net, other)


def test_a_state_loads_into_an_optimizer_that_never_stepped(tmp_path: Path) -> None:
    net, optimizer = trained(0)
    save_state(tmp_path / "s", net, optimizer, {})
    other = Net(1)
    restored = torch.optim.AdamW(other.parameters(), lr=0.1, amsgrad=True)
    load_state(tmp_path / "s", other, restored)
    advance(net, optimizer, 2)
    advance(other, restored, 2)
    assert equal(net, other)


@pytest.mark.parametrize("keep", [0, 5, 0.5, -1])
def test_a_truncated_file_is_named(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "last.safetensors"
    net, optimizer = trained(0)
    save_state(path, net, optimizer, {})
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(DataError, match=r"last\.safetensors cannot be read"):
        load_state(path, net, optimizer)
    with pytest.raises(DataError, match=r"last\.safetensors cannot be read"):
        load_weights(path, net)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere cannot be read"):
        load_weights(tmp_path / "nowhere", Net(0))


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "w", nn.Linear(2, 2))
    with pytest.raises(DataError, match="does not fit Net"):
        load_weights(tmp_path / "w", Net(0))
