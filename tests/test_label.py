"""`bench label`: the CheXpert labeler's layout, and the phrases that decided."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from bench.__main__ import main
from bench.metrics.clinical.observations import NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN
from bench.metrics.clinical.rules import labeler
from bench.metrics.clinical.why import LAYOUT, as_csv, reasons

REPORTS = {
    "a": "The inferior sternotomy wire is fractured. No effusion.",
    "b": "Opacity may represent atelectasis versus pneumonia.",
    "c": "Normal chest.",
    "d": "",
}
SIGN = {"1": POSITIVE, "0": NEGATIVE, "-1": UNCERTAIN, "": 0}


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [["study_id", "report"], *map(list, REPORTS.items())]
    with Path("r.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def called(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, list[dict[str, str]], str]:
    code = main(["label", *argv])
    found = capsys.readouterr()
    return code, list(csv.DictReader(io.StringIO(found.out))), found.err


def test_the_layout_is_that_of_the_chexpert_labeler(capsys: pytest.CaptureFixture[str]) -> None:
    code, rows, said = called(capsys, "r.csv")
    assert code == 0
    assert list(rows[0]) == ["study_id", *LAYOUT]
    assert sorted(LAYOUT) == sorted(OBSERVATIONS)
    assert "reports in report" in said
    table = labeler()(list(REPORTS.values()))
    for row, labels in zip(rows, table, strict=True):
        assert [SIGN[row[name]] for name in OBSERVATIONS] == labels.tolist()
    first = {k: v for k, v in rows[0].items() if v}
    assert first == {
        "study_id": "a", "No Finding": "1", "Pleural Effusion": "0", "Support Devices": "1",
    }  # fmt: skip
    assert set(rows[3].values()) == {"d", ""}


def test_why_names_the_phrase_and_what_decided(capsys: pytest.CaptureFixture[str]) -> None:
    code, rows, _ = called(capsys, "r.csv", "--why")
    assert code == 0
    shown = [(r["study_id"], r["observation"], r["label"], r["phrase"], r["because"]) for r in rows]
    assert shown == [
        ("a", "Support Devices", "1", "sternotomy wire", ""),
        ("a", "Pleural Effusion", "0", "effusion", "no"),
        ("a", "No Finding", "1", "", "nothing asserted or suspected"),
        ("b", "Lung Opacity", "1", "opacity", ""),
        ("b", "Atelectasis", "-1", "atelectasis", "versus"),
        ("b", "Pneumonia", "-1", "pneumonia", "versus"),
        ("c", "No Finding", "1", "", "nothing asserted or suspected"),
    ]


def test_the_reasons_are_those_of_the_labels() -> None:
    """The strongest reason of an observation is its label, on every hand-written sentence."""
    rank = {NEGATIVE: 1, UNCERTAIN: 2, POSITIVE: 3}
    lines = Path(__file__).parent.joinpath("data", "rule_sentences.txt").read_text().splitlines()
    for text in (line.partition("|")[0] for line in lines if "|" in line):
        strongest: dict[str, int] = {}
        for reason in reasons(text):
            before = strongest.get(reason.observation, 0)
            strongest[reason.observation] = max(before, reason.label, key=lambda x: rank.get(x, 0))
        labels = dict(zip(OBSERVATIONS, labeler().report(text), strict=True))
        assert {k: v for k, v in labels.items() if v} == {
            k: v for k, v in strongest.items() if k in labels
        }, text


def test_a_network_has_no_phrases(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = called(capsys, "r.csv", "--why", "--labeler", "chexbert")
    assert code == 2
    assert "chexbert is a network" in said


def test_it_writes_a_file_and_refuses_unknown_settings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert called(capsys, "r.csv", "--out", "l.csv")[0] == 0
    labels = labeler()(list(REPORTS.values()))
    assert Path("l.csv").read_text() == as_csv(list(REPORTS), np.asarray(labels))
    code, _, said = called(capsys, "r.csv", "sectoin=both")
    assert code == 2
    assert "did you mean 'section'" in said
