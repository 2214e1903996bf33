"""Intervals and paired tests on per-report statistics (`bench.metrics.base`).

A system is an array of runs (S, n, k): S trainings of one spec, scored on the same n reports.
Its score is the mean over its runs. Reports are drawn by patient where patients repeat, and the
draws depend only on ids and patients, so every system of a table meets the same resamples and
a table regenerates byte for byte. `bench.scripts.coverage` measures how often all this is right.

Interval. Percentiles of the bootstrap over studies, their distances from the value stretched by
sqrt(V / V_boot) t / z. With one run, V / V_boot = G / (G - 1) and t has G - 1 degrees of freedom
for G resampled units: Hesterberg's expanded percentile interval (arXiv:1411.5279, section 5).
With several runs V also holds the spread over seeds, less what the two have in common (each run's
luck with the studies), and t is Cochran and Cox's mean of the two parts' t values (Welch's degrees
of freedom for seeds), so that three seeds are trusted no more than three seeds deserve. Resampling
the few runs themselves would not do: S runs resampled have (S - 1) / S of their variance and no
tails. Runs of two systems are independent, but for a training and its own control: those are
paired, and the run's score is their difference.
"""

from __future__ import annotations

from bench.stats.infer import (
    LEVEL,
    TESTS,
    VERSION,
    Difference,
    Interval,
    differences,
    holm,
    intervals,
    signature,
)
from bench.stats.resampling import RESAMPLES, Plan
from bench.stats.spread import METHODS

__all__ = [
    "LEVEL",
    "METHODS",
    "RESAMPLES",
    "TESTS",
    "VERSION",
    "Difference",
    "Interval",
    "Plan",
    "differences",
    "holm",
    "intervals",
    "signature",
]
