"""Stages of a training and the selection of its checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from toy import Toy
from toy_training import (
    SPEC,
    TWO_STAGES,
    Prepare,
    Snapshots,
    curve,
    facts,
    preparing,
    same,
    weights,
)

from bench.engine.stages import weighted
from bench.errors import RunError
from bench.spec import SelectionSpec


@pytest.fixture
def prepare(tmp_path: Path) -> Iterator[Prepare]:
    yield from preparing(tmp_path)


def test_switches_of_a_model_without_any(prepare: Prepare) -> None:
    class Plain(Toy):
        switch = None  # type: ignore[assignment]

    training = prepare("plain", replace(SPEC, stages=TWO_STAGES))
    training.model = torch.nn.Identity()
    with pytest.raises(RunError, match="'coarse' has switches, but Identity takes none"):
        training._enter_stage()


@pytest.mark.parametrize(("start", "begins_at"), [("best", 3), ("last", 6)])
def test_a_stage_starts_where_it_says(prepare: Prepare, start: str, begins_at: int) -> None:
    stages = (TWO_STAGES[0], replace(TWO_STAGES[1], start=start))
    training = prepare(start, replace(SPEC, stages=stages))
    seen = Snapshots(training, [0.9, 0.1, 0.2, 0.95])
    ends: dict[int, dict[str, Tensor]] = {}
    training.say = lambda line: ends.update({training.meter.steps: weights(training)})
    training.run()
    assert same(seen.before[6], ends[begins_at])
    assert training.model.switched == [False, True, True]
    assert [row["stage"] for row in curve(training)] == ["coarse", "coarse", "fine", "fine"]


def test_what_is_sealed_has_been_through_every_stage(prepare: Prepare) -> None:
    training = prepare("early", replace(SPEC, stages=TWO_STAGES))
    seen = Snapshots(training, [0.9, 0.1, 0.3, 0.2])
    assert training.run().step == 9  # the first stage's best is better
    assert same(weights(training), seen.before[9])
    assert training.model.extra is True
    assert facts(training)["best"]["stage"] == "fine"
    assert facts(training)["best"]["switches"] == {"extra": True}


# --- selection ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "scores", "chosen"),
    [
        ("BLEU-4", [0.1, 0.3, 0.2, 0.1], 6),
        ("BLEU-4", [0.2, 0.2, 0.2, 0.2], 12),
        ("last", None, 12),
    ],
    ids=["best", "last of equals", "last"],
)
def test_selection(prepare: Prepare, metric: str, scores: list[float] | None, chosen: int) -> None:
    spec = replace(SPEC, selection=SelectionSpec(metric=metric, evaluations=4))
    training = prepare(metric, spec)
    seen = Snapshots(training, scores)
    last: list[dict[str, Tensor]] = []
    training.say = lambda line: last.append(weights(training))
    assert training.run().step == chosen
    assert same(weights(training), seen.before.get(chosen, last[-1]))
    assert facts(training)["best"]["step"] == chosen


def test_selection_by_validation_loss(prepare: Prepare) -> None:
    spec = replace(SPEC, selection=SelectionSpec(metric="loss", evaluations=4))
    training = prepare("loss", spec)
    training.run()
    rows = curve(training)
    best = max(rows, key=lambda row: float(row["selection"]))
    assert facts(training)["best"]["step"] == int(best["step"])
    training.model.eval()
    weigh = partial(weighted, stage=training.spec.stages[0])
    assert -training.validation.loss(training.model, weigh) == pytest.approx(
        float(best["selection"]), rel=1e-6
    )


def test_evaluation_leaves_no_trace(prepare: Prepare) -> None:
    """Looking at validation more often must not change what is learned."""
    ends = []
    for count in (1, 6):
        spec = replace(SPEC, selection=SelectionSpec("last", evaluations=count))
        training = prepare(f"{count} looks", spec)
        training.run()
        assert len(curve(training)) == count
        ends.append(weights(training))
    assert same(*ends)
