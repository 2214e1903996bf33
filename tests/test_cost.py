"""What a plan costs: FLOPs that are those of a real step, seconds that add up."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.engine.stages import can_be_kept
from bench.engine.validation import Looks, Position
from bench.perf.cost import Cost, _decoded, _rate, _time, cost_of
from bench.perf.elsewhere import there
from bench.perf.shapes import Shapes
from bench.provenance import environment
from bench.runs.training import initial_model, open_training
from bench.runs.workspace import Workspace
from bench.spec import SelectionSpec
from bench.store import RunFolder, write_json
from bench.suites.composer import Composer
from bench.suites.suite import Row

SMALL = ("dataset.train=8", "dataset.val=4", "dataset.test=4", "size=tiny", "budget=tiny",
         "size.image.size=32", "size.image.resize=36", "size.d=16", "size.d_ff=16",
         "size.layers=1", "size.backbone_params.width=4", "budget.batch=4")  # fmt: skip


def test_flops_are_those_of_a_real_step(tmp_path: Path) -> None:
    work = Workspace(tmp_path / "runs", tmp_path / "cache")
    spec = Composer(work, None, [*SMALL, "dataset=synthetic"]).row(Row("base", "base"))
    cost = cost_of(spec, work)
    training = open_training(spec, initial_model(spec, work), work, RunFolder(work.out, "x"))
    training.first_losses(1)
    # Reports are shorter than they may be: the estimate is an upper bound, and a near one.
    real = training.meter.flops_per_step / spec.train.batch
    assert real <= cost.example < 2 * real
    assert cost.report > 0
    parameters = sum(p.numel() for p in training.model.parameters())
    assert cost.memory > 16 * parameters
    assert cost.weights == 4 * parameters
    assert 100 < cost.started < 2000
    assert cost.examples == spec.budget.amount


def test_validations_that_write_nothing_cost_nothing(tmp_path: Path) -> None:
    """Three looks of the preset small may be sealed; with "last" or a loss none is written."""
    work = Workspace(tmp_path / "runs", tmp_path / "cache")
    spec = Composer(work, None, ["budget=small", "budget.amount=24000"]).row(Row("base", "base"))
    epoch = 1200
    assert spec.selection.every_epochs == 2
    due, now = Looks(spec, epoch), [Position(i / 1500, i * 16) for i in range(1501)]
    looks = [b.progress for a, b in pairwise(now) if due.due(a, b)]
    written = sum(can_be_kept(spec.stages, 0, spec.selection, share) for share in looks)
    assert _decoded(spec, 24_000, epoch) == written == 3
    assert _decoded(replace(spec, selection=SelectionSpec("loss")), 24_000, epoch) == 0


def test_runs_of_another_machine_say_nothing_of_this_one(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "x-s0")
    write_json(folder / "train.json", {"flops": 6e9})
    write_json(folder / "timing.json", {"device_seconds": 2.0})
    write_json(folder / "env.json", environment("cpu"))
    folder.seal(status="predicted")
    assert _rate(folder, environment("cpu")) == 3e9
    write_json(folder / "env.json", environment("cpu") | {"device": "NVIDIA H200"})
    folder.seal(status="predicted")
    assert _rate(folder, environment("cpu")) == 0


def test_shapes_that_are_remembered_give_the_figures_of_shapes_that_are_not() -> None:
    class Fresh(dict[Any, Any]):
        """Remembers nothing."""

        def __setitem__(self, key: Any, value: Any) -> None:
            pass

    def counted(shapes: Shapes) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        torch.manual_seed(0)
        layer = torch.nn.LSTMCell(6, 5)
        with there(layer), shapes:
            x, state = torch.empty(3, 6, device="meta"), None
            for _ in range(4):
                state = layer(x, state)
            both = torch.stack((state[0], state[1].double().float()))
            both.sum().backward()
            return shapes.total, tuple(both.shape), both.stride()

    fresh = Shapes()
    fresh.known = Fresh()  # type: ignore[misc]
    assert counted(Shapes()) == counted(Shapes()) == counted(fresh)
    assert Shapes.known
    assert fresh.total > 0


def test_seconds() -> None:
    cost = Cost(2e9, 1e9, 1e9, 400, 4e6, 1000, 64, 10, 50, "fp32")
    assert cost.seconds(1e9) == pytest.approx(2000 + 64 / 0.2)
    # On a fast device kernels have to be started: 100 steps of 400, and 50 words of one batch.
    assert cost.seconds(1e18, launching=True) == pytest.approx(100 * 0.02 + 50 * 0.005)
    assert replace(cost, examples=2000).seconds(1e9) > cost.seconds(1e9)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (90, "1.5 min"), (7200, "2.0 h"),
                          (864000, "10.0 d")],
)  # fmt: skip
def test_time_in_words(seconds: float, text: str) -> None:
    assert _time(seconds) == text
