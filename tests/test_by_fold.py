"""Suites over folds: plans, boards, and what a table reads from runs of several folds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy

from bench.__main__ import main
from bench.boards.comparable import mixed
from bench.boards.publish import publish
from bench.boards.rows import read_rows, suite_rows
from bench.boards.validate import validate
from bench.canonical import to_dict
from bench.data.study import Dataset
from bench.errors import BenchError
from bench.metrics import ptb, registry
from bench.metrics.predictions import PREDICTIONS
from bench.reporting import by_fold, summary
from bench.reporting.claims import Claim, _entries
from bench.reporting.folder import write_suite
from bench.reporting.pilot import measure
from bench.reporting.summary import Summary
from bench.runs.reports import write_predictions
from bench.runs.score import assess
from bench.runs.workspace import Workspace
from bench.spec import TREATMENT, BudgetSpec, DataSpec, PartSpec, RunSpec
from bench.stats.blocks import compare_folds
from bench.store import RunFolder, write_json
from bench.suites import folds as suite_folds
from bench.suites.plan import Plan, Planned
from bench.suites.suite import Row, Suite, Table

FOLDS, SEEDS, STUDIES = 3, 2, 50
SUITE = Suite(
    title="Toys in folds",
    rows=(Row("poor", "toy"), Row("good", "toy")),
    tables={"t": Table("Toys", ("poor", "good"))},
    floors=("constant",),
    baseline="poor",
)
QUALITY = {"constant": 0.1, "poor": 0.3, "good": 0.8}
ENVIRONMENT = {"commit": "c0ffee", "python": "3.11", "system": "Linux", "cpu": "A", "cores": 2,
               "threads": 1, "device": "cpu", "packages": {}}  # fmt: skip


def load(root: Path | None = None, fold: int = 0) -> Dataset:
    """Toy reports; each fold tests studies of its own."""
    whole = toy.load(train=20, val=2, test=FOLDS * STUDIES)
    tested = {s.id for s in whole.split("test")[fold * STUDIES : (fold + 1) * STUDIES]}
    studies = tuple(
        replace(s, split="train" if s.split == "test" and s.id not in tested else s.split)
        for s in whole.studies
    )
    return replace(whole, name="folded", studies=studies, manifest=f"fold {fold}")


def spec(name: str, fold: int, seed: int = 0) -> RunSpec:
    data = DataSpec("folded", "test_by_fold.load", f"fold {fold}", {"fold": fold})
    kind = "floor" if name == "constant" else "train"
    part = PartSpec("toy.Toy", {"row": name})
    return RunSpec(kind, data, part, "", budget=BudgetSpec("steps", 3.0), seed=seed)


def seal(planned: Planned, work: Workspace) -> None:
    """A scored run: so many of its reports are the reference, the others another study's."""
    folder, studies = (
        RunFolder(work.out, planned.spec.run_id),
        load(None, planned.fold).split("test"),
    )
    truth = [s.report for s in studies]
    right = np.random.default_rng([planned.fold, planned.spec.seed]).random(len(truth))
    said = [
        t if r < QUALITY[planned.name] else truth[i - 5]
        for i, (t, r) in enumerate(zip(truth, right, strict=True))
    ]
    write_json(folder / "spec.json", to_dict(planned.spec))
    write_predictions(folder / PREDICTIONS, studies, said)
    write_json(folder / "env.json", ENVIRONMENT)
    if planned.origin == "trained":
        write_json(
            folder / "train.json", {"steps": 3, "examples": 12, "flops": 6.0, "parameters": 9}
        )
        write_json(folder / "timing.json", {"device_seconds": 1.0})
    assess(planned.spec, work, folder, ("BLEU",))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Workspace]:
    place = tmp_path_factory.mktemp("folded")
    work = Workspace(place / "runs", place / "cache")
    runs = [
        Planned(name, "floor" if name == "constant" else "trained", "toy", spec(name, fold, seed))
        for name in QUALITY
        for fold in range(FOLDS)
        for seed in range(1 if name == "constant" else SEEDS)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ptb, "tokenize", lambda texts: [t.replace(" .", "") for t in texts])
        for planned in runs:
            seal(planned, work)
    return Plan("folded", SUITE, "folded", tuple(runs)), work


# --- plans ---------------------------------------------------------------------------------------

FOLDED = ["dataset=iu_xray_folds"]


def test_overrides_of_each_fold() -> None:
    each = suite_folds.by_fold([*FOLDED, "dataset.fold=all", "seed=3"])
    assert each == [[*FOLDED, "seed=3", f"dataset.fold={f}"] for f in range(5)]
    assert suite_folds.by_fold([*FOLDED, "dataset.fold=3,1"]) == [
        [*FOLDED, "dataset.fold=3"], [*FOLDED, "dataset.fold=1"],
    ]  # fmt: skip
    for one in (FOLDED, [*FOLDED, "dataset.fold=2"], ["budget=tiny"]):
        assert suite_folds.by_fold(one) == [one]


@pytest.mark.parametrize("given", ["5,0", "1,1", "a", "al", "-1"])
def test_wrong_folds_are_named(given: str) -> None:
    with pytest.raises(BenchError, match=f"dataset.fold={given}") as error:
        suite_folds.by_fold([*FOLDED, f"dataset.fold={given}"])
    assert "give one of 0, 1, 2, 3, 4, several by commas, or all" in str(error.value)
    with pytest.raises(BenchError, match="synthetic has no folds"):
        suite_folds.by_fold(["dataset.fold=all"])


def test_labels_tell_folds_and_seeds_apart() -> None:
    assert Planned("UAR", "trained", "uar", spec("UAR", 2, 1)).label == "UAR fold 2 seed 1"
    whole = replace(spec("UAR", 0), data=DataSpec("made", "toy.load", "m"))
    assert Planned("UAR", "trained", "uar", whole).label == "UAR"


# --- boards --------------------------------------------------------------------------------------


def said(*runs: tuple[str, RunSpec], board: list) -> list[str]:
    rows = [replace(board[0], variant=name, run_id=s.run_id) for name, s in runs]
    return mixed(rows, {s.run_id: s for _, s in runs})


@pytest.mark.parametrize("made_by", ["run", "seeded"])
def test_folds_of_one_set_stand_side_by_side(made: tuple[Plan, Workspace], made_by: str) -> None:
    board = suite_rows(*made)
    whole = [(name, spec(name, f, s)) for name in ("a", "b") for f in range(3) for s in range(2)]
    assert said(*whole, board=board) == []
    # What was pretrained on a fold is the fold's own.
    pretrained = [
        ("a", replace(s, model=replace(s.model, weights={"dvae": f"{made_by}:{f}@{f}"})))
        for f, (_, s) in enumerate((n, spec("a", fold)) for n, fold in (("a", 0), ("a", 1)))
    ]
    assert said(*pretrained, board=board) == []


def test_what_is_no_fold_of_the_set_is_refused(made: tuple[Plan, Workspace]) -> None:
    board = suite_rows(*made)
    first = ("a", spec("a", 0))
    data = first[1].data
    for other in (
        replace(data, params={"fold": 1, "root": "x"}, manifest="n"),  # another set
        replace(data, params={}, manifest="n"),  # one division
        replace(data, manifest="n"),  # the same fold, other content
        replace(data, params={"fold": 1}, name="other", manifest="n"),
    ):
        problems = said(first, ("b", replace(spec("b", 0), data=other)), board=board)
        assert len(problems) == 1
        assert "runs on different data under one name" in problems[0]
    longer = replace(spec("a", 1), budget=BudgetSpec("steps", 9.0))
    [problem] = said(first, ("a", longer), board=board)
    assert "a has runs of 2 specs" in problem
    assert "budget.amount (3.0, 9.0)" in problem
    foreign = replace(spec("a", 1), model=replace(longer.model, weights={"visual": "other@1"}))
    assert len(said(first, ("a", foreign), board=board)) == 1


def test_a_board_of_folds_says_which_and_gives_the_same_report(
    made: tuple[Plan, Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, work = made
    board = tmp_path / "board"
    path, *_ = publish(plan, work, board)
    rows = read_rows(path)
    assert {row.split for row in rows} == {f"test:fold{f}" for f in range(FOLDS)}
    assert validate(board) == []
    monkeypatch.setattr(summary, "load_suite", lambda name: SUITE)
    written = []
    for found in (Summary.of(plan, work), Summary.of_board("folded", "folded", board, work)):
        written.append(tmp_path / str(len(written)))
        write_suite(found, suite_rows(plan, work), written[-1])
    assert (written[0] / "README.md").read_text() == (written[1] / "README.md").read_text()


def test_compare_takes_rows_or_runs_in_folds(
    made: tuple[Plan, Workspace], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, work = made
    publish(plan, work, tmp_path / "board")
    argv = ["--metric", "BLEU-4", "--cache", str(work.cache)]
    rows = ["good", "poor", "--board", str(tmp_path / "board")]
    assert main(["compare", *rows, *argv, "--json"]) == 0
    [of_board] = json.loads(capsys.readouterr().out)
    named = [
        ",".join(p.spec.run_id for p in plan.runs if p.name == name) for name in ("good", "poor")
    ]
    assert main(["compare", *named, "--out", str(work.out), *argv, "--json"]) == 0
    [of_runs] = json.loads(capsys.readouterr().out)
    [found, *_] = by_fold.comparisons(Summary.of(plan, work))
    assert of_board == json.loads(json.dumps(found.record()))
    for key in ("difference", "low", "high", "p", "overlap_p", "folds", "runs"):
        assert of_runs[key] == of_board[key]


def test_compare_refuses_what_is_not_in_all_folds(
    made: tuple[Plan, Workspace], capsys: pytest.CaptureFixture[str]
) -> None:
    plan, work = made
    runs = {(p.name, p.fold, p.spec.seed): p.spec.run_id for p in plan.runs}
    argv = ["--metric", "BLEU-4", "--out", str(work.out), "--cache", str(work.cache)]
    good = ",".join(runs["good", f, 0] for f in range(FOLDS))
    for other, said in {
        runs["poor", 0, 0]: "has no run in each of 3 folds",
        f"{runs['poor', 0, 0]},{runs['constant', 1, 0]}": "so they are not seeds of the same row",
        good: "was given twice",
    }.items():
        assert main(["compare", good, other, *argv]) == 2
        assert said in capsys.readouterr().err


# --- tables --------------------------------------------------------------------------------------


def test_a_row_is_scored_on_the_studies_of_all_folds(made: tuple[Plan, Workspace]) -> None:
    plan, work = made
    found = Summary.of(plan, work)
    statistics = found.contrasts.statistics(found.keys["good"], "BLEU", TREATMENT)
    assert statistics.shape[:2] == (SEEDS, FOLDS * STUDIES)
    assert len(found.data.split("test")) == FOLDS * STUDIES
    assert found.overlap == pytest.approx(STUDIES / (20 + (FOLDS - 1) * STUDIES))
    assert found.compare("good", "poor", "BLEU-4").n == FOLDS * STUDIES


def test_rows_are_compared_within_folds(made: tuple[Plan, Workspace], tmp_path: Path) -> None:
    plan, work = made
    found = Summary.of(plan, work)
    compared = by_fold.comparisons(found)
    assert [(c.a, c.b, c.score) for c in compared] == [
        ("good", "poor", "BLEU-4"), ("poor", "constant", "BLEU-4"), ("good", "constant", "BLEU-4"),
    ]  # fmt: skip
    good, poor = (
        found.contrasts.folds(found.keys[row], row, "BLEU", TREATMENT) for row in ("good", "poor")
    )
    assert [s.runs.shape[:2] for s in good] == [(SEEDS, STUDIES)] * FOLDS
    assert compared[0] == compare_folds(good, poor, registry.load("BLEU"), found.overlap)["BLEU-4"]
    write_suite(found, suite_rows(plan, work), tmp_path)
    report = (tmp_path / "README.md").read_text()
    assert "### Within folds" in report
    assert "dataset=folded dataset.fold=all" in report
    assert f"of {FOLDS} folds, averaged; {FOLDS * STUDIES} studies" in report


def test_a_claim_is_judged_within_folds(made: tuple[Plan, Workspace]) -> None:
    """By the test of the report's section on folds, also with one training a fold."""
    plan, work = made
    found = Summary.of(plan, work)
    alone = replace(found, keys={k: v[:: len(v) // FOLDS] for k, v in found.keys.items()})
    for suite in (found, alone):
        [compared] = [c for c in by_fold.comparisons(suite) if (c.a, c.b) == ("good", "poor")]
        effect = suite.contrasts.effect(
            suite.keys, {"good": 1.0, "poor": -1.0}, "BLEU-4", TREATMENT, False
        )
        assert effect.value == pytest.approx(compared.difference)
        assert effect.interval(0.95) == pytest.approx((compared.low, compared.high))
        assert effect.p() == pytest.approx(compared.p)
        claim = Claim("x", "good beats poor", ("good",), ("poor",), ("BLEU-4",))
        [entry] = _entries(suite, claim, other=True)
        assert entry.verdict.kind == ("confirmed" if compared.low > 0 else "unresolved")


def test_runs_in_folds_are_a_pilot(made: tuple[Plan, Workspace]) -> None:
    plan, work = made
    found = Summary.of(plan, work)
    pilot = measure(found, "BLEU-4")
    assert (pilot.folds, pilot.seeds, pilot.studies) == (FOLDS, SEEDS, STUDIES)
    assert pilot.overlap == found.overlap
    scorer = registry.load("BLEU")
    spreads = [
        np.var([scorer.corpus(run)["BLEU-4"] for run in fold.runs], ddof=1)
        for row in ("poor", "good")
        for fold in found.contrasts.folds(found.keys[row], row, "BLEU", TREATMENT)
    ]
    assert pilot.seed_sd == pytest.approx(np.sqrt(np.mean(spreads)))
    [pair] = pilot.pairs
    assert (pair.a, pair.b) == ("good", "poor")
    assert pair.difference == pytest.approx(by_fold.comparisons(found)[0].difference)
    assert pilot.training_seconds == 2.0  # one training of either row
    assert pilot.families["Holm over 3 contrasts (t)"] == 3


def test_only_what_every_fold_has_is_averaged() -> None:
    runs = [("a", spec("a", f, s)) for f in range(3) for s in range(2) if (f, s) != (1, 1)]
    runs += [("b", spec("b", f)) for f in range(2)]
    kept = by_fold.keys(runs, [0, 1, 2])
    assert kept == {"a": tuple(spec("a", f).run_id for f in range(3))}
    whole = DataSpec("made", "toy.load", "m")
    seeds = [("a", replace(spec("a", 0, s), data=whole)) for s in range(3)]
    assert by_fold.keys(seeds, [None]) == {"a": tuple(s.run_id for _, s in seeds)}
