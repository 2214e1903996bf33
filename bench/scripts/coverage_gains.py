"""How often the interval of an image gain is right, on made systems whose true gain is known.

A study shows x, standard normal; the report of a training of strength a says y = a x + noise. A
report y scores exp(-(x - y)^2) at a study that shows x, whose expectation is known: 1 / sqrt(1 + 2
v), with v the variance of x - y. The gain is that of own studies over other ones. A training's
strength varies with its seed; of one training, the gain is that training's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.runs.controls import DERANGEMENTS, averaged, orders
from bench.scripts.coverage_worlds import SEED, MeanMetric
from bench.stats import Plan
from bench.stats.infer import differences

ALPHA = 0.05
NOISE = 0.5  # standard deviation of what a report says beside its study
SEEDS = 0.1  # of a training's strength
STUDIES = 300


@dataclass(frozen=True)
class Gain:
    """Shares of repeats, as `bench.scripts.coverage.Figures`."""

    strength: float
    runs: int
    derangements: int
    difference: float
    half_width: float
    covers_difference: float
    rejected: float


def gains(repeats: int, resamples: int) -> Iterator[Gain]:
    """With images that help, with images that do not, by one derangement and by all."""
    for strength in (0.0, 0.7):
        for runs in (1, 5):
            for count in (1, DERANGEMENTS):
                yield _experiment(strength, runs, count, repeats, resamples)


def _spread(strength: float, runs: int) -> float:
    """Of the strengths of trainings: a single one is what it is, and none is none."""
    return SEEDS if strength > 0 and runs > 1 else 0.0


def truth(strength: float, runs: int) -> float:
    """The expected gain, over seeds where there are several."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    a = strength + _spread(strength, runs) * nodes
    own = 1 / np.sqrt(1 + 2 * ((1 - a) ** 2 + NOISE**2))
    other = 1 / np.sqrt(1 + 2 * (1 + a**2 + NOISE**2))
    return float((own - other) @ weights / weights.sum())


def draw(
    rng: np.random.Generator, strength: float, runs: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Statistics (runs, n, 1) of own studies, and of other ones as a run's folder has them."""
    x = rng.standard_normal(STUDIES)
    a = strength + _spread(strength, runs) * rng.standard_normal((runs, 1))
    y = a * x + NOISE * rng.standard_normal((runs, STUDIES))
    own = np.exp(-((x - y) ** 2))
    others = []
    for said in y:
        drawn = orders(STUDIES, int(rng.integers(2**31)), count)
        each = np.exp(-((x - said[drawn]) ** 2))[..., None]
        # Runs from before there were several hold the one derangement as it is.
        others.append(each[0] if count == 1 else averaged(each, drawn))
    return own[..., None], np.stack(others)


def _experiment(strength: float, runs: int, count: int, repeats: int, resamples: int) -> Gain:
    rng = np.random.default_rng([SEED, runs, count, round(100 * strength)])
    plan, real = Plan(tuple(map(str, range(STUDIES))), (), resamples), truth(strength, runs)
    outcomes = []
    for _ in range(repeats):
        own, others = draw(rng, strength, runs, count)
        found = differences(MeanMetric(), own, others, plan, paired=True)["mean"]
        half = (found.high - found.low) / 2
        outcomes.append((half, found.low <= real <= found.high, found.p <= ALPHA))
    figures = (round(float(v), 4) for v in np.mean(outcomes, axis=0))
    return Gain(strength, runs, count, round(real, 4), *figures)
