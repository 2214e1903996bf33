"""Intervals, paired tests, effects and Holm's correction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import BenchError, unknown
from bench.metrics.base import Metric
from bench.stats.resampling import Plan
from bench.stats.spread import Spread, aggregate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# Of the methods, not of the code: it enters signatures, and rises when a figure would change.
# 2: a run's luck with the studies counts once; a training and its own control are paired.
# 3: of several runs, the interval is symmetric and p is that of its own t-test; no interval
# reaches beyond what a score can be.
VERSION = 3
LEVEL = 0.95
TESTS = ("randomization", "bootstrap")  # of single runs, which know only the studies
T_TEST = "t"  # of several runs, over seeds and studies


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval and standard error."""

    value: float
    low: float
    high: float
    error: float


@dataclass(frozen=True)
class Difference(Interval):
    """Score of A minus score of B.

    `p` is two-sided and uncorrected; of several runs it is that of the interval's own t-test.
    `relative` is the difference over B's score (nan when that is 0). `standardized` is the
    difference over sqrt(units) bootstrap standard deviations: for
    a mean of per-report values it is Cohen's d of the paired differences, for BLEU the same
    with each report's influence on the difference in its place. It does not grow with n.
    """

    p: float
    relative: float
    standardized: float
    test: str  # the one that made p: one of `TESTS`, or `T_TEST`


def intervals(
    metric: Metric,
    runs: np.ndarray,
    plan: Plan,
    *,
    level: float = LEVEL,
    method: str = "percentile",
) -> dict[str, Interval]:
    """The interval of each of the metric's scores; runs (n, k) or (S, n, k)."""
    columns = _columns(Spread.of(metric, [_runs(runs, plan)], plan), level, method, metric.bounds)
    return {s: Interval(*row) for s, row in zip(metric.scores, _rows(columns), strict=True)}


def differences(
    metric: Metric,
    a: np.ndarray,
    b: np.ndarray,
    plan: Plan,
    *,
    level: float = LEVEL,
    method: str = "percentile",
    test: str = "randomization",
    paired: bool = False,
) -> dict[str, Difference]:
    """A minus B for each of the metric's scores; a, b (n, k) or (S, n, k), same reports.

    The interval is the paired bootstrap's: both systems meet the same draws. Runs of A and runs
    of B are independent trainings and are not paired with each other, unless `paired` says that
    run s of both is the same training (B is a control of A). Then a run's score is its
    difference A minus B, and S runs have S - 1 degrees of freedom; with one run nothing changes.

    `test` "randomization" (Noreen 1989; Riezler and Maxwell 2005) exchanges the two systems'
    outputs on a random half of the units, each system's output being its statistics averaged
    over its runs: no run is permuted. "bootstrap" compares the centred draws of the
    difference with the difference. Both give (c + 1) / (resamples + 1) and know only the
    studies: they are for single runs. Where a system has several runs, p is that of the t-test
    with the interval's own variance over studies and seeds.
    """
    a, b = _runs(a, plan), _runs(b, plan)
    if paired and len(a) != len(b):
        raise BenchError(f"{len(a)} runs cannot be paired with {len(b)}", "one control per run")
    spread = Spread.of(metric, [a, b], plan, paired)
    if test not in TESTS:
        raise unknown("test", test, TESTS)
    made_by = T_TEST if spread.seeded else test
    p = spread.p_value() if spread.seeded else _tail(*_null(test, metric, spread, a, b, plan))
    base = np.mean([list(metric.corpus(run).values()) for run in b], axis=0)
    low, high = map(np.asarray, metric.bounds)
    columns = _columns(spread, level, method, (low - high, high - low))
    columns = (*columns, p, *_effects(spread, base, plan))
    names = [f.name for f in fields(Difference) if f.name != "test"]
    return {
        score: Difference(**dict(zip(names, row, strict=True)), test=made_by)
        for score, row in zip(metric.scores, _rows(columns), strict=True)
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) corrected p-values of a family, in the order given."""
    order = np.argsort(p_values, kind="stable")
    m = len(order)
    steps = np.maximum.accumulate([(m - i) * p_values[j] for i, j in enumerate(order)])
    corrected = np.empty(m)
    corrected[order] = np.minimum(steps, 1.0)
    return [float(p) for p in corrected]


def signature(
    metric: Metric,
    plan: Plan,
    runs: Sequence[int],
    *,
    level: float = LEVEL,
    method: str = "percentile",
    test: str = "",
    paired: bool = False,
) -> str:
    """How an interval, or a paired test, was made; version last.

    Example: `ci:percentile-0.95|test:randomization|resamples:10000|units:studies-590|runs:1,1|v:3`;
    a metric whose resamples approximate something says so after `approximates:`.
    """
    if max(runs) > 1:  # then both are of the t-test, whatever single runs would get
        method, test = T_TEST, test and T_TEST
    parts = [f"ci:{method}-{level:g}", f"test:{test}" if test else ""]
    parts += [f"resamples:{plan.resamples}", f"units:{plan.unit}-{plan.units}"]
    parts += ["runs:" + ",".join(map(str, runs)), "paired:runs" if paired else ""]
    parts += [f"approximates:{metric.resampling}" if metric.resampling else ""]
    parts += [f"v:{VERSION}"]
    return "|".join(filter(None, parts))


def _null(
    test: str, metric: Metric, spread: Spread, a: np.ndarray, b: np.ndarray, plan: Plan
) -> tuple[np.ndarray, np.ndarray]:
    """The observed difference (m,), and differences as they would be if none were true
    (resamples, m)."""
    if test == "bootstrap":
        return spread.value, spread.draws - spread.value
    return _exchanged(metric, a.mean(axis=0), b.mean(axis=0), plan)


def _exchanged(
    metric: Metric, a: np.ndarray, b: np.ndarray, plan: Plan
) -> tuple[np.ndarray, np.ndarray]:
    """The difference of two systems (n, k), as it is and with outputs exchanged at random."""
    A, B = plan.per_unit(np.stack([a, b]))[..., :-1].transpose(1, 0, 2)
    moved = plan.swap(A - B)
    # The systems as they are come last: one call, hence one rounding, for both.
    moved = np.concatenate([moved, (A - B).sum(axis=0, keepdims=True)])
    n = np.full(len(moved), len(a))
    scores_a = aggregate(metric, B.sum(axis=0) + moved, n)
    scores_b = aggregate(metric, A.sum(axis=0) - moved, n)
    difference = scores_a - scores_b
    return difference[-1], difference[:-1]


def _tail(observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Two-sided p-value (c + 1) / (resamples + 1) of each score (m,)."""
    # A draw that ties with what was observed counts, whatever the last digits say.
    tie = 1e-12 * np.maximum(1.0, np.abs(observed))
    extreme = (np.abs(null) >= np.abs(observed) - tie).sum(axis=0)
    return (extreme + 1) / (len(null) + 1)


def _effects(spread: Spread, base: np.ndarray, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Relative (to `base`) and standardized difference (m,), as `Difference` defines them."""
    scale = np.sqrt(plan.units * spread.studies)
    nan = np.full_like(base, np.nan)
    relative = np.divide(spread.value, np.abs(base), where=base != 0, out=nan.copy())
    standardized = np.divide(spread.value, scale, where=scale > 0, out=nan)
    return relative, np.where(spread.value == 0, 0.0, standardized)


def _columns(
    spread: Spread, level: float, method: str, bounds: tuple[ArrayLike, ArrayLike]
) -> tuple[np.ndarray, ...]:
    """Value, ends and standard error (m,). An end that no score can reach is the last that one
    can: that leaves out nothing true."""
    low, high = (np.clip(end, *bounds) for end in spread.ends(level, method))
    return spread.value, low, high, np.sqrt(spread.variance)


def _runs(statistics: np.ndarray, plan: Plan) -> np.ndarray:
    """(n, k) or (S, n, k) -> float (S, n, k), with as many reports as the plan has ids."""
    runs = np.asarray(statistics, dtype=float)
    runs = runs[None] if runs.ndim == 2 else runs
    if runs.ndim != 3 or not len(runs) or runs.shape[1] != len(plan.ids):
        raise BenchError(
            f"statistics of shape {np.shape(statistics)} for {len(plan.ids)} studies",
            "one row per study, (n, k) or (runs, n, k)",
        )
    return runs


def _rows(columns: Sequence[np.ndarray]) -> Iterator[tuple[float, ...]]:
    """One tuple of floats per score. All but the value itself keep 12 digits: what lies beyond
    depends on the order in which the matrix product adds."""
    value, *rest = columns
    for i, v in enumerate(value):
        yield (float(v), *(float(f"{c[i]:.12g}") for c in rest))
