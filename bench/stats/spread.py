"""How far a score, or a difference of two, would move with other studies and other seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.errors import BenchError, unknown
from bench.metrics.base import Metric
from bench.stats.power import critical
from bench.stats.resampling import Plan

METHODS = ("percentile", "bca")


@dataclass(frozen=True)
class Group:
    """The runs of one system: their scores on all reports, on every resample, and without each
    one of the units (jackknife)."""

    values: np.ndarray  # (S, m)
    draws: np.ndarray  # (resamples, S, m)
    without: Callable[[], np.ndarray]  # () -> (units, S, m)

    @classmethod
    def of(cls, metric: Metric, runs: np.ndarray, sums: np.ndarray, per_unit: np.ndarray) -> Group:
        """From the runs, their resampled sums and the sums of each unit (., S, k + 1)."""

        def scores(sums: np.ndarray) -> np.ndarray:
            return aggregate(metric, sums[..., :-1], sums[..., -1])

        # Exactly `Metric.corpus`: a value never depends on how its interval was computed.
        values = np.stack([aggregate(metric, r.sum(axis=0), len(r)) for r in runs])
        return cls(values, scores(sums), lambda: scores(per_unit.sum(axis=0) - per_unit))

    def minus(self, other: Group) -> Group:
        """One system whose runs are the differences of two systems' runs, in their order."""
        return Group(
            self.values - other.values,
            self.draws - other.draws,
            lambda: self.without() - other.without(),
        )

    def log(self) -> Group:
        """One whose mean over runs is the logarithm of this one's.

        A run lies as far from the mean as its share of it says (the delta method): a run that
        scores 0 has no logarithm, its row has.
        """

        def logarithm(runs: np.ndarray, axis: int) -> np.ndarray:
            mean = runs.mean(axis=axis, keepdims=True)
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.asarray(np.log(mean) + runs / mean - 1)

        without = self.without
        return Group(
            logarithm(self.values, 0), logarithm(self.draws, 1), lambda: logarithm(without(), 1)
        )

    def seeds(self) -> np.ndarray:
        """Variance (m,) of the mean over runs, as the spread of the runs shows it."""
        S = len(self.values)
        return self.values.var(axis=0, ddof=1) / S if S > 1 else np.zeros_like(self.values[0])

    def luck(self) -> np.ndarray:
        """Variance (m,) of the mean over runs that each run's own luck with these studies makes.

        Run s scores mu + seed_s + common + luck_s: `common` is what these studies do to every run
        of the system, `luck_s` what they do to this run alone. Of the mean over runs, the spread
        of the values (`seeds`) has the variance (var seed + var luck) / S, and the bootstrap over
        studies var common + var luck / S. Their sum holds var luck / S twice.

        On the resamples a run's distance from the mean of the runs moves by luck alone, by
        (1 - 1 / S) var luck; summed over runs, (S - 1) var luck.
        """
        S = len(self.values)
        if S == 1:
            return np.zeros_like(self.values[0])
        apart = self.draws - self.draws.mean(axis=1, keepdims=True)
        return apart.var(axis=0).sum(axis=0) / (S - 1) / S


@dataclass(frozen=True)
class Spread:
    """A score, or a difference of two, with what is known of its sampling distribution.

    A run's luck with the studies is left to the part over seeds: the few runs show it together
    with their seeds, and that part's t allows for how few they are. To leave it to the part over
    studies makes intervals too short whenever few runs happen to lie close together.
    """

    groups: tuple[Group, ...]  # whose runs are independent: one a system
    weights: tuple[float, ...]  # of each in the contrast
    value: np.ndarray  # (m,)
    draws: np.ndarray  # (resamples, m), over studies
    studies: np.ndarray  # (m,) variance over studies, as the bootstrap sees it
    parts: np.ndarray  # (2, m) variance over studies without luck, unbiased, and over seeds
    df: np.ndarray  # (2, m) degrees of freedom of each

    @classmethod
    def of(
        cls,
        metric: Metric,
        systems: Sequence[np.ndarray],
        plan: Plan,
        paired: bool = False,
        weights: Sequence[float] = (),
        log: bool = False,
    ) -> Spread:
        """A weighted sum of the systems' scores: of one its score, of two A - B, if not said.

        `paired`: run s of A and run s of B are one training, so that what varies over seeds
        is their difference. `log`: of the logarithms of the scores, which makes A - B the
        logarithm of a ratio.
        """
        groups = _groups(metric, systems, plan)
        if log:
            groups = tuple(g.log() for g in groups)
        if paired:
            groups = (groups[0].minus(groups[1]),)
        weights = tuple(weights) or (1.0, -1.0)[: len(groups)]
        value = _contrast(weights, [g.values.mean(axis=0) for g in groups])
        draws = _contrast(weights, [g.draws.mean(axis=1) for g in groups])
        studies = draws.var(axis=0)
        squares = [w**2 for w in weights]
        seeds = [v * g.seeds() for v, g in zip(squares, groups, strict=True)]
        # Both are estimates: luck can come out as more than there is.
        common = np.maximum(studies - _contrast(squares, [g.luck() for g in groups]), 0.0)
        parts = np.stack([common * plan.units / (plan.units - 1), sum(seeds, np.zeros_like(value))])
        df = np.stack([np.full_like(value, plan.units - 1), _welch(seeds, groups)])
        return cls(groups, weights, value, draws, studies, parts, df)

    @property
    def variance(self) -> np.ndarray:
        """(m,) over studies and seeds, unbiased for small samples."""
        return self.parts.sum(axis=0)

    def t(self, tail: np.ndarray | float) -> np.ndarray:
        """(m,) Cochran and Cox's (1950) critical value: each part's t, weighted by its variance.

        Satterthwaite's degrees of freedom for studies and seeds together cover less: they are
        large, and the variance small, whenever few runs happen to lie close together.
        """
        return critical(self.parts, self.df, tail)

    @property
    def seeded(self) -> bool:
        return any(len(g.values) > 1 for g in self.groups)

    def ends(self, level: float, method: str) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end (m,) of the interval at `level`.

        Of several runs it is symmetric, and holds what `p_value` does not reject: the shape of
        the bootstrap is that of the part over studies alone.
        """
        from scipy.special import ndtri

        tails = np.array([(1 - level) / 2, (1 + level) / 2])
        t, z = self.t(tails[0]), ndtri(tails[1])
        reach = t * np.sqrt(self.variance)
        if method not in METHODS:
            raise unknown("interval method", method, METHODS)
        if self.seeded:
            return self.value - reach, self.value + reach
        low, high = self._quantiles(tails, method)
        # Where the score is the same on every resample there is no shape to stretch.
        still = self.studies == 0
        stretch = reach / np.where(still, 1.0, z * np.sqrt(self.studies))
        return (
            self.value + np.where(still, -reach, (low - self.value) * stretch),
            self.value + np.where(still, reach, (high - self.value) * stretch),
        )

    def _quantiles(self, tails: np.ndarray, method: str) -> np.ndarray:
        """(2, m) quantiles of the draws, at (R + 1) tail as Davison and Hinkley (1997) say."""
        if method == "percentile":
            return np.quantile(self.draws, tails, axis=0, method="weibull")
        levels = self._bca(tails)
        return np.transpose(
            [np.quantile(d, q, method="weibull") for d, q in zip(self.draws.T, levels, strict=True)]
        )

    def _bca(self, tails: np.ndarray) -> np.ndarray:
        """(m, 2) the tails, corrected for bias and acceleration (Efron 1987)."""
        from scipy.special import ndtr, ndtri

        below = (
            (self.draws < self.value).mean(axis=0) + (self.draws <= self.value).mean(axis=0)
        ) / 2
        jackknife = _contrast(self.weights, [g.without().mean(axis=1) for g in self.groups])
        pulls = jackknife.mean(axis=0) - jackknife
        cube = (pulls**2).sum(axis=0) ** 1.5
        usable = (cube > 0) & (below > 0) & (below < 1)
        acceleration = (pulls**3).sum(axis=0) / (6 * np.where(usable, cube, 1.0))
        bias = ndtri(np.where(usable, below, 0.5))[:, None]
        z = bias + ndtri(tails)
        corrected = ndtr(bias + z / (1 - acceleration[:, None] * z))
        return np.where(usable[:, None], corrected, tails)

    def p_value(self) -> np.ndarray:
        """Two-sided p-value (m,) of the t-test that belongs to the interval."""
        return p_value(self.value, self.parts, self.df)


def p_value(distance: np.ndarray, parts: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Two-sided p-value (m,) of a distance from what is supposed, by bisection: at the level
    1 - p, Cochran and Cox's interval just reaches it. `parts` and `df` (p, m)."""
    error = np.sqrt(parts.sum(axis=0))
    t = np.divide(distance, error, where=error > 0, out=np.where(distance == 0, 0.0, np.inf))
    low, high = np.zeros_like(t), np.full_like(t, 0.5)  # of one tail
    for _ in range(60):
        middle = (low + high) / 2
        beyond = np.abs(t) > critical(parts, df, middle)
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    return 2 * high


def _groups(metric: Metric, systems: Sequence[np.ndarray], plan: Plan) -> tuple[Group, ...]:
    per_unit = [plan.per_unit(runs) for runs in systems]
    # One product for all runs of both systems: making the counts is most of the work.
    flat = np.concatenate([u.reshape(plan.units, -1) for u in per_unit], axis=1)
    ends = np.cumsum([u[0].size for u in per_unit])[:-1]
    drawn = plan.bootstrap(flat)
    # Rows of a control that is averaged over derangements may be below 0 (`runs.controls`), and so
    # may a rare resample of few studies; the counts that it stands for may not.
    sums = np.split(np.maximum(drawn, 0) if metric.nonnegative else drawn, ends, axis=1)
    return tuple(
        Group.of(metric, runs, drawn.reshape(-1, *units.shape[1:]), units)
        for runs, units, drawn in zip(systems, per_unit, sums, strict=True)
    )


def _welch(seeds: Sequence[np.ndarray], groups: Sequence[Group]) -> np.ndarray:
    """(m,) Welch's degrees of freedom of the sum of the systems' variances over seeds."""
    total = sum(seeds, np.zeros_like(seeds[0]))
    squares = sum(v**2 / max(len(g.values) - 1, 1) for v, g in zip(seeds, groups, strict=True))
    return np.divide(total**2, squares, where=total > 0, out=np.ones_like(total))


def aggregate(metric: Metric, sums: np.ndarray, n: np.ndarray | int) -> np.ndarray:
    scores = metric.aggregate(sums, n)
    if not np.isfinite(scores).all():
        raise BenchError(
            f"{metric.name} is not a number on some resamples",
            f"define {type(metric).__name__}.aggregate where its denominators are 0",
        )
    return scores


def _contrast(weights: Sequence[float], parts: Sequence[np.ndarray]) -> np.ndarray:
    """The weighted sum of the systems' figures."""
    first, *rest = (w * part for w, part in zip(weights, parts, strict=True))
    return np.asarray(sum(rest, first))
