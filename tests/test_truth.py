"""Findings against the dataset's own labels, beside findings against the reference's text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.data.manifest import sample
from bench.data.synthetic import CHEXPERT, load
from bench.metrics.clinical.against_truth import with_no_finding
from bench.metrics.clinical.observations import BLANK, NO_FINDING, OBSERVATIONS, POSITIVE
from bench.metrics.scoring import score

TRUTH, RULES = "chexpert-rules-truth", "chexpert-rules"
DATASET = load(train=4, val=2, test=40)
STUDIES = DATASET.split("test")
REFERENCES = {study.id: study.report for study in STUDIES}


def value(predictions: dict[str, str], name: str) -> float:
    return score(predictions, DATASET, "test", [TRUTH, RULES]).value(name, "raw")


def test_no_finding_is_what_nothing_else_is() -> None:
    labels = np.zeros((3, 14))
    labels[1, OBSERVATIONS.index("Cardiomegaly")] = 1
    labels[2, OBSERVATIONS.index("Support Devices")] = 1
    found = with_no_finding(labels)
    assert found[:, NO_FINDING].tolist() == [POSITIVE, BLANK, POSITIVE]
    assert found[1, OBSERVATIONS.index("Cardiomegaly")] == POSITIVE


def test_what_the_rules_miss_in_a_reference_is_no_error_of_a_report() -> None:
    """Reports that name each study's cardiomegaly plainly: all right by its labels."""
    named = {
        s.id: "There is cardiomegaly."
        if "cardiomegaly" in (s.labels or ())
        else "No acute disease."
        for s in STUDIES
    }
    index = OBSERVATIONS.index("Cardiomegaly")
    tables = score(named, DATASET, "test", [TRUTH]).statistics["raw", TRUTH].sum(axis=0)
    count = sum("cardiomegaly" in (s.labels or ()) for s in STUDIES)
    assert (tables[index], tables[14 + index], tables[28 + index]) == (count, 0, 0)
    assert count > 0


def test_the_reference_itself_is_right_by_its_text_not_always_by_the_truth() -> None:
    assert value(REFERENCES, f"{RULES}-F1-micro-14") == 1
    assert 0.8 < value(REFERENCES, f"{TRUTH}-F1-micro-14") <= 1
    silent = dict.fromkeys(REFERENCES, "No acute disease.")
    assert value(silent, f"{TRUTH}-recall-micro-5") == 0


def test_a_sample_has_the_labels_of_its_dataset() -> None:
    part = sample(DATASET, 10)
    reports = {study.id: study.report for study in part.split("test")}
    found = score(reports, part, "test", [TRUTH])
    assert found.value(f"{TRUTH}-F1-micro-14", "raw") > 0.5


def test_a_dataset_without_labels_has_no_such_score() -> None:
    bare = replace(DATASET, name="elsewhere")
    found = score(REFERENCES, bare, "test", [TRUTH])
    assert [s.value for s in found] == [None]
    assert "no labels apart from its reports" in next(iter(found)).unavailable


@pytest.mark.parametrize("name", sorted(set(CHEXPERT.values())))
def test_every_label_is_an_observation(name: str) -> None:
    assert name in OBSERVATIONS
