"""The meter."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from bench.engine.meter import Meter, peak_memory_mb
from bench.spec import BudgetSpec


def spend(meter: Meter, seconds: float = 0.5) -> int:
    """Steps until the budget is gone."""
    while not meter.exhausted:
        meter.flops_per_step = 10.0
        meter.add_step()
        meter.device_seconds += seconds
    return meter.steps


@pytest.mark.parametrize(
    ("unit", "amount", "steps"),
    [
        ("steps", 5, 5),
        ("steps", 5.9, 5),
        ("examples", 40, 5),
        ("examples", 47, 5),
        ("examples", 48, 6),
        ("flops", 50, 5),
        ("flops", 59, 5),
        ("device_seconds", 2.5, 5),
        ("device_seconds", 2.6, 6),
    ],
)
def test_no_more_than_the_budget(unit: str, amount: float, steps: int) -> None:
    """Whole steps that fit; seconds are known only after the step that spends the last."""
    meter = Meter(BudgetSpec(unit, amount), batch=8)
    assert spend(meter) == steps
    assert meter.examples == 8 * steps
    if unit != "device_seconds":
        assert meter.spent <= amount


def test_a_thousand_tenths() -> None:
    """Rounding must not cost or give a step."""
    meter = Meter(BudgetSpec("flops", 100.0), batch=1)
    while not meter.exhausted:
        meter.flops_per_step = 0.1
        meter.add_step()
    assert meter.steps == 1000


def test_progress() -> None:
    meter = Meter(BudgetSpec("examples", 32), batch=8)
    shares = [meter.progress]
    for _ in range(5):
        meter.add_step()
        shares.append(meter.progress)
    assert shares == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


def test_what_stands_beside_is_not_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def ticks() -> Iterator[float]:
        now = 0.0
        while True:
            yield now
            now += 3

    clock = ticks()
    monkeypatch.setattr("bench.engine.meter.time.perf_counter", lambda: next(clock))
    meter = Meter(BudgetSpec("device_seconds", 1), batch=1)
    for name in ("evaluation", "evaluation", "tokenising"):
        with meter.beside(name):
            pass
    with pytest.raises(KeyError), meter.beside("evaluation"):
        raise KeyError
    assert meter.other_seconds == {"evaluation": 9.0, "tokenising": 3.0}
    assert meter.device_seconds == meter.spent == 0.0


def test_state_survives_json() -> None:
    meter = Meter(BudgetSpec("flops", 1e3), batch=4)
    meter.flops_per_step = 7.3
    meter.add_step()
    with meter.beside("evaluation"):
        pass
    other = Meter(BudgetSpec("flops", 1e3), batch=4)
    other.restore(json.loads(json.dumps(meter.state())))
    assert other == meter


def test_peak_memory_is_plausible() -> None:
    assert 10 < peak_memory_mb("cpu") < 1e6
