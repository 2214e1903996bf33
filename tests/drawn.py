"""Small samples for the tests of statistics."""

from __future__ import annotations

import numpy as np

from bench.scripts.coverage_worlds import Case, MeanMetric, draw, plan
from bench.stats import Plan

MEAN = MeanMetric()


def ids(n: int) -> tuple[str, ...]:
    return tuple(f"study-{i}" for i in range(n))


def values(n: int, seed: int = 0, runs: int = 1) -> np.ndarray:
    """Per-report values (runs, n, 1)."""
    return np.random.default_rng(seed).gamma(2.0, 1.0, (runs, n, 1))


def drawn(case: Case, resamples: int) -> tuple[Plan, np.ndarray, np.ndarray]:
    """One drawing of a case: its plan and both systems' statistics (runs, n, k)."""
    a, b = draw(case, 1)
    return plan(case, resamples), a[0], b[0]
