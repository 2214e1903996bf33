"""Parameter groups, schedules, clipping."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bench.engine.optimiser import build_optimizer, clip_gradients, rate_factor, set_rates
from bench.errors import BenchError
from bench.spec import ClipSpec, OptimizerSpec, ScheduleSpec


def parameters(*values: float) -> list[nn.Parameter]:
    return [nn.Parameter(torch.tensor([float(value)])) for value in values]


# --- groups ------------------------------------------------------------------------------------


def test_rates_and_decay_by_group() -> None:
    groups = {"visual": parameters(1), "mask": parameters(1), "other": parameters(1, 2)}
    spec = OptimizerSpec(rates={"rest": 1e-3, "visual": 1e-4}, weight_decay=0.1, no_decay=("mask",))
    optimizer = build_optimizer(groups, spec)
    set_rates(optimizer, ScheduleSpec(), 0.0, 0.0)
    found = {g["name"]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups}
    assert found == {"visual": (1e-4, 0.1), "mask": (1e-3, 0.0), "other": (1e-3, 0.1)}


def test_without_rest_every_group_needs_a_rate() -> None:
    groups = {"visual": parameters(1), "words": parameters(1)}
    build_optimizer(groups, OptimizerSpec(rates={"visual": 1.0, "words": 1.0}))
    with pytest.raises(BenchError, match="rate for parameter group 'words'"):
        build_optimizer(groups, OptimizerSpec(rates={"visual": 1.0}))


@pytest.mark.parametrize(
    "spec",
    [
        OptimizerSpec(rates={"rest": 1.0, "visaul": 0.1}),
        OptimizerSpec(rates={"rest": 1.0}, no_decay=("visaul",)),
    ],
)
def test_an_unknown_group_is_refused(spec: OptimizerSpec) -> None:
    with pytest.raises(BenchError, match=r"'visaul'\s+fix: did you mean 'visual'"):
        build_optimizer({"visual": parameters(1)}, spec)


def test_a_group_of_another_configuration_is_no_mistake() -> None:
    spec = OptimizerSpec(rates={"rest": 1.0, "visual": 0.1}, no_decay=("mask",))
    optimizer = build_optimizer({"words": parameters(1)}, spec, ("visual", "mask"))
    assert [g["name"] for g in optimizer.param_groups] == ["words"]


def test_an_empty_group_is_left_out() -> None:
    optimizer = build_optimizer({"visual": [], "words": parameters(1)}, OptimizerSpec())
    assert [g["name"] for g in optimizer.param_groups] == ["words"]


@pytest.mark.parametrize(("name", "decoupled"), [("adam", False), ("adamw", True)])
def test_first_step_by_hand(name: str, decoupled: bool) -> None:
    """Adam's first step is the sign of the gradient; AdamW's decay stands beside it."""
    [parameter] = group = parameters(2.0)
    spec = OptimizerSpec(name, {"rest": 0.1}, weight_decay=0.5)
    optimizer = build_optimizer({"w": group}, spec)
    set_rates(optimizer, ScheduleSpec(), 0.0, 0.0)
    parameter.grad = torch.tensor([-3.0])
    optimizer.step()
    expected = 2.0 - 0.1 * 0.5 * 2.0 + 0.1 if decoupled else 2.0 + 0.1
    assert parameter.item() == pytest.approx(expected, rel=1e-6)


# --- schedules ---------------------------------------------------------------------------------

SHARES = [0.0, 0.1, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (ScheduleSpec(), [1.0] * 6),
        (ScheduleSpec("linear"), [1.0, 0.9, 0.75, 0.5, 0.25, 0.0]),
        (ScheduleSpec("linear", floor=0.2), [1.0, 0.92, 0.8, 0.6, 0.4, 0.2]),
        (ScheduleSpec("cosine"), [(1 + math.cos(math.pi * s)) / 2 for s in SHARES]),
        (ScheduleSpec("cosine", floor=1.0), [1.0] * 6),
        (ScheduleSpec(warmup=0.5), [1e-3, 0.2, 0.5, 1.0, 1.0, 1.0]),
        (ScheduleSpec("linear", warmup=0.5), [1e-3, 0.2, 0.5, 1.0, 0.5, 0.0]),
    ],
)
def test_schedules_over_the_budget(schedule: ScheduleSpec, expected: list[float]) -> None:
    assert [rate_factor(schedule, s, 0.0) for s in SHARES] == pytest.approx(expected)


def test_steps_by_epoch() -> None:
    """R2Gen's: x 0.1 every 50 epochs; nothing happens within an epoch."""
    schedule = ScheduleSpec("step", every_epochs=50, factor=0.1)
    factors = [rate_factor(schedule, 0.9, e) for e in (0, 49.99, 50, 99.9, 100, 149)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert rate_factor(ScheduleSpec("step"), 0.5, 10) == 1.0


def test_set_rates() -> None:
    optimizer = build_optimizer(
        {"a": parameters(1), "b": parameters(1)}, OptimizerSpec(rates={"a": 2.0, "rest": 1.0})
    )
    for _ in range(3):  # never relative to the rate before
        set_rates(optimizer, ScheduleSpec("linear"), 0.75, 0.0)
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.25]


# --- clipping ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        (ClipSpec(), [3.0, -4.0]),
        (ClipSpec("value", 3.5), [3.0, -3.5]),
        (ClipSpec("norm", 1.0), [0.6, -0.8]),
        (ClipSpec("norm", 9.0), [3.0, -4.0]),
    ],
)
def test_clipping(clip: ClipSpec, expected: list[float]) -> None:
    group = [*parameters(0, 0), nn.Parameter(torch.zeros(2))]  # the last got no gradient
    group[0].grad, group[1].grad = torch.tensor([3.0]), torch.tensor([-4.0])
    clip_gradients(group, clip)
    found = [float(p.grad) for p in group[:2] if p.grad is not None]
    assert found == pytest.approx(expected, rel=1e-5)
