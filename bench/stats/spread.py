"""How far a score, or a difference of two, would move with other studies and other seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.errors import BenchError, unknown
from bench.metrics.base import Metric
from bench.stats.plan import Plan

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

    def seeds(self, correction: float) -> tuple[np.ndarray, np.ndarray]:
        """Variance of the mean over runs that is due to seeds: (as used, as estimated) (m,).

        Runs also differ because each errs on other studies; that part falls with n, and the
        bootstrap over studies already counts it, so it is taken off (never below 0).
        """
        S = len(self.values)
        if S == 1:
            zero = np.zeros(self.values.shape[1])
            return zero, zero
        observed = self.values.var(axis=0, ddof=1)
        deviations = self.draws - self.draws.mean(axis=1, keepdims=True)
        shared = deviations.var(axis=0).sum(axis=0) / (S - 1) * correction
        return np.maximum(observed - shared, 0.0) / S, observed / S


@dataclass(frozen=True)
class Spread:
    """A score, or a difference of two, with what is known of its sampling distribution."""

    groups: tuple[Group, ...]
    value: np.ndarray  # (m,)
    draws: np.ndarray  # (resamples, m), over studies
    studies: np.ndarray  # (m,) variance over studies, as the bootstrap sees it
    variance: np.ndarray  # (m,) over studies and seeds, unbiased for small samples
    df: np.ndarray  # (m,)

    @classmethod
    def of(cls, metric: Metric, systems: Sequence[np.ndarray], plan: Plan) -> Spread:
        per_unit = [plan.per_unit(runs) for runs in systems]
        # One product for all runs of both systems: making the counts is most of the work.
        flat = np.concatenate([u.reshape(plan.units, -1) for u in per_unit], axis=1)
        ends = np.cumsum([u[0].size for u in per_unit])[:-1]
        groups = tuple(
            Group.of(metric, runs, sums.reshape(-1, *units.shape[1:]), units)
            for runs, units, sums in zip(
                systems, per_unit, np.split(plan.bootstrap(flat), ends, axis=1), strict=True
            )
        )
        value = _contrast([g.values.mean(axis=0) for g in groups])
        draws = _contrast([g.draws.mean(axis=1) for g in groups])
        studies = draws.var(axis=0)
        correction = plan.units / (plan.units - 1)
        seeds = [g.seeds(correction) for g in groups]
        variance = studies * correction + sum(used for used, _ in seeds)
        squares = (studies * correction) ** 2 / (plan.units - 1) + sum(
            estimate**2 / max(len(g.values) - 1, 1)
            for g, (_, estimate) in zip(groups, seeds, strict=True)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            df = np.where(squares > 0, variance**2 / squares, plan.units - 1)
        return cls(groups, value, draws, studies, variance, np.maximum(df, 1.0))

    @property
    def seeded(self) -> bool:
        return any(len(g.values) > 1 for g in self.groups)

    def ends(self, level: float, method: str) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end (m,) of the interval at `level`."""
        from scipy.special import ndtri, stdtrit

        tails = np.array([(1 - level) / 2, (1 + level) / 2])
        t, z = stdtrit(self.df, tails[1]), ndtri(tails[1])
        low, high = self._quantiles(tails, method)
        reach = t * np.sqrt(self.variance)
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
        if method != "bca":
            raise unknown("interval method", method, METHODS)
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
        jackknife = _contrast([g.without().mean(axis=1) for g in self.groups])
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
        from scipy.special import stdtr

        error = np.sqrt(self.variance)
        t = np.divide(self.value, error, where=error > 0, out=np.where(self.value == 0, 0, np.inf))
        return 2 * stdtr(self.df, -np.abs(t))


def aggregate(metric: Metric, sums: np.ndarray, n: np.ndarray | int) -> np.ndarray:
    scores = metric.aggregate(sums, n)
    if not np.isfinite(scores).all():
        raise BenchError(
            f"{metric.name} is not a number on some resamples",
            f"define {type(metric).__name__}.aggregate where its denominators are 0",
        )
    return scores


def _contrast(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The one system's figure, or A's minus B's."""
    return parts[0] if len(parts) == 1 else parts[0] - parts[1]
