"""What films say of reports: the exact figure against the generator's own reports."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.data import synthetic
from bench.data.pairings import others
from bench.data.study import Dataset
from bench.data.synthetic import information
from bench.data.synthetic.cases import case
from bench.data.synthetic.information import (
    READERS,
    Said,
    ceiling,
    choices,
    findings_shares,
    log_likelihoods,
    phrasing,
    reader_information,
    said,
    shapes,
    wording,
)
from bench.data.synthetic.language import HEART, Writer, reader
from bench.metrics.image_information import bound, rank


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return synthetic.load(train=3000, val=1, test=300)


def shown(study: str) -> Said:
    return said(case(study).findings)


def test_shares_are_a_distribution_and_those_of_the_cases(dataset: Dataset) -> None:
    shares = findings_shares()
    assert sum(shares.values()) == pytest.approx(1)
    found = [shown(s.id) for s in dataset.split("train")]
    assert set(found) <= set(shares)
    for some in ((), found[0], max(set(found) - {()}, key=found.count)):
        p = shares[some]
        assert found.count(some) / 3000 == pytest.approx(p, abs=4 * math.sqrt(p / 3000))


def test_a_report_determines_what_is_said(dataset: Dataset) -> None:
    by_text: dict[str, Said] = {}
    for study in dataset.studies:
        assert by_text.setdefault(study.report, shown(study.id)) == shown(study.id)
    assert len({study.report for study in dataset.studies}) < len(dataset.studies)


def test_the_ceiling_is_the_mean_of_the_generators_own_information(dataset: Dataset) -> None:
    shares, readers = findings_shares(), np.array(READERS)
    found = []
    for study in dataset.split("train"):
        given = wording(study.id)
        own = given[reader(case(study.id))] - math.log(np.exp(given) @ readers)
        found.append(own - math.log(shares[shown(study.id)]))
    error = np.std(found) / math.sqrt(len(found))
    assert np.mean(found) == pytest.approx(ceiling(), abs=4 * error)
    assert error < 0.07


def test_phrasings_are_those_of_the_writer() -> None:
    for habit in range(3):
        writer = Writer(np.random.default_rng(habit), habit)
        said_ = [HEART.index(writer.say(HEART)) for _ in range(4000)]
        shares = np.bincount(said_, minlength=len(HEART)) / 4000
        assert shares == pytest.approx(phrasing(habit, len(HEART)), abs=0.03)
    assert [n for _, n in choices("syn0-test00000-1")] == [
        len(phrases) for phrases in _lists("syn0-test00000-1")
    ]


def _lists(study: str) -> list[tuple[str, ...]]:
    """The list of phrasings behind each sentence, by asking the writer."""
    asked: list[tuple[str, ...]] = []

    class Asked(information._Recorder):
        def say(self, phrases, finding=None):
            asked.append(phrases)
            return super().say(phrases, finding)

    found = case(study)
    rng = information.generator(information.VERSION, "report", study)
    assert information.compose(Asked(rng, reader(found)), found)
    return asked


def test_shapes_are_those_of_reports(dataset: Dataset) -> None:
    for study in dataset.split("train")[:200]:
        lists = [n for _, n in choices(study.id)]
        shape = tuple(sorted((n, lists.count(n)) for n in set(lists)))
        known = shapes(tuple((n, side, kind) for n, side, _, _, kind in shown(study.id)))
        assert known[shape] > 0
        assert sum(known.values()) == pytest.approx(1)


def test_the_reader_tells_at_most_who_it_is() -> None:
    entropy = -sum(p * math.log(p) for p in READERS)
    one, many = reader_information(((4, 1),)), reader_information(((4, 9),))
    assert 0 < one < many < entropy
    assert many > 0.99 * entropy
    # One sentence, by the definition.
    joint = np.array([p * phrasing(r, 4) for r, p in enumerate(READERS)])
    free = joint.sum(0) * joint.sum(1, keepdims=True)
    assert one == pytest.approx((joint * np.log(joint / free)).sum())


def test_who_knows_the_generator_reads_more_than_chance(dataset: Dataset) -> None:
    studies = dataset.split("test")
    rows = np.column_stack([np.arange(len(studies)), others(studies)])
    found = log_likelihoods([s.id for s in studies], rows)
    assert rank(found).mean() < 0.05
    information_ = bound(found, 1.0)
    assert 2.3 < information_.mean() < math.log(25) < ceiling()
    # No other sharpness of it says more.
    assert information_.mean() >= bound(found, 2.0).mean()
