"""What difference a design can detect: the smallest true difference that its test finds.

Pure arithmetic on variances: no run is read here. `bench.reporting` takes the variances of
finished runs, `bench power` those of pilot runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from bench.errors import BenchError

ALPHA = 0.05
POWER = 0.8


@dataclass(frozen=True)
class Design:
    """How a contrast is measured.

    `seeds` trainings of each row (in each fold), scored on `studies` test studies (of each fold).
    `rows`: how many rows the contrast averages, with equal weights on both sides: 2 for A - B,
    4 for a main effect of a 2 x 2 factorial. `family`: tests that Holm's correction is over.
    """

    seeds: int
    studies: int
    folds: int = 1
    family: int = 1
    rows: int = 2
    alpha: float = ALPHA
    power: float = POWER

    def __post_init__(self) -> None:
        for name in ("seeds", "studies", "folds", "family"):
            if getattr(self, name) < 1:
                raise BenchError(f"{name}={getattr(self, name)}", f"{name} is at least 1")
        if self.rows < 2 or self.rows % 2:
            raise BenchError(f"rows={self.rows}", "a contrast has as many rows on either side")
        for name in ("alpha", "power"):
            if not 0 < getattr(self, name) < 1:
                raise BenchError(f"{name}={getattr(self, name)}", f"{name} lies between 0 and 1")

    def variances(self, seed_sd: float, study_sd: float) -> tuple[float, float]:
        """Variance of the contrast over studies, and over seeds.

        Each row has weight 2 / rows, and the contrast's study part is that of the average report
        of either side, so that it does not fall with `rows`.
        """
        tested, trained = self.studies * self.folds, self.seeds * self.folds
        return study_sd**2 / tested, (2 / self.rows) ** 2 * self.rows * seed_sd**2 / trained

    def degrees(self) -> tuple[float, float]:
        """Degrees of freedom of either variance; folds are blocks, which differ in both."""
        if self.folds > 1:
            return self.folds - 1, self.folds - 1
        return self.studies - 1, self.rows * (self.seeds - 1)


def minimum_detectable_effect(
    design: Design,
    seed_sd: float,
    study_sd: float,
    overlap: float = 0.0,
    evenness: float = 1.0,
) -> float:
    """The smallest true difference that the design's two-sided test finds with its power.

    `seed_sd`: standard deviation of one row's score over its trainings (rows are taken to be
    alike). `study_sd`: standard deviation of the contrast over studies for one study, that is,
    the standard error over studies of pilot runs times the root of their number of studies.
    `overlap`: test over training studies of a fold; above 0, the variance over folds is Nadeau
    and Bengio's (2003) for folds whose training parts overlap: 1 / folds becomes
    1 / folds + overlap. `evenness` (see there): below 1 where rows differ in their spread over
    trainings, of which `seed_sd` is the root mean square. Holm's first and hardest step is the
    one that counts: alpha / family.

    Infinite where one training a row leaves no degree of freedom.
    """
    if min(seed_sd, study_sd, overlap) < 0:
        raise BenchError("a standard deviation or overlap below 0", "give what pilot runs show")
    studies, seeds = design.degrees()
    degrees = studies, seeds * (evenness if design.folds == 1 else 1.0)
    return _by_design(design, design.variances(seed_sd, study_sd), degrees, overlap)


def evenness(seed_sds: tuple[float, float]) -> float:
    """Welch's degrees of freedom of two rows as a share of those of rows of equal spread.

    1 for equal standard deviations, 1/2 where only one row varies. The test must estimate both,
    so a design's evenness is the average of what pilots show, not that of the true ones. Simulated
    power is then 75-80 % instead of 80 % from five trainings a row on, 63-77 % with three.
    """
    a, b = (sd**2 for sd in seed_sds)
    return (a + b) ** 2 / (2 * (a**2 + b**2)) if a + b > 0 else 1.0


def detectable_between(
    design: Design, seed_sds: tuple[float, float], study_sd: float, overlap: float = 0.0
) -> float:
    """`minimum_detectable_effect` of A - B, whose trainings differ by a standard deviation each.

    The seeds have Welch's degrees of freedom: the row that varies more decides.
    """
    both = sqrt(sum(sd**2 for sd in seed_sds) / 2)
    even = evenness(seed_sds)
    return minimum_detectable_effect(replace(design, rows=2), both, study_sd, overlap, even)


def _by_design(
    design: Design, variances: tuple[float, float], degrees: tuple[float, float], overlap: float
) -> float:
    tail = design.alpha / design.family
    if design.folds > 1:  # one t-test over the folds, which counts both (`bench.stats.blocks`)
        variances = (0.0, sum(variances) * (1 + overlap * design.folds))
    return detectable(variances, degrees, tail, design.power)


def seeds_for(
    difference: float,
    design: Design,
    seed_sd: float,
    study_sd: float,
    overlap: float = 0.0,
    evenness: float = 1.0,
    most: int = 1000,
) -> int | None:
    """The fewest trainings a row (in each fold) with which the design finds the difference.

    None where not even `most` do: the studies, or the folds, are too few. The inverse of
    `minimum_detectable_effect`, which falls with every training.
    """

    def found(seeds: int) -> bool:
        given = replace(design, seeds=seeds)
        smallest = minimum_detectable_effect(given, seed_sd, study_sd, overlap, evenness)
        return smallest <= difference

    if not found(most):
        return None
    low, high = 0, most  # not enough, enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


def detectable(
    variances: tuple[float, float],
    degrees: tuple[float, float],
    alpha: float = ALPHA,
    power: float = POWER,
) -> float:
    """The same from the contrast's two variances (over studies, over seeds) and their degrees
    of freedom: what the test of `bench.stats.infer` would find with this power.

    The test rejects beyond Cochran and Cox's critical value; its statistic is taken to follow a
    noncentral t with Satterthwaite's degrees of freedom.
    """
    from scipy.special import nctdtrinc

    total = sum(variances)
    if total == 0:
        return 0.0
    if any(v > 0 and d < 1 for v, d in zip(variances, degrees, strict=True)):
        return float("inf")
    parts = np.array(variances)[:, None]
    df = np.maximum(np.array(degrees, float), 1.0)[:, None]
    t = float(critical(parts, df, alpha / 2)[0])
    effective = total**2 / float((parts**2 / df).sum())
    return float(nctdtrinc(effective, 1 - power, t) * np.sqrt(total))


def critical(parts: np.ndarray, df: np.ndarray, tail: np.ndarray | float) -> np.ndarray:
    """(m,) Cochran and Cox's (1950) critical value: each part's t, weighted by its variance.

    `parts` and `df` (p, m): variances and their degrees of freedom; `tail`: chance in one tail.
    """
    from scipy.special import stdtrit

    total = parts.sum(axis=0)
    equal = np.eye(len(parts))[0][:, None]  # nothing varies: the first part's t
    shares = np.where(total == 0, equal, parts / np.where(total == 0, 1.0, total))
    return np.asarray(-(stdtrit(df, tail) * shares).sum(axis=0))
