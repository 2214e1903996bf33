"""The sentences of a verdict: each from its rule, on rows whose figures are given."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from bench.reporting import conclusions
from bench.reporting.claims import Claim, Entry
from bench.reporting.conclusions import FINDINGS, OPEN, WORDING, Reading, listed, span
from bench.reporting.summary import Summary
from bench.reporting.tables import Figure
from bench.stats.verdicts import (
    CONFIRMED,
    EXCLUDED,
    NOT_RUN,
    ONE_TRAINING,
    REVERSED,
    UNRESOLVED,
    Verdict,
)

FLOOR = Figure(0.44, 0.39, 0.49)


@pytest.fixture
def suite() -> Any:
    """300 studies, five trainings a row, one floor."""
    studies = [None] * 300
    return SimpleNamespace(
        dataset="synthetic", read_as="synthetic", floors=["nearest"], trained=["BASE", "d", "UAR"],
        data=SimpleNamespace(split=lambda name: studies), trainings=lambda row: 5, folds=1,
        has=lambda score, text, rows: True, figure=lambda row, score, text: FLOOR,
    )  # fmt: skip


def reading(row: str, kind: str, f1: float, silent: bool = False) -> Reading:
    figure = Figure(f1, f1 - 0.05, f1 + 0.05)
    return Reading(row, kind, figure, silent, 3.2 if silent else 12.0, 3.5, 1.4)


def test_findings(suite: Any) -> None:
    rows = [reading("BASE", WORDING, 0.48), reading("d", FINDINGS, 0.545),
            reading("UAR", WORDING, 0.393, silent=True)]  # fmt: skip
    said = conclusions._findings(suite, {r.row: r for r in rows})
    assert said == (
        "d names findings beyond every floor: micro-F1 .545, the best floor's .440 (nearest "
        "image's report); for BASE (.480) this is not shown; UAR names no finding at all: its F1 "
        "is the constant report's, and it writes 3 distinct reports of 300."
    )
    none = conclusions._findings(suite, {"BASE": rows[0]})
    assert none.startswith("No row is shown to name findings beyond every floor (the best has")


def test_wording() -> None:
    rows = {r.row: r for r in (reading("a", WORDING, 0.4), reading("b", OPEN, 0.4))}
    assert conclusions._wording(rows) == (
        "From the images a reads how a report is worded: CIDEr 3.50, but 1.40 with the images of "
        "other studies; for b not even that is shown."
    )
    assert conclusions._wording({"d": reading("d", FINDINGS, 0.5)}) == ""


def entry(kind: str, text: str = "a beats b", star: bool = False) -> Entry:
    claim = Claim("1", text, ("a",), ("b",), ("CIDEr",))
    return Entry(claim, "CIDEr", Verdict(kind), star=star)


def test_claims() -> None:
    entries = [entry(CONFIRMED, "CRA aligns", star=True), entry(REVERSED), entry(EXCLUDED),
               entry(UNRESOLVED), entry(NOT_RUN)]  # fmt: skip
    assert conclusions._claims(entries) == (
        "Of the UAR paper's claims about these rows, 4 in one metric each: 1 confirmed (after "
        "Holm: CRA aligns), 1 reversed, 1 of excluded size or without practical effect, 1 open."
    )
    assert conclusions._claims([entry(NOT_RUN)]) == ""
    assert conclusions._claims([entry(REVERSED), entry(ONE_TRAINING)]).endswith(
        "1 in one metric each: 1 reversed; 1 more wait for a second training."
    )


def test_rows_of_one_training_are_said_to_be_so(
    suite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R2Gen's .604 of one training is not "not above" a floor of .440: nothing is shown of it."""
    several, single = reading("UAR", OPEN, 0.465), replace(reading("R2Gen", OPEN, 0.604), lone=True)
    found = {r.row: r for r in (reading("BASE", FINDINGS, 0.69), several, single)}
    why = " (one training: R2Gen)"
    text = f"for UAR and R2Gen (.465 to .604) this is not shown{why}."
    assert conclusions._findings(suite, found).endswith(text)
    found["a"] = reading("a", WORDING, 0.4)
    text = f"for UAR and R2Gen not even that is shown{why}."
    assert conclusions._wording(found).endswith(text)
    del found["UAR"]
    assert conclusions._wording(found).endswith("not even that is shown (one training).")
    tests = {
        row: SimpleNamespace(distinguishable=True, difference=d, lone=lone)
        for row, d, lone in (("BASE", 0.1, ()), ("UAR", -0.1, ()), ("R2Gen", 0.1, ("R2Gen",)))
    }
    monkeypatch.setattr(conclusions, "above_floors", lambda suite, metric, text: tests)
    assert f"in CIDEr, not UAR and R2Gen{why}." in conclusions._floors(suite)


def test_one_training_settles_nothing(suite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conclusions, "_budget", lambda suite: " of 800 examples")
    assert conclusions._scope(suite).endswith(
        "5 trainings of 800 examples a row, 300 test studies."
    )
    suite.trainings = lambda row: 1
    assert "One training of a row settles nothing about methods." in conclusions._scope(suite)
    suite.folds = 5
    assert conclusions._scope(suite).endswith(
        "one training of 800 examples a row in each of 5 folds, 300 test studies."
    )


@pytest.mark.parametrize(
    ("dataset", "own", "text"),
    [
        ("mimic_cxr", "mimic_cxr", "mimic_cxr"),
        ("mimic_cxr", "mimic_cxr_present", "mimic_cxr (read as mimic_cxr_present)"),
        ("mimic_cxr_r2gen", "mimic_cxr_all_images", "mimic_cxr_r2gen"),
    ],
)
def test_a_subset_is_named(dataset: str, own: str, text: str) -> None:
    data: Any = SimpleNamespace(name=own)
    nothing: Any = None
    assert Summary("single", nothing, dataset, nothing, {}, data).read_as == text


def test_words() -> None:
    assert [listed(["a"]), listed(["a", "b"]), listed("abc")] == ["a", "a and b", "a, b and c"]
    assert listed("abcdefg") == "a, b, c, d and 3 more"
    assert span([0.5, 0.25]) == ".250 to .500"
    assert span([0.5, 0.5001]) == ".500"


def test_the_readme_says_what_the_report_says() -> None:
    """`bench report ablations --into README.md` keeps them in step."""
    from pathlib import Path

    from bench.reporting.folder import BEGIN, END

    root = Path(__file__).parents[1]
    texts = [root / "README.md", root / "reports" / "ablations" / "README.md"]
    said = [t.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0] for t in texts]
    assert said[0] == said[1]
    assert said[0].count("\n- ") >= 3
