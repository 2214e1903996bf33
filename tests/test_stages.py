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
    BACK,
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

from bench.engine.decode import generate
from bench.engine.stages import weighted
from bench.engine.validation import Looks, Position
from bench.errors import RunError
from bench.metrics.base import Metric
from bench.metrics.bleu import BLEU
from bench.metrics.cider import CIDEr
from bench.spec import DecodeSpec, SelectionSpec, StageSpec


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


@pytest.mark.parametrize("stages", [(StageSpec(),), TWO_STAGES], ids=["one stage", "two stages"])
def test_no_step_is_lost(prepare: Prepare, stages: tuple[StageSpec, ...]) -> None:
    """At one budget two stages learn from as many steps as one: each goes on from the last."""
    training = prepare("whole", replace(SPEC, stages=stages))
    seen = Snapshots(training)
    training.run()
    assert list(seen.after) == list(range(1, 13))
    assert all(same(seen.before[step], seen.after[step]) for step in range(1, 12))
    assert (facts(training)["steps"], facts(training)["discarded"]) == (12, 0)


def test_a_stage_may_go_back_to_the_best_step(prepare: Prepare) -> None:
    """Weights and optimiser are those of one step; the steps lost are counted."""
    training = prepare("back", replace(SPEC, stages=BACK))
    seen = Snapshots(training, [0.9, 0.1, 0.2, 0.95])
    training.run()
    assert same(seen.before[6], seen.after[3])
    assert not same(seen.before[6], seen.after[6])
    assert facts(training)["discarded"] == 3
    assert training.model.switched == [False, True, True]
    assert [row["stage"] for row in curve(training)] == ["coarse", "coarse", "fine", "fine"]


def test_reports_are_not_decoded_where_none_can_be_sealed(prepare: Prepare) -> None:
    training = prepare("lazy", replace(SPEC, stages=TWO_STAGES))
    Snapshots(training, [0.2, 0.1])  # two of four looks
    assert training.run().step == 9
    assert [row["selection"] for row in curve(training)] == ["", "", "0.2", "0.1"]


@pytest.mark.parametrize("stages", [(StageSpec(),), TWO_STAGES], ids=["one stage", "two stages"])
def test_a_good_look_of_before_the_last_share_ends_no_training(
    prepare: Prepare, stages: tuple[StageSpec, ...]
) -> None:
    """Rows of one stage and of two choose among the same looks."""
    late = replace(SPEC.selection, evaluations=12, share=0.25)
    training = prepare("late", replace(SPEC, stages=stages, selection=late))
    seen = Snapshots(training, [0.2, 0.4, 0.3, 0.1])  # of the looks that decode: 9 to 12
    training.run()
    assert [bool(row.get("selection")) for row in curve(training)] == [False] * 8 + [True] * 4
    assert facts(training)["best"]["step"] == 10
    assert same(weights(training), seen.before[10])


def test_what_is_sealed_has_been_through_every_stage(prepare: Prepare) -> None:
    training = prepare("early", replace(SPEC, stages=BACK))
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


@pytest.mark.parametrize("metric", [BLEU(), CIDEr()], ids=["BLEU-4", "CIDEr"])
@pytest.mark.parametrize(
    "decode", [DecodeSpec(max_length=9), DecodeSpec(beam_size=1, max_length=5)]
)
def test_validation_reports_are_written_as_the_tests_are(
    prepare: Prepare, decode: DecodeSpec, metric: Metric
) -> None:
    name = metric.scores[-1]
    training = prepare(
        "decode", replace(SPEC, decode=decode, selection=replace(SPEC.selection, metric=name))
    )
    training.model.eval()
    look = training.validation
    written = []
    for batch in look.split.batches(4, "cpu"):
        written += [
            look.vocabulary.decode(x) for x in generate(training.model, batch.images, decode)
        ]
    references = [look.treatment.reference(s.report, look.vocabulary) for s in look.split.studies]
    assert len(set(written)) > 1
    expected = metric.corpus(metric.statistics(written, references))[name]
    assert look.score(training.model) == pytest.approx(expected)


def test_looks_by_share_and_by_epoch() -> None:
    selection = SelectionSpec(evaluations=2, every_epochs=0.5)
    looks = Looks(replace(SPEC, selection=selection, stages=TWO_STAGES), epoch_size=20)
    places = [Position(4 * i / 48, 4 * i) for i in range(13)]
    due = [4 * (i + 1) for i in range(12) if looks.due(places[i], places[i + 1])]
    assert due == [12, 20, 24, 32, 40, 48]  # past 10, 20, 30, 40 examples, and at both halves


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
