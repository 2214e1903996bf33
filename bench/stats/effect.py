"""A contrast of several rows on the scale on which a claim is judged, with all that its interval,
its tests and its resolution need: two variances and their degrees of freedom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.errors import BenchError
from bench.metrics.base import Metric
from bench.stats.power import ALPHA, POWER, critical, detectable
from bench.stats.resampling import Plan
from bench.stats.spread import Spread, p_value


@dataclass(frozen=True)
class Effect:
    """`value`: the sum of weight x score, or of weight x log score, over rows.

    Its interval and every test on it are Cochran and Cox's (`bench.stats.power.critical`): a null
    value is rejected at 1 - level exactly where the interval at `level` leaves it out.
    """

    value: float
    studies: float  # variance over studies
    seeds: float  # variance over seeds
    degrees: tuple[float, float]

    @property
    def defined(self) -> bool:
        """A score of 0 has no logarithm."""
        return bool(np.isfinite([self.value, self.studies, self.seeds]).all())

    def interval(self, level: float) -> tuple[float, float]:
        t = critical(*self._parts, (1 - level) / 2)[0]
        reach = float(t * np.sqrt(self.studies + self.seeds))
        return self.value - reach, self.value + reach

    def p(self, null: float = 0.0) -> float:
        """Two-sided p-value of a true effect of `null`."""
        return float(p_value(np.array([self.value - null]), *self._parts)[0])

    def equivalence(self, margin: float) -> float:
        """p-value of the two one-sided tests that the effect lies within `margin` of 0.

        At most .05 exactly where the 90 % interval does (Schuirmann 1987).
        """
        if abs(self.value) >= margin:
            return 1.0
        return self.p(np.copysign(margin, self.value)) / 2

    def detectable(self, alpha: float = ALPHA, power: float = POWER) -> float:
        """The smallest true effect that this test finds with that power."""
        return detectable((self.studies, self.seeds), self.degrees, alpha, power)

    @property
    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array([[self.studies], [self.seeds]]), np.array(self.degrees)[:, None]


def effects(
    metric: Metric,
    rows: Mapping[str, np.ndarray],
    weights: Mapping[str, float],
    plan: Plan,
    log: bool = False,
) -> dict[str, Effect]:
    """The contrast in each of the metric's scores; rows (n, k) or (S, n, k), same reports.

    `weights` of each row: 1 and -1 for A - B, halves for a main effect of a 2 x 2 factorial.
    Runs of different rows are independent trainings. `log`: contrasts logarithms of scores, so
    that A - B is the logarithm of the ratio A / B.
    """
    if abs(sum(weights.values())) > 1e-9:
        raise BenchError(f"weights that do not sum to 0: {dict(weights)}")
    runs = [np.asarray(rows[name], dtype=float) for name in weights]
    stacked = [r[None] if r.ndim == 2 else r for r in runs]
    spread = Spread.of(metric, stacked, plan, weights=tuple(weights.values()), log=log)
    return {
        score: Effect(
            _rounded(spread.value[i]),
            _rounded(spread.parts[0, i]),
            _rounded(spread.parts[1, i]),
            (float(spread.df[0, i]), _rounded(spread.df[1, i])),
        )
        for i, score in enumerate(metric.scores)
    }


def main_effect(levels: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Weights of a factor's main effect from its pairs (row with the factor, row without)."""
    share = 1 / len(levels)
    return {a: share for a, _ in levels} | {b: -share for _, b in levels}


def _rounded(value: float) -> float:
    """12 digits: what lies beyond depends on the order in which the matrix product adds."""
    return float(f"{value:.12g}")
