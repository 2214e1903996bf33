"""Board rows: full precision there and back, and lines that are not rows."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from bench.boards.comparable import mixed
from bench.boards.rows import COLUMNS, BoardRow, initial, read_rows, run_rows, to_csv, write_rows
from bench.errors import DataError
from bench.runs.workspace import Workspace
from bench.spec import BudgetSpec, DataSpec, PartSpec, RunSpec
from bench.store import RunFolder, file_digest
from bench.suites.plan import Planned

ROW = BoardRow(
    protocol="v0", dataset="synthetic", split="test", stratum="all", treatment="r2gen@1",
    model="uar", variant="UAR", origin="trained", run_id="ab-s0", spec_id="ab", seed=0,
    metric="BLEU-4",
    value=0.1 + 0.2, ci_low=math.nextafter(0.25, 0), ci_high=1e-17, n=300, n_missing=0,
    higher_is_better=True, signature="BLEU-4|refs:r2gen@1|v:1", interval="percentile",
    initial="visual:random", budget="9600 examples", steps=300, examples=9600,
    device_seconds=12.345678901234567, params_m=1.234567, commit="c0ffee", predictions_sha="12ab",
    added="", status="active", reason="",
)  # fmt: skip
ROWS = [
    ROW,
    replace(ROW, value=None, ci_low=None, ci_high=None, reason='needs "Java", not found\nhere'),
    replace(ROW, higher_is_better=False, origin="floor", steps=None, examples=None,
            device_seconds=None, params_m=None, seed=11, variant="ü, ö"),
]  # fmt: skip


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "v0" / "synthetic.csv"
    write_rows(path, ROWS)
    assert read_rows(path) == ROWS
    first = path.read_bytes()
    write_rows(path, read_rows(path))
    assert path.read_bytes() == first
    assert b"\r" not in first
    assert first.splitlines()[0].decode() == ",".join(COLUMNS)


def test_an_empty_board(tmp_path: Path) -> None:
    write_rows(tmp_path / "x.csv", [])
    assert read_rows(tmp_path / "x.csv") == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (",0.30000000000000004,", ",0.3.0,"),
        (",300,0,True,", ",300,0,yes,"),
        (",300,0,True,", ",many,0,True,"),
        (",9600,12", ",9600.5,12"),
        (",active,", ",active,,"),
        (",active,", ","),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, old: str, new: str) -> None:
    text = to_csv([ROWS[2], ROW])
    head, separator, tail = text.rpartition(old)
    assert separator
    (tmp_path / "x.csv").write_text(head + new + tail)
    with pytest.raises(DataError, match=r"x\.csv, line 3: not a board's row"):
        read_rows(tmp_path / "x.csv")


def test_other_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("model,score\nuar,0.1\n")
    with pytest.raises(DataError, match=r"x\.csv: the columns are not a board's"):
        read_rows(tmp_path / "x.csv")


# --- from runs ---------------------------------------------------------------------------------

SPEC = RunSpec(
    kind="train",
    data=DataSpec("made", "toy.load", "m"),
    model=PartSpec("toy.Toy", {}, {"visual": "random"}),
    tokenizer=PartSpec("toy.Frozen", {}, {"dvae": "run:ab12-s0@0123456789abcdef"}),
    code="",
    budget=BudgetSpec("examples", 9600.0),
)
SCORES = [
    {"treatment": "r2gen@1", "metric": "BLEU-4", "value": 1 / 3, "n": 6, "n_missing": 0,
     "signature": "s", "stratum": "all", "control": "", "ci_low": 0.3, "ci_high": 0.4,
     "interval": "i"},
    {"treatment": "r2gen@1", "metric": "BLEU-4", "value": 0.25, "n": 6, "n_missing": 0,
     "signature": "s", "stratum": "all", "control": "shuffled images"},
    {"treatment": "full@1", "metric": "METEOR", "n": 6, "unavailable": "not available: no Java",
     "stratum": "all", "control": ""},
]  # fmt: skip


def test_rows_of_a_run(tmp_path: Path) -> None:
    planned = Planned("UAR", "trained", "uar", SPEC)
    work, folder = Workspace(tmp_path, tmp_path), RunFolder(tmp_path, SPEC.run_id)
    assert run_rows(planned, "made", work) == []
    folder.path.mkdir()
    facts = {"steps": 300, "examples": 9600, "parameters": 1_500_000}
    for name, content in {
        "scores.json": SCORES, "train.json": facts, "timing.json": {"device_seconds": 1.5},
        "env.json": {"commit": "c0ffee"},
    }.items():  # fmt: skip
        (folder / name).write_text(json.dumps(content))
    (folder / "predictions.csv").write_text("study_id,report\n")
    assert run_rows(planned, "made", work) == []  # half of a scoring
    folder.seal(status="scored")
    own, control, missing = run_rows(planned, "made", work)
    assert (own.value, own.ci_low, own.origin, own.reason) == (1 / 3, 0.3, "trained", "")
    assert (control.origin, control.reason) == ("control", "shuffled images")
    assert (missing.value, missing.reason) == (None, "not available: no Java")
    for row in (own, control, missing):
        assert (row.run_id, row.spec_id) == (SPEC.run_id, SPEC.spec_id)
        assert (row.steps, row.params_m, row.device_seconds) == (300, 1.5, 1.5)
        assert row.budget == "9600 examples"
        assert row.predictions_sha == file_digest(folder / "predictions.csv")
        assert (row.status, row.added, row.commit) == ("active", "", "c0ffee")


def test_initial_weights_in_short() -> None:
    planned = Planned("UAR", "trained", "uar", SPEC)
    assert initial(planned) == "visual:random; dvae:run:ab12-s0@01234567"


# --- what may stand side by side ---------------------------------------------------------------


def beside(*runs: tuple[str, RunSpec]) -> list[str]:
    """What is said of rows of these variants and specs, two scores of each."""
    rows = [replace(ROW, variant=name, run_id=spec.run_id) for name, spec in runs for _ in "ab"]
    return mixed(rows, {spec.run_id: spec for _, spec in runs})


def test_seeds_and_rows_of_one_dataset_stand_side_by_side() -> None:
    seeds = [("UAR", replace(SPEC, seed=seed)) for seed in range(3)]
    other = ("BASE", replace(SPEC, budget=BudgetSpec("examples", 4800.0)))
    assert beside() == []
    assert beside(*seeds, other) == []
    assert beside(*seeds, ("the same run", SPEC)) == []


def test_a_row_of_two_specs_is_named_with_what_differs() -> None:
    weights = PartSpec("toy.Toy", {"width": 8}, {"visual": "0123456789abcdef"})
    other = replace(SPEC, model=weights, tokenizer=None, seed=1)
    [problem] = beside(("UAR", SPEC), ("BASE", SPEC), ("UAR", other))
    assert problem == (
        f"UAR has runs of 2 specs, so they are not seeds of the same row: {SPEC.run_id[:-3]} "
        f"(run {SPEC.run_id}); {other.run_id[:-3]} (run {other.run_id}); they differ in "
        "model.weights.visual (random, 01234567...), tokenizer.target (toy.Frozen, none), "
        "tokenizer.weights.dvae (run:ab12..., none), model.params.width (none, 8)"
    )


def test_other_data_is_named_under_any_row() -> None:
    other = replace(SPEC, data=DataSpec("made", "toy.load", "n"))
    [problem] = beside(("UAR", SPEC), ("BASE", other))
    assert problem == (
        "runs on different data under one name, by manifest: "
        f"m (run {SPEC.run_id}); n (run {other.run_id})"
    )
