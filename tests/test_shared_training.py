"""Rows that differ only in how their reports are written: one training, taken over bit for bit."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from made import DATA, seal
from test_execute import SPEC, results, run

from bench.errors import BenchError
from bench.metrics import ptb
from bench.reporting.figures import beams, draw
from bench.reporting.hours import Hours, hours
from bench.reporting.summary import Summary
from bench.runs import training
from bench.runs.workspace import Workspace
from bench.spec import TREATMENT, BudgetSpec, PartSpec, RunSpec
from bench.store import RunFolder, made_in, read_json, write_json
from bench.suites.composer import Composer
from bench.suites.plan import Plan, Planned
from bench.suites.suite import Row, Suite
from bench.suites.work import Job
from bench.terminal import Progress

GREEDY = replace(
    SPEC,
    decode=replace(SPEC.decode, beam_size=1),
    selection=replace(SPEC.selection, beam_size=3),
)
OF_TRAINING = ("weights.safetensors", "curve.csv", "losses.csv", "train.json")


@pytest.fixture(autouse=True)
def on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DEVICE", "cpu")


def no_training(*given: object) -> object:
    raise AssertionError("trained again")


def test_the_training_is_that_of_the_run_that_is_written_as_it_selects() -> None:
    assert GREEDY.training == SPEC == SPEC.training
    assert GREEDY.run_id != SPEC.run_id
    for purpose in ("initial", "order", "dropout"):
        assert GREEDY.derived_seed(purpose) == SPEC.derived_seed(purpose)
    other = replace(GREEDY, selection=SPEC.selection)  # selected as it is written: greedily
    assert other.training == other
    assert other.derived_seed("order") != SPEC.derived_seed("order")


def test_taken_over_is_what_training_would_have_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, first = run(tmp_path / "alone", GREEDY), run(tmp_path / "both", SPEC)
    with monkeypatch.context() as patch:
        patch.setattr(training, "open_training", no_training)
        second = run(tmp_path / "both", GREEDY)
    assert results(second) == results(alone)
    for name in OF_TRAINING:
        assert results(second)[name] == results(first)[name]
    assert (second / "timing.json").read_bytes() == (first / "timing.json").read_bytes()
    assert second.verify() == []


def test_where_a_training_was_made_is_kept(tmp_path: Path) -> None:
    """The reports of a run that took over its training were written elsewhere, by other code."""
    first = run(tmp_path, SPEC)
    before = {**read_json(first / "env.json"), "device": "NVIDIA H200", "commit": "c0ffee"}
    write_json(first / "env.json", before)
    first.seal(status="predicted")
    second = run(tmp_path, GREEDY)
    assert made_in(first) == before
    assert made_in(second) == {**before, "run": first.run_id}
    assert read_json(second / "env.json")["device"] == "cpu"
    (second / "representations.npz").unlink()
    (second / "manifest.json").unlink()
    sealed = (second / "env.json").read_bytes()
    assert (run(tmp_path, GREEDY) / "env.json").read_bytes() == sealed


def test_weights_left_behind_are_trained_again(tmp_path: Path) -> None:
    first = run(tmp_path, SPEC)
    weights = results(first)["weights.safetensors"]
    (first / "weights.safetensors").unlink()
    assert results(run(tmp_path, GREEDY))["weights.safetensors"] == weights


@pytest.mark.parametrize("reverse", [False, True])
def test_the_training_comes_first_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reverse: bool
) -> None:
    work = Workspace(tmp_path / "runs", tmp_path / "cache")
    rows = [Planned("BASE", "trained", "toy", SPEC), Planned("greedy", "trained", "toy", GREEDY)]
    plan = Plan("toys", Suite("toys"), "made", tuple(rows))
    trained: list[RunSpec] = []
    begun = training.open_training
    monkeypatch.setattr(
        training, "open_training", lambda spec, *more: trained.append(spec) or begun(spec, *more)
    )
    job = Job(work, Progress(), ())
    if reverse:
        job.help(plan, until_scored=False, wait=False)  # works from the end
    else:
        job.run(plan, until_scored=False)
    assert trained == [SPEC]
    assert all(RunFolder(work.out, p.spec.run_id).manifest for p in rows)


def test_trials_are_shared_too(tmp_path: Path) -> None:
    given = ["budget=tiny", "size=tiny", "tune=2"]
    composer = Composer(Workspace(tmp_path, tmp_path), None, given)
    greedy = ("decode.beam_size=1", "budget.selection.beam_size=3")
    one, two = (composer._trials(composer._of(Row("r", "base", own)), 1.0) for own in ((), greedy))
    assert [spec for _, spec in one] == [spec for _, spec in two]


def test_a_row_on_a_share_of_the_budget(tmp_path: Path) -> None:
    composer = Composer(Workspace(tmp_path, tmp_path), None, ["budget=tiny", "size=tiny"])
    whole, half = (composer.row(Row("r", "base", share=s)) for s in (1.0, 0.5))
    assert half.budget.amount == whole.budget.amount / 2
    with pytest.raises(Exception, match=r"r: share=1\.5"):
        composer.row(Row("r", "base", share=1.5))


def test_hours_count_a_training_once(tmp_path: Path) -> None:
    one, two = run(tmp_path, SPEC), run(tmp_path, GREEDY)
    seconds = read_json(one / "timing.json")
    whole = (seconds["device_seconds"] + seconds["evaluation"]) / 3600
    out = tmp_path / "runs"
    found = hours([one.run_id, two.run_id, "elsewhere-s0"], out)
    assert (found.cores, found.absent) == (pytest.approx(whole), 1)
    write_json(one / "env.json", {**read_json(one / "env.json"), "device": "NVIDIA H200"})
    one.seal(status="predicted")
    other = run(tmp_path, replace(SPEC, seed=1))
    found = hours([one.run_id, other.run_id], out)
    assert found.gpus == {"NVIDIA H200": pytest.approx(whole)}
    assert str(Hours(1.25, {"NVIDIA H200": 0.5})) == "1.25 core-hours, 0.50 hours of NVIDIA H200"


def test_any_run_of_the_same_training_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Greedy first, alone; then the row that the training is named after, and a third."""
    first = run(tmp_path, GREEDY)
    third = replace(GREEDY, decode=replace(SPEC.decode, beam_size=2))
    monkeypatch.setattr(training, "open_training", no_training)
    for spec in (SPEC, third):
        assert made_in(run(tmp_path, spec))["run"] == first.run_id
    with pytest.raises(AssertionError, match="trained again"):
        run(tmp_path, replace(SPEC, seed=1))


def test_what_a_killed_taking_over_said_is_forgotten(tmp_path: Path) -> None:
    write_json(tmp_path / "runs" / GREEDY.run_id / "env.json", {"training": {"device": "H200"}})
    made = read_json(run(tmp_path, GREEDY) / "env.json")
    assert "training" not in made
    assert made["device"] == "cpu"


@pytest.mark.parametrize("given", ["decode.beam_size=5", "decode=greedy"])
def test_what_a_row_is_named_after_is_not_overridden(tmp_path: Path, given: str) -> None:
    composer = Composer(Workspace(tmp_path, tmp_path), None, ["budget=tiny", "size=tiny", given])
    row = Row("beam10", "base", ("decode.beam_size=10", "budget.selection.beam_size=3"))
    with pytest.raises(BenchError, match="beam10: decode"):
        composer.row(row)
    composer.row(Row("base", "base"))


# --- the figure ---------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Summary:
    """Rows of one training with three beams and a penalty, and a row of another training."""
    monkeypatch.setattr(ptb, "tokenize", lambda texts: [t.replace(" .", "") for t in texts])
    work = Workspace(tmp_path / "runs", tmp_path / "cache")
    base = RunSpec("train", DATA, PartSpec("toy.Toy", {}), "", budget=BudgetSpec("steps", 3.0))
    fixed = replace(base, selection=replace(base.selection, beam_size=3))
    decoded = {
        "BASE": base,
        "greedy": replace(fixed, decode=replace(base.decode, beam_size=1)),
        "wide": replace(fixed, decode=replace(base.decode, beam_size=10)),
        "penalty": replace(fixed, decode=replace(base.decode, length_penalty=1.0)),
        "alone": replace(base, budget=BudgetSpec("steps", 6.0)),
    }
    rows = [Planned(name, "trained", "toy", spec) for name, spec in decoded.items()]
    for planned, share in zip(rows, (0.5, 0.8, 0.2, 0.5, 0.9), strict=True):
        seal(planned, share, work)
    suite = Suite("toys", tuple(Row(name, "toy") for name in decoded), floors=())
    return Summary.of(Plan("toys", suite, "made", tuple(rows)), work)


def test_beams_of_one_training_are_one_line(written: Summary, tmp_path: Path) -> None:
    assert {name: [w.row for w in ways] for name, ways in beams.trainings(written).items()} == {
        "BASE": ["greedy", "BASE", "wide", "penalty"]
    }
    [path] = draw("beams", written, tmp_path)
    found = list(csv.DictReader(path.with_suffix(".csv").read_text().splitlines()))
    for row in ("greedy", "BASE", "wide", "penalty"):
        [value] = [r["value"] for r in found if r["row"] == row and r["score"] == "CIDEr"]
        assert float(value) == pytest.approx(written.figure(row, "CIDEr", TREATMENT).value)
    assert {r["row"] for r in found} == {"greedy", "BASE", "wide", "penalty"}


def test_rows_of_one_training_are_paired(written: Summary) -> None:
    """What varies over trainings is the same for both, as for a row and its own control."""
    keys = written.keys
    assert written.contrasts._one_training(keys["BASE"], keys["greedy"])
    assert not written.contrasts._one_training(keys["BASE"], keys["alone"])
    assert written.of_one_training(written.trained) == [
        ["BASE", "greedy", "wide", "penalty"], ["alone"],
    ]  # fmt: skip
    [note] = [n for n in written.protocol_notes(written.trained) if "one training" in n]
    assert note.startswith("BASE, greedy, wide, penalty are written by one training")
