from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from bench.metrics.clinical import f1
from bench.metrics.clinical.f1 import CONVENTIONS, ClinicalMetric
from bench.metrics.clinical.observations import (
    BLANK,
    FIVE,
    FIVE_INDEX,
    NEGATIVE,
    NO_FINDING,
    OBSERVATIONS,
    POSITIVE,
    UNCERTAIN,
)

SKLEARN = {"micro": "micro", "macro": "macro", "weighted": "weighted", "example": "samples"}


def labels(seed: int, n: int = 60) -> np.ndarray:
    rng = np.random.default_rng(seed)
    table = rng.choice([BLANK, POSITIVE, NEGATIVE, UNCERTAIN], size=(n, 14), p=[0.5, 0.2, 0.2, 0.1])
    table[:, NO_FINDING] = rng.integers(0, 2, n)
    table[:, 3] = BLANK  # an observation that never occurs
    table[:5] = BLANK  # reports without any
    return table.astype(np.int8)


def oracle(h: np.ndarray, r: np.ndarray, average: str) -> Sequence[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return precision_recall_fscore_support(r, h, average=SKLEARN[average], zero_division=0)[:3]


def score(convention: f1.Convention, h: np.ndarray, r: np.ndarray) -> dict[str, float]:
    sums = f1.statistics(h, r, convention).sum(axis=0)
    values = f1.scores(sums, len(h), convention.scores)
    return dict(zip(convention.scores, values.tolist(), strict=True))


@pytest.mark.parametrize("uncertain", ["positive", "negative"])
@pytest.mark.parametrize("seed", range(3))
def test_every_average_is_scikit_learns(uncertain: str, seed: int) -> None:
    h, r = labels(seed), labels(seed + 100)
    convention = f1.Convention("", uncertain)
    found = score(convention, h, r)
    hb, rb = f1.present(h, uncertain), f1.present(r, uncertain)
    for name, index in f1.SETS.items():
        for average in f1.AVERAGES:
            expected = oracle(hb[:, index], rb[:, index], average)
            for measure, value in zip(f1.MEASURES, expected, strict=True):
                assert found[f"{measure}-{average}-{name}"] == pytest.approx(value, abs=1e-12)


def test_ignored_pairs_do_not_count_at_all() -> None:
    h, r = labels(1), labels(2)
    table = f1.statistics(h, r, CONVENTIONS["uncertain-ignored"])
    kept = (h != UNCERTAIN) & (r != UNCERTAIN)
    tp = fp = fn = 0
    for i in range(len(h)):
        for j in range(14):
            if kept[i, j]:
                tp += h[i, j] == POSITIVE and r[i, j] == POSITIVE
                fp += h[i, j] == POSITIVE and r[i, j] != POSITIVE
                fn += h[i, j] != POSITIVE and r[i, j] == POSITIVE
    found = f1.scores(table.sum(axis=0), len(h), ["F1-micro-14"])
    assert found == pytest.approx(2 * tp / (2 * tp + fp + fn))


def test_f1chexberts_arithmetic() -> None:
    """Classes 1 and 3 are 1; exact-match accuracy over five; reports of 14 and of 5."""
    h, r = labels(5), labels(6)
    h[10:40] = r[10:40]
    hb, rb = np.isin(h, [1, 3]).astype(int), np.isin(r, [1, 3]).astype(int)
    five = np.where(np.isin(OBSERVATIONS, FIVE))[0]
    found = score(CONVENTIONS["f1chexbert"], h, r)
    assert found["accuracy-5"] == pytest.approx(accuracy_score(rb[:, five], hb[:, five]))
    assert found["F1-micro-5"] == pytest.approx(oracle(hb[:, five], rb[:, five], "micro")[2])
    assert tuple(five) == FIVE_INDEX


def test_r2gens_script_counts_uncertain_as_zero() -> None:
    h, r = labels(7), labels(8)
    found = score(CONVENTIONS["r2gen"], h, r)
    assert set(found) == {
        f"{m}-{a}-14" for m in ("precision", "recall", "F1") for a in ("micro", "macro")
    }
    assert found["F1-macro-14"] == pytest.approx(oracle(h == 1, r == 1, "macro")[2])


def test_rgrg_mixes_two_rules() -> None:
    h, r = labels(9), labels(10)
    found = score(CONVENTIONS["rgrg"], h, r)
    both = np.isin(h, [1, 3]), np.isin(r, [1, 3])
    assert found["F1-micro-14"] == pytest.approx(oracle(*both, "micro")[2])
    assert found["F1-example-14"] == pytest.approx(oracle(h == 1, r == 1, "example")[2])


def test_miura_is_micro_over_five() -> None:
    h, r = labels(11), labels(12)
    found = score(CONVENTIONS["miura"], h, r)
    flat = [np.isin(x, [1, 3])[:, FIVE_INDEX].reshape(-1, 1) for x in (h, r)]
    expected = precision_recall_fscore_support(flat[1], flat[0], average="binary")[:3]
    assert list(found.values()) == pytest.approx(expected)


def test_statistics_add_up_over_any_multiset() -> None:
    h, r = labels(13), labels(14)
    pick = np.random.default_rng(0).integers(0, len(h), 90)
    convention = CONVENTIONS["rgrg"]
    table = f1.statistics(h, r, convention)
    found = f1.scores(table[pick].sum(axis=0), 90, convention.scores)
    direct = list(score(convention, h[pick], r[pick]).values())
    assert found == pytest.approx(direct, abs=1e-12)


def test_scores_of_many_resamples_at_once() -> None:
    table = f1.statistics(labels(1), labels(2), CONVENTIONS["bench"])
    weights = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), size=7)
    names = f1.ALL_SCORES
    together = f1.scores(weights @ table, np.full(7, 60), names)
    one = [f1.scores(w @ table, 60, names) for w in weights]
    assert together == pytest.approx(np.array(one))


def test_nothing_to_find_scores_zero_without_warning() -> None:
    empty = np.zeros((3, 14), np.int8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score(CONVENTIONS["bench"], empty, empty)
    assert set(found.values()) == {0.0}


def test_findings_table() -> None:
    h, r = labels(3), labels(4)
    rows = f1.findings(f1.statistics(h, r, CONVENTIONS["bench"]))
    assert [row.observation for row in rows] == list(OBSERVATIONS)
    edema = rows[OBSERVATIONS.index("Edema")]
    truth = np.isin(r, [1, 3])[:, OBSERVATIONS.index("Edema")]
    guess = np.isin(h, [1, 3])[:, OBSERVATIONS.index("Edema")]
    assert (edema.support, edema.predicted) == (truth.sum(), guess.sum())
    assert edema.precision == pytest.approx((truth & guess).sum() / guess.sum())


class Letters(ClinicalMetric):
    """Reads "4" in a report as a positive fourth observation, and so on; labels for tests."""

    name = "letters"
    version = 1
    title = "Letters"

    def label(self, reports: Sequence[str]) -> np.ndarray:
        rows = [[POSITIVE if f" {i} " in f" {x} " else BLANK for i in range(14)] for x in reports]
        return np.array(rows, np.int8)

    def source(self) -> str:
        return "letters"


def test_a_metric_reports_its_conventions_scores_under_its_title() -> None:
    metric = Letters()
    found = metric.corpus(metric.statistics(["1 4", "9"], ["1", "9 7"]))
    assert found["Letters-precision-micro-14"] == pytest.approx(2 / 3)
    assert found["Letters-F1-micro-5"] == pytest.approx(2 / 3)
    assert metric.implementation() == "letters|convention:bench|uncertain:positive"


def test_every_convention_has_its_own_description() -> None:
    described = [c.describe() for c in CONVENTIONS.values()]
    assert len(set(described)) == len(described)
