"""Clinical efficacy from label matrices: one arithmetic for every labeler and every convention.

A labeler gives each report one of four classes for 14 observations. A convention says what an
uncertain label counts as; then true and false positives per observation, and precision, recall
and F1 of each report, are all that any of the published averages needs, and all of them add up
over reports. A ratio without a denominator is 0, as in scikit-learn's reports.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.metrics.base import Metric
from bench.metrics.clinical.observations import FIVE_INDEX, OBSERVATIONS, POSITIVE, UNCERTAIN

SETS = {"14": tuple(range(len(OBSERVATIONS))), "5": FIVE_INDEX}
MEASURES = ("precision", "recall", "F1")
AVERAGES = ("micro", "macro", "weighted", "example")
ALL_SCORES = tuple(f"{m}-{a}-{s}" for s in SETS for a in AVERAGES for m in MEASURES)
EXACT = "accuracy-5"

_N = len(OBSERVATIONS)
_TP, _FP, _FN = slice(0, _N), slice(_N, 2 * _N), slice(2 * _N, 3 * _N)
_EXAMPLE = {name: slice(3 * (_N + i), 3 * (_N + i + 1)) for i, name in enumerate(SETS)}
_EXACT = 3 * (_N + len(SETS))
WIDTH = _EXACT + 1  # columns of the statistics


@dataclass(frozen=True)
class Convention:
    """A published way to turn four classes into one number.

    uncertain: "positive", "negative", or "ignored" (a pair of labels with an uncertain one on
        either side is not counted).
    example: the same rule for the example-based averages; "" means as `uncertain`.
    scores: the scores that it reports, of `ALL_SCORES` and `EXACT`.
    """

    name: str
    uncertain: str
    example: str = ""
    scores: tuple[str, ...] = ALL_SCORES

    def describe(self) -> str:
        """Parts of a signature."""
        example = f"|example-uncertain:{self.example}" if self.example else ""
        return f"convention:{self.name}|uncertain:{self.uncertain}{example}"


def _scores(averages: str, sets: str) -> tuple[str, ...]:
    return tuple(f"{m}-{a}-{s}" for s in sets.split() for a in averages.split() for m in MEASURES)


# Read in each project's own script; see docs/clinical-efficacy.md.
CONVENTIONS = {
    c.name: c
    for c in (
        Convention("bench", "positive"),
        Convention("uncertain-negative", "negative"),
        Convention("uncertain-ignored", "ignored"),
        Convention("r2gen", "negative", scores=_scores("micro macro", "14")),
        Convention("f1chexbert", "positive", scores=(*ALL_SCORES, EXACT)),
        Convention(
            "rgrg",
            "positive",
            example="negative",
            scores=(*_scores("micro", "14 5"), *_scores("example", "14")),
        ),
        Convention("miura", "positive", scores=_scores("micro", "5")),
    )
}


def present(labels: np.ndarray, uncertain: str) -> np.ndarray:
    """Which observations of (n, 14) classes count as present. "ignored" masks them elsewhere."""
    found = labels == POSITIVE
    return found | (labels == UNCERTAIN) if uncertain == "positive" else found


def counts(
    hypothesis: np.ndarray, reference: np.ndarray, uncertain: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True positives, false positives, false negatives as bool (n, 14)."""
    h, r = present(hypothesis, uncertain), present(reference, uncertain)
    counted = np.ones(h.shape, dtype=bool)
    if uncertain == "ignored":
        counted = (hypothesis != UNCERTAIN) & (reference != UNCERTAIN)
    return h & r & counted, h & ~r & counted, ~h & r & counted


def statistics(hypothesis: np.ndarray, reference: np.ndarray, convention: Convention) -> np.ndarray:
    """Additive statistics (n, WIDTH) of two label matrices (n, 14)."""
    table = np.zeros((len(hypothesis), WIDTH))
    parts = counts(hypothesis, reference, convention.uncertain)
    for columns, part in zip((_TP, _FP, _FN), parts, strict=True):
        table[:, columns] = part
    example = counts(hypothesis, reference, convention.example or convention.uncertain)
    for name, index in SETS.items():
        tp, fp, fn = (part[:, index].sum(axis=1).astype(float) for part in example)
        table[:, _EXAMPLE[name]] = np.stack(measures(tp, fp, fn), axis=1)
    wrong = (parts[1] | parts[2])[:, FIVE_INDEX]
    table[:, _EXACT] = ~wrong.any(axis=1)
    return table


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """top / bottom, 0 where there is nothing to divide by."""
    top, bottom = np.broadcast_arrays(np.asarray(top, float), np.asarray(bottom, float))
    return np.divide(top, bottom, out=np.zeros(top.shape), where=bottom > 0)


def measures(
    tp: np.ndarray, fp: np.ndarray, fn: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of counts of any shape."""
    return ratio(tp, tp + fp), ratio(tp, tp + fn), ratio(2 * tp, 2 * tp + fp + fn)


def scores(sums: np.ndarray, n: np.ndarray | int, names: Sequence[str]) -> np.ndarray:
    """The named scores (..., len(names)) of summed statistics (..., WIDTH) over n reports."""
    known: dict[str, np.ndarray] = {EXACT: ratio(sums[..., _EXACT], np.asarray(n))}
    for label, index in SETS.items():
        for average in AVERAGES:
            values = _average(sums, n, label, index, average)
            known.update(
                (f"{m}-{average}-{label}", v) for m, v in zip(MEASURES, values, strict=True)
            )
    return np.stack([known[name] for name in names], axis=-1)


def _average(
    sums: np.ndarray, n: np.ndarray | int, label: str, index: tuple[int, ...], average: str
) -> tuple[np.ndarray, ...]:
    if average == "example":
        means = ratio(sums[..., _EXAMPLE[label]], np.asarray(n)[..., None])
        return tuple(means[..., i] for i in range(len(MEASURES)))
    tp, fp, fn = (sums[..., part][..., index] for part in (_TP, _FP, _FN))
    if average == "micro":
        return measures(tp.sum(-1), fp.sum(-1), fn.sum(-1))
    each = measures(tp, fp, fn)
    if average == "macro":
        return tuple(values.mean(-1) for values in each)
    support = tp + fn
    return tuple(ratio((values * support).sum(-1), support.sum(-1)) for values in each)


@dataclass(frozen=True)
class Finding:
    """One row of the per-observation table. `support`: reports whose reference has it."""

    observation: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


def findings(table: np.ndarray) -> list[Finding]:
    """Precision, recall and F1 of each observation, from statistics (n, WIDTH) or their sum."""
    sums = table if table.ndim == 1 else table.sum(axis=0)
    tp, fp, fn = sums[_TP], sums[_FP], sums[_FN]
    rows = zip(OBSERVATIONS, *measures(tp, fp, fn), tp + fn, tp + fp, strict=True)
    return [Finding(o, float(p), float(r), float(f), int(s), int(h)) for o, p, r, f, s, h in rows]


class ClinicalMetric(Metric):
    """Agreement of the observations that a labeler reads in report and reference."""

    # Published truncated references are a convention of their own; here the whole text counts.
    treatments: ClassVar[tuple[str, ...]] = ("raw",)
    bounds = (0.0, 1.0)
    title: ClassVar[str]
    convention: ClassVar[Convention] = CONVENTIONS["bench"]

    def __init__(self) -> None:
        self.scores = tuple(f"{self.title}-{name}" for name in self.convention.scores)

    @abstractmethod
    def label(self, reports: Sequence[str]) -> np.ndarray:
        """Classes (n, 14) of reports; identical reports are read once."""

    @abstractmethod
    def source(self) -> str:
        """The part of the signature that identifies the labeler and its weights."""

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """One row of `clinical.statistics` per pair."""
        labels = self.label([*hypotheses, *references])
        return statistics(labels[: len(hypotheses)], labels[len(hypotheses) :], self.convention)

    def aggregate(self, sums: np.ndarray, n: np.ndarray | int) -> np.ndarray:
        """The convention's scores."""
        return scores(sums, n, self.convention.scores)

    def implementation(self) -> str:
        """Labeler and convention; the average and the label set stand in the score's name."""
        return f"{self.source()}|{self.convention.describe()}"
