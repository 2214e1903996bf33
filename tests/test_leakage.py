"""What splits share, and the report on it."""

from __future__ import annotations

import numpy as np
import pytest

from bench.data import leakage
from bench.data.check import Finding, Report, check
from bench.data.study import Dataset, Study

NORMAL, SICK = frozenset({"normal"}), frozenset({"nodule"})


def dataset(*rows: tuple[str, str, str, frozenset[str] | None]) -> Dataset:
    """Rows of patient, split, report, labels."""
    studies = tuple(Study(f"s{n}", p, s, (), r, labels) for n, (p, s, r, labels) in enumerate(rows))
    return Dataset("made", studies, "", lambda _: np.zeros((1, 1), np.uint8), min_count=2)


def made() -> Dataset:
    return dataset(
        ("a", "train", "Clear lungs.", NORMAL),
        ("b", "train", "1. A 5 mm nodule.", SICK),
        ("c", "val", "Clear  lungs", NORMAL),
        ("d", "test", "CLEAR LUNGS.", frozenset()),
        ("a", "test", "A nodule.", SICK),
    )


def test_verbatim_reports_are_compared_cleaned() -> None:
    assert leakage.seen_in_train(made(), "test").tolist() == [True, False]
    assert leakage.seen_in_train(made(), "val").tolist() == [True]
    assert leakage.seen_in_train(made(), "train").all()


def test_verbatim_reports_are_compared_whole() -> None:
    """Texts that differ only behind the length limit, or in rare words, are different."""
    long = "word " * 80
    data = dataset(("a", "train", long + "one.", None), ("b", "test", long + "two.", None))
    assert leakage.seen_in_train(data, "test").tolist() == [False]


def test_normal_is_the_label_or_no_finding() -> None:
    marks = leakage.normal(made(), "test")
    assert marks is not None
    assert marks.tolist() == [True, False]
    assert leakage.normal(dataset(("a", "train", "x", None)), "train") is None
    partly = dataset(("a", "train", "x", None), ("b", "train", "x", NORMAL))
    assert leakage.normal(partly, "train") is None


def test_shared_patients() -> None:
    assert leakage.shared_patients(made()) == {"a": ["train", "test"]}


def test_identical() -> None:
    groups = leakage.identical({"b": "1", "a": "1", "c": "2", "e": "3", "d": "3"})
    assert groups == [["a", "b"], ["d", "e"]]


def test_check_names_what_is_wrong() -> None:
    report = check(made())
    assert report.status == "fail"
    assert {f.name: f.status for f in report.findings} == {
        "studies": "ok",
        "patients": "fail",
        "verbatim reports": "warn",
        "normal studies": "warn",
        "vocabulary": "ok",
    }
    text = report.render()
    assert "4 patients, 1 in more than one split: a (train/test)" in text
    assert "fix: divide by patient" in text
    assert "100.0% of val, 50.0% of test" in text


def test_check_without_labels_or_studies_of_a_split() -> None:
    report = check(dataset(("a", "train", "x", None), ("b", "val", "y", None)))
    assert "normal studies" not in {f.name for f in report.findings}
    assert report.figures()["studies.test"] == 0
    assert report.status == "fail"


@pytest.mark.parametrize(
    ("statuses", "worst"),
    [(["ok", "ok"], "ok"), (["ok", "warn"], "warn"), (["fail", "warn"], "fail")],
)
def test_worst_status(statuses: list[str], worst: str) -> None:
    assert Report("made", tuple(Finding("f", s, "") for s in statuses)).status == worst
