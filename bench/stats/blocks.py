"""Two rows on the folds of a dataset: each fold is a block, and the rows are compared within it.

Every study is tested in exactly one fold, so that folds have their test studies and trainings to
themselves; their training studies overlap. The difference of two rows is the mean of the folds'
differences, and two things are known of its spread:

- the folds' differences differ from each other: a t-test over F differences, with F - 1 degrees of
  freedom. It counts studies, seeds and training sets alike, also with one training a fold.
- the studies, resampled within each fold, and the seeds of each fold, where it has several: many
  degrees of freedom, but nothing of what another training set would change.

The first is of all that matters, the second is the least that there can be: few folds lie close
together now and then. So the interval is that of the larger of the two variances, each with its
own degrees of freedom. `bench.scripts.coverage_folds` measures how often it is right.

What all folds have in common is not in either: training sets that overlap share their luck. As a
sensitivity figure stands beside it the corrected resampled t-test of Nadeau and Bengio (2003,
Inference for the generalization error, Machine Learning 52, section 5): 1 / F becomes
1 / F + (test studies of a fold) / (training studies of a fold).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.metrics.base import Metric
from bench.stats.compare import System, _same_studies
from bench.stats.effect import Effect
from bench.stats.infer import LEVEL
from bench.stats.resampling import RESAMPLES, Plan
from bench.stats.spread import Spread
from bench.terminal import interval, number, p_value, percent

Ids = tuple[str, ...]


@dataclass(frozen=True)
class Estimate:
    """What folds say of a difference; arrays (m,), one entry a score.

    `by_folds`: whether the folds differ by more than their studies and seeds explain, so that the
    interval is theirs. `overlap_low`,
    `overlap_high`, `overlap_p`: Nadeau and Bengio's, around the same value.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    by_folds: np.ndarray
    overlap_low: np.ndarray
    overlap_high: np.ndarray
    overlap_p: np.ndarray


def combine(
    values: np.ndarray,
    parts: np.ndarray,
    df: np.ndarray,
    overlap: float,
    level: float = LEVEL,
) -> Estimate:
    """From the folds' differences (F, m) and their variances over studies and seeds (F, 2, m).

    `df` (F, 2, m): degrees of freedom of those. `overlap`: test over training studies of a fold.
    """
    folds, tail = len(values), (1 - level) / 2
    by_folds, variance, degrees = _larger(values, parts, df)
    value, between = values.mean(axis=0), values.var(axis=0, ddof=1)
    few = np.full_like(value, folds - 1)
    reach, far = _reach(variance, degrees, tail), _reach(between * (1 / folds + overlap), few, tail)
    return Estimate(
        value,
        value - reach,
        value + reach,
        _two_sided(value, variance, degrees),
        by_folds,
        value - far,
        value + far,
        _two_sided(value, between * (1 / folds + overlap), few),
    )


def over_folds(folds: Sequence[Effect]) -> Effect:
    """A contrast on the folds of a dataset from that of each fold, by the rule of `combine`."""
    values = np.array([[e.value] for e in folds])
    parts = np.array([[[e.studies], [e.seeds]] for e in folds])
    df = np.array([[[d] for d in e.degrees] for e in folds])
    _, variance, degrees = _larger(values, parts, df)
    return Effect(
        float(values.mean()), 0.0, float(variance[0]), (float(degrees[0]), float(degrees[0]))
    )


def _larger(
    values: np.ndarray, parts: np.ndarray, df: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether the variance of the mean is that between folds, that variance, and its degrees."""
    folds = len(values)
    if folds < 2:
        raise BenchError("one fold has no spread over folds", "run further folds: dataset.fold=all")
    between = values.var(axis=0, ddof=1) / folds
    within = parts.sum(axis=(0, 1)) / folds**2
    by_folds = between > within
    degrees = np.where(by_folds, folds - 1, _fewest(parts, df))
    return by_folds, np.where(by_folds, between, within), degrees


def _fewest(parts: np.ndarray, df: np.ndarray) -> np.ndarray:
    """(m,) degrees of freedom of the variance within folds: those of studies, or of seeds where
    seeds vary, which are fewer."""
    studies, seeds = df.sum(axis=0)
    return np.where(parts[:, 1].sum(axis=0) > 0, np.minimum(studies, seeds), studies)


def _reach(variance: np.ndarray, df: np.ndarray, tail: float) -> np.ndarray:
    from scipy.special import stdtrit

    return np.asarray(-stdtrit(df, tail) * np.sqrt(variance))


def _two_sided(value: np.ndarray, variance: np.ndarray, df: np.ndarray) -> np.ndarray:
    from scipy.special import stdtr

    error = np.sqrt(variance)
    t = np.divide(value, error, where=error > 0, out=np.where(value == 0, 0.0, np.inf))
    return np.asarray(2 * stdtr(df, -np.abs(t)))


# --- rows --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BlockComparison:
    """A against B in one score over folds. The difference is A minus B."""

    score: str
    a: str
    b: str
    folds: tuple[float, ...]  # each fold's difference
    difference: float  # their mean
    low: float
    high: float
    level: float
    p: float  # not corrected for a family
    by_folds: bool  # see `Estimate`
    overlap_low: float
    overlap_high: float
    overlap_p: float
    n: int  # studies of all folds
    runs: tuple[int, int]  # of A and of B, in each fold
    higher_is_better: bool

    def sentence(self) -> str:
        """The finding in plain words, with what the overlap of training sets could change."""
        found = "higher than" if self.difference > 0 else "lower than"
        told = found if self.p <= 1 - self.level else "not distinguishable from"
        ways = sum(d > 0 for d in self.folds)
        return (
            f"{self.a} is {told} {self.b}: {number(self.difference)} with the "
            f"{percent(self.level)} interval {interval(self.low, self.high)}, {p_value(self.p)}; "
            f"higher in {ways} of {len(self.folds)} folds; with Nadeau and Bengio's correction "
            f"{interval(self.overlap_low, self.overlap_high)}, {p_value(self.overlap_p)}"
        )

    def record(self) -> dict[str, Any]:
        """For JSON: full precision."""
        return asdict(self) | {"sentence": self.sentence()}


def compare_folds(
    a: Sequence[System],
    b: Sequence[System],
    metric: Metric,
    overlap: float,
    resamples: int = RESAMPLES,
) -> dict[str, BlockComparison]:
    """A against B in every score of the metric; one system a fold, in the same order.

    `overlap`: test over training studies of a fold.
    """
    if len(a) != len(b):
        raise BenchError(
            f"{len(a)} folds of one row, {len(b)} of the other", "run the missing ones"
        )
    spreads = [_spread(x, y, metric, resamples) for x, y in zip(a, b, strict=True)]
    values = np.stack([s.value for s in spreads])
    found = combine(
        values, np.stack([s.parts for s in spreads]), np.stack([s.df for s in spreads]), overlap
    )
    return {
        score: BlockComparison(
            score=score,
            a=a[0].name,
            b=b[0].name,
            folds=tuple(map(float, values[:, i])),
            difference=float(found.value[i]),
            low=float(found.low[i]),
            high=float(found.high[i]),
            level=LEVEL,
            p=float(found.p[i]),
            by_folds=bool(found.by_folds[i]),
            overlap_low=float(found.overlap_low[i]),
            overlap_high=float(found.overlap_high[i]),
            overlap_p=float(found.overlap_p[i]),
            n=sum(len(x.ids) for x in a),
            runs=(a[0].count, b[0].count),
            higher_is_better=metric.higher_is_better(score),
        )
        for i, score in enumerate(metric.scores)
    }


def _spread(a: System, b: System, metric: Metric, resamples: int) -> Spread:
    _same_studies(a, b)
    runs = [s.runs[None] if s.runs.ndim == 2 else s.runs for s in (a, b)]
    return Spread.of(metric, runs, Plan(a.ids, a.patients, resamples))


def joined(tables: Sequence[tuple[Ids, np.ndarray]]) -> tuple[Ids, np.ndarray]:
    """Runs of one row as runs over the studies of all folds: ids (n,), statistics (S, n, k).

    `tables`: ids and statistics (n_f, k) of each run; runs of equal ids are the seeds of a fold.
    Run s of the result is run s of each fold: every study once, by a training that never saw it.
    Of one dataset these are its runs as they are.
    """
    folds: dict[Ids, list[np.ndarray]] = {}
    for ids, table in tables:
        folds.setdefault(ids, []).append(table)
    counts = {len(runs) for runs in folds.values()}
    if len(counts) > 1:
        raise BenchError(
            f"folds with {' and '.join(map(str, sorted(counts)))} trainings of one row",
            "run the missing seeds: every fold needs as many",
        )
    runs = [np.concatenate(parts) for parts in zip(*folds.values(), strict=True)]
    return tuple(i for ids in folds for i in ids), np.stack(runs)
