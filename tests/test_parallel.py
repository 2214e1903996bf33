"""Two gloo processes against one: losses and weights of first steps, FLOPs, a resumed training.

`slow`: fifty steps of four models in two and four processes, and a process that is killed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import parallel_runs
import pytest
import torch
import torch.multiprocessing as mp
from parallel_runs import apart, distance, flops, work_off
from toy_training import SPEC, Prepare, facts, preparing, results

from bench.commands.status import _facts
from bench.data import batches
from bench.engine import train
from bench.engine.parallel import ALONE, World, alone, joined, share_statistics
from bench.errors import BenchError

ROOT = Path(__file__).parents[1]
STEPS = 4  # two of each of UAR's stages
ENVIRONMENT = {"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}


# --- parts of a batch ----------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "accumulate"), [(1, 2), (2, 1), (2, 2), (4, 2), (8, 1)])
def test_each_row_of_a_batch_is_one_process_s(size: int, accumulate: int) -> None:
    parts = [World(rank, size).rows(8, accumulate) for rank in range(size)]
    if size == 1:
        assert parts == [None]
        return
    assert sorted(np.concatenate([p for p in parts if p is not None])) == list(range(8))
    # The parts of a micro-batch together are that micro-batch of one process.
    micro = [p.reshape(accumulate, -1) for p in parts if p is not None]
    for i in range(accumulate):
        whole = sorted(np.concatenate([m[i] for m in micro]))
        assert whole == list(range(i * 8 // accumulate, (i + 1) * 8 // accumulate))


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(BenchError, match="4 studies at once cannot be divided between 3"):
        World(0, 3).rows(8, 2)


def test_processes_draw_other_noise_and_the_first_that_of_one_alone() -> None:
    seeds = {World(rank, 512).noise(2**56 - 1 + step) for rank in range(512) for step in range(9)}
    assert len(seeds) == 512 * 9
    assert max(seeds) < 2**63
    assert World(0, 4).noise(17) == ALONE.noise(17) == 17


def test_alone_a_shared_batch_norm_is_torch_s_and_leaves_no_trace() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    parameters = list(model.parameters())
    x = torch.randn(5, 3, 2, 2)
    expected = model(x)
    before = model[1].running_mean.clone()
    share_statistics(model, 2)
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    with alone(model):
        assert torch.equal(model(x), expected)
    assert torch.equal(model[1].running_mean, before)


# --- losses that are read seldom -----------------------------------------------------------------


@pytest.fixture
def prepare(tmp_path: Path) -> Iterator[Prepare]:
    yield from preparing(tmp_path)


def test_reading_losses_seldom_changes_no_file(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "FIRST_STEPS", 0)
    monkeypatch.setattr(train, "UNREAD", 5)
    each, seldom = prepare("each"), prepare("seldom")
    seldom.reads_each = False
    read = []
    seldom._read, whole = lambda: read.append(len(seldom.unread)) or whole(), seldom._read  # type: ignore[method-assign, func-returns-value]
    each.run()
    seldom.run()
    assert results(each) == results(seldom)
    assert max(read) == 3  # twelve steps and four looks: a look comes first
    assert facts(seldom)["steps"] == 12


def test_a_loss_that_is_not_finite_is_named_by_its_step(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "FIRST_STEPS", 0)
    training = prepare("nan", SPEC)
    training.reads_each = False
    loss, calls = training.model.loss, []

    def failing(batch: object) -> dict[str, torch.Tensor]:
        calls.append(batch)
        scale = torch.nan if len(calls) == 2 else 1.0
        return {k: v * scale for k, v in loss(batch).items()}

    training.model.loss = failing
    with pytest.raises(train.RunError, match="not finite at step 2"):
        training.run()
    assert not (training.folder / "checkpoints").exists()


# --- two processes -------------------------------------------------------------------------------


@pytest.fixture
def double() -> Iterator[None]:
    single = torch.Tensor.float
    batches._channels.cache_clear()  # what other tests made in float32
    yield parallel_runs.double()
    torch.Tensor.float = single  # type: ignore[method-assign]
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)
    batches._channels.cache_clear()  # what was made in float64


def work(rank: int, port: int, names: list[str], out: Path) -> None:
    os.environ.update(ENVIRONMENT, RANK=str(rank), MASTER_PORT=str(port))
    torch.set_num_threads(1)
    parallel_runs.double()
    with joined("cpu") as world:
        work_off(names, STEPS, out, world)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_two_processes_equal_one(
    tmp_path: Path, double: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """UAR of two stages has every kind of term, and a CNN with batch norm."""
    names = ["uar"]
    monkeypatch.setattr(os, "environ", dict(os.environ))
    work_off(names, STEPS, tmp_path, ALONE)
    port = free_port()
    other = mp.get_context("spawn").Process(target=work, args=(1, port, names, tmp_path))
    other.start()
    work(0, port, names, tmp_path)
    other.join()
    assert other.exitcode == 0
    for name in names:
        one, two = tmp_path / "1" / name, tmp_path / "2" / name
        assert distance(one, two) < 1e-10, name
        assert max(apart(one, two).values()) < 1e-7, name
        assert flops(one) == flops(two)


# --- slow ----------------------------------------------------------------------------------------


def launched(count: int, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """A command in `count` processes of torchrun, or in one without it."""
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count)]
    return subprocess.Popen(
        [*(start if count > 1 else [sys.executable]), *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "names"),
    [("single", ("base", "uar")), ("double", ("base", "uar", "mgca"))],
)
def test_fifty_steps_in_two_and_four_processes(
    precision: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    for count in (1, 2, 4):
        script = ("tests/parallel_runs.py", str(tmp_path), "50", *names)
        said, _ = (run := launched(count, *script, PRECISION=precision)).communicate()
        assert run.returncode == 0, said
    for name in names:
        for count in ("2", "4"):
            one, several = tmp_path / "1" / name, tmp_path / count / name
            assert distance(one, several) < 1e-5, (name, count)
            assert max(apart(one, several).values()) < 1e-5, (name, count)


@pytest.mark.slow
def test_killed_in_two_processes_one_or_four_end_with_the_weights_of_one(tmp_path: Path) -> None:
    def script(folder: str, count: int) -> subprocess.Popen[str]:
        arguments = ("tests/parallel_runs.py", str(tmp_path / folder), "whole", "20", "uar")
        return launched(count, *arguments, PRECISION="double")

    def ended(run: subprocess.Popen[str]) -> None:
        said, _ = run.communicate()
        assert run.returncode == 0, said

    ended(script("uninterrupted", 1))
    run = script("1", 2)
    while not (tmp_path / "1" / "uar" / "checkpoints" / "last.safetensors").exists():
        assert run.poll() is None
        time.sleep(0.02)
    os.kill(rank_of(run.pid, 1), signal.SIGKILL)
    run.communicate()
    assert run.returncode != 0
    assert not (tmp_path / "1" / "uar" / "train.json").exists()
    shutil.copytree(tmp_path / "1", tmp_path / "4")
    for count in (1, 4):
        ended(script(str(count), count))
        one, several = tmp_path / "uninterrupted" / "uar", tmp_path / str(count) / "uar"
        assert max(apart(one, several).values()) < 1e-7, count


@pytest.mark.slow
def test_a_killed_process_is_named_and_another_number_goes_on(tmp_path: Path) -> None:
    command = (
        *("-m", "bench", "run", "single", "model=base", "dataset.sample=64", "size=tiny"),
        *("budget=tiny", "budget.amount=960", "--until", "train", "--jobs", "1"),
        *("--out", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache")),
    )
    run = launched(2, *command)
    while not list(tmp_path.glob("runs/*/checkpoints/last.safetensors")):
        assert run.poll() is None
        time.sleep(0.2)
    os.kill(rank_of(run.pid, 1), signal.SIGKILL)
    said, _ = run.communicate()
    assert run.returncode == 1
    assert "process 1 of 2 (rank 1) ended: killed" in said
    assert "goes on from the last checkpoint" in said
    [last] = tmp_path.glob("runs/*/checkpoints/last.safetensors")
    stopped, kept = last.parents[1], (_facts(last) or {})["losses"]
    said, _ = (again := launched(1, *command)).communicate()
    assert again.returncode == 0, said
    found = (stopped / "losses.csv").read_text().splitlines()[1 : len(kept) + 1]
    assert [float(line.split(",")[1]) for line in found] == [row["ce"] for row in kept]
    assert json.loads((stopped / "manifest.json").read_text())["status"] == "predicted"
    assert json.loads((stopped / "train.json").read_text())["examples"] == 960


def rank_of(parent: int, rank: int) -> int:
    """Process id of a rank among the children of torchrun."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            above = re.search(r"^PPid:\s+(\d+)", (path / "status").read_text(), re.MULTILINE)
            if above and int(above[1]) == parent:
                environment = (path / "environ").read_text().split("\0")
                if f"RANK={rank}" in environment:
                    return int(path.name)
        except OSError:
            continue
    raise AssertionError(f"no rank {rank}")
