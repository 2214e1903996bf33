"""The training loop: resume, learning, budgets, accumulation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from toy import load
from toy_training import (
    BACK,
    SPEC,
    TWO_STAGES,
    DeathError,
    Prepare,
    curve,
    facts,
    preparing,
    results,
    same,
    weights,
)

from bench.engine.train import Training
from bench.errors import RunError
from bench.spec import BudgetSpec, StageSpec


@pytest.fixture
def prepare(tmp_path: Path) -> Iterator[Prepare]:
    yield from preparing(tmp_path)


# --- resume ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stages", [(StageSpec(),), TWO_STAGES, BACK], ids=["one stage", "two stages", "back"]
)
def test_a_killed_training_ends_with_the_same_bytes(
    prepare: Prepare, stages: tuple[StageSpec, ...]
) -> None:
    spec = replace(SPEC, stages=stages)
    whole = prepare("whole", spec)
    whole.run()
    for moment in (0, 2, 3, 7, 11):
        killed = prepare(f"killed at {moment}", spec)
        step = killed._one_step

        def dying(step: Callable[[], None] = step, it: Training = killed, at: int = moment) -> None:
            if it.meter.steps == at:
                raise DeathError
            step()

        killed._one_step = dying  # type: ignore[method-assign]
        with pytest.raises(DeathError):
            killed.run()
        # Nothing that a checkpoint does not hold may matter, such as this process's noise.
        # (Before the first checkpoint the initial weights are the seed's.)
        resumed = prepare(f"killed at {moment}", spec, initial=0 if moment < 3 else 99)
        resumed.run()
        assert results(resumed) == results(whole), moment


def test_killed_after_each_checkpoint(prepare: Prepare) -> None:
    """`say` speaks right after a checkpoint is written; the last one ends the budget."""
    spec = replace(SPEC, stages=BACK)
    whole = prepare("whole", spec)
    whole.run()

    def dying(line: str) -> None:
        raise DeathError

    many = prepare("many", spec, say=dying)
    for _ in range(4):
        with pytest.raises(DeathError):
            many.run()
        many = prepare("many", spec, initial=99)
        many.say = lambda line: None if line.startswith("resumed") else dying(line)
    many = prepare("many", spec, initial=99)
    many.run()
    assert results(many) == results(whole)


def test_a_seed_decides_a_training(prepare: Prepare) -> None:
    first, second, other = (
        prepare("first"),
        prepare("second"),
        prepare("other", replace(SPEC, seed=1)),
    )
    for training in (first, second, other):
        training.run()
    assert results(first) == results(second)
    assert results(first)["curve.csv"] != results(other)["curve.csv"]


def test_first_steps_again(prepare: Prepare) -> None:
    training = prepare("whole", replace(SPEC, stages=TWO_STAGES))
    training.run()
    kept = (training.folder / "losses.csv").read_text().splitlines()
    assert len(kept) == 13
    again = prepare("again", replace(SPEC, stages=TWO_STAGES)).first_losses(2)
    names = kept[0].split(",")
    for line, row in zip(kept[1:], again, strict=False):
        found = {k: float(v) for k, v in zip(names, line.split(","), strict=True) if v}
        assert found == row
    assert [row["step"] for row in again] == [1, 2]


# --- learning, losses, stages ------------------------------------------------------------------


def test_it_learns(prepare: Prepare) -> None:
    training = prepare("long", replace(SPEC, budget=BudgetSpec("steps", 60)), dropout=0.0)
    training.run()
    losses = [float(row["ce"]) for row in curve(training)]
    assert losses[-1] < 0.6 * losses[0]


def test_weights_of_losses(prepare: Prepare) -> None:
    stage = StageSpec(losses={"ce": 0.5, "extra": 3.0})
    training = prepare("weighted", replace(SPEC, stages=(stage,), budget=BudgetSpec("steps", 3)))
    training.run()
    for row in training.losses:
        assert row["loss"] == pytest.approx(0.5 * row["ce"] + 3 * row["extra"], rel=1e-6)


def test_a_loss_of_weight_zero_changes_nothing(prepare: Prepare) -> None:
    def trained(name: str, losses: dict[str, float]) -> dict[str, Tensor]:
        training = prepare(name, replace(SPEC, stages=(StageSpec(losses=losses),)))
        training.run()
        return weights(training)

    without = trained("without", {"ce": 1.0})
    assert same(without, trained("zero", {"ce": 1.0, "extra": 0.0}))
    assert not same(without, trained("with", {"ce": 1.0, "extra": 1.0}))


def test_a_missing_loss_is_refused(prepare: Prepare) -> None:
    training = prepare("missing", replace(SPEC, stages=(StageSpec(losses={"ce": 1, "mask": 1}),)))
    with pytest.raises(RunError, match="'mask', but the model gives only ce, extra"):
        training.run()


# --- budgets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "amount", "steps"), [("steps", 7, 7), ("examples", 30, 7), ("examples", 4, 1)]
)
def test_budgets(prepare: Prepare, unit: str, amount: float, steps: int) -> None:
    training = prepare(unit, replace(SPEC, budget=BudgetSpec(unit, amount)))
    training.run()
    found = facts(training)
    assert (found["steps"], found["examples"]) == (steps, 4 * steps)
    assert int(curve(training)[-1]["step"]) == steps


def test_a_budget_of_flops(prepare: Prepare) -> None:
    one = prepare("one", replace(SPEC, budget=BudgetSpec("steps", 1)))
    one.run()
    each = facts(one)["flops"]
    assert each > 0
    training = prepare("flops", replace(SPEC, budget=BudgetSpec("flops", 3.5 * each)))
    training.run()
    assert facts(training)["steps"] == 3


def test_a_budget_of_seconds_counts_training_alone(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1
        return now

    training = prepare("seconds", replace(SPEC, budget=BudgetSpec("device_seconds", 5)))
    monkeypatch.setattr("bench.engine.train.time.perf_counter", clock)
    training.run()
    assert facts(training)["steps"] == 5
    timing = json.loads((training.folder / "timing.json").read_text())
    assert timing["device_seconds"] == 5
    assert timing["evaluation"] >= 4


# --- steps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_gradients(prepare: Prepare, parts: int) -> None:
    """Equal to the whole batch's where every report has as many words."""
    dataset = load(sentences=2)
    gradients, terms = [], []
    for count in (1, parts):
        spec = replace(SPEC, train=replace(SPEC.train, accumulate=count))
        training = prepare(f"{count} parts", spec, dataset=dataset, dropout=0.0)
        training._enter_stage()
        batch = training.split.training_batch(0, 4, 0, 0.0, "cpu")
        assert len(set(batch.lengths.tolist())) == 1
        terms.append({k: float(v) for k, v in training._gradients(batch).items()})
        gradients.append([p.grad for p in training.parameters])
    assert terms[0] == pytest.approx(terms[1], rel=1e-5)
    for whole, summed in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, summed, rtol=1e-4, atol=1e-7)


def test_a_loss_that_is_not_finite(prepare: Prepare) -> None:
    training = prepare("nan")
    with torch.no_grad():
        training.model.out.bias[2] = torch.nan
    with pytest.raises(RunError, match="not finite at step 1"):
        training.run()
    assert not (training.folder / "train.json").exists()


def test_bf16_keeps_float32_weights(prepare: Prepare) -> None:
    spec = replace(SPEC, train=replace(SPEC.train, precision="bf16"), budget=BudgetSpec("steps", 3))
    half, full = prepare("bf16", spec), prepare("fp32", replace(SPEC, budget=spec.budget))
    half.run()
    full.run()
    assert {v.dtype for v in weights(half).values()} == {torch.float32}
    assert half.losses[0]["ce"] == pytest.approx(full.losses[0]["ce"], rel=0.03)
    assert half.losses[0]["ce"] != full.losses[0]["ce"]
