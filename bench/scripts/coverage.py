"""How often the intervals and tests are right, on made systems whose true scores are known.

    python -m bench.scripts.coverage > tests/golden/stats_check.json

A few minutes on one core. `bench.scripts.coverage_worlds` says what is made.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.metrics.base import Metric
from bench.scripts.coverage_gains import gains
from bench.scripts.coverage_worlds import WORLDS, Case, Made, draw, plan
from bench.stats import LEVEL, VERSION, Plan
from bench.stats.effect import effects, main_effect
from bench.stats.infer import Interval, differences, intervals

ALPHA = 0.05
REPEATS = 500
RESAMPLES = 499
BATCH = 50  # repeats that are computed together; part of what is drawn
# An interval method and the test that is checked beside it, of single runs; of several runs both
# are the t-test's, whatever is asked for.
WAYS = (("percentile", "randomization"), ("bca", "bootstrap"))
SEVERAL = (("t", "t"),)


@dataclass(frozen=True)
class Figures:
    """Shares of repeats. `rejected`: the test at `ALPHA` says that the systems differ."""

    score: str
    truth: float  # of system A
    difference: float  # true, A minus B
    interval: str
    test: str
    covers: float  # the interval of A's score holds its truth
    half_width: float  # of A's interval, on average
    covers_difference: float
    rejected: float


class Repeats(Metric):
    """A metric on many repeats at once: their statistics and their scores lie side by side."""

    name, version = "repeats", 1

    def __init__(self, metric: Metric, repeats: int) -> None:
        self.metric, self.repeats = metric, repeats
        self.nonnegative = metric.nonnegative  # type: ignore[misc]
        self.scores = tuple(f"{i} {s}" for i in range(repeats) for s in metric.scores)

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        raise NotImplementedError

    def aggregate(self, sums: np.ndarray, n: np.ndarray | int) -> np.ndarray:
        each = sums.reshape(*sums.shape[:-1], self.repeats, -1)
        scores = self.metric.aggregate(each, np.asarray(n)[..., None])
        return scores.reshape(*sums.shape[:-1], -1)

    def implementation(self) -> str:
        return self.metric.implementation()


def experiment(
    case: Case, repeats: int, resamples: int, ways: Sequence[tuple[str, str]] | None = None
) -> list[Figures]:
    """Draw the case `repeats` times; one row per score and way."""
    ways = ways or (SEVERAL if case.rows * max(case.runs) > 1 else WAYS)
    world = WORLDS[case.world]
    truths = [list(world.truth(made).values()) for made in (case.a, case.b or case.a)]
    batches = range(repeats // BATCH)
    rows = []
    for way in ways:
        outcomes = np.mean([_outcomes(case, i, resamples, way, truths) for i in batches], axis=0)
        rows += [
            _figures(score, truths[0][j], truths[1][j], way, outcomes[:, j])
            for j, score in enumerate(world.metric.scores)
            if score in world.scores
        ]
    return rows


def _outcomes(
    case: Case, batch: int, resamples: int, way: tuple[str, str], truths: Sequence[Sequence[float]]
) -> np.ndarray:
    """(4, m) averages over a batch: covers, half-width, covers the difference, rejected."""
    world, (method, test) = WORLDS[case.world], way
    a, b = (_side_by_side(x) for x in draw(case, BATCH, batch))
    metric, studies = Repeats(world.metric, BATCH), plan(case, resamples)
    if case.rows > 1:
        return _main_effect(case, a, b, metric, studies, np.subtract(truths[0], truths[1]))
    if way in SEVERAL:  # whichever of single runs' methods is named
        method, test = WAYS[0]
    own = intervals(metric, a, studies, method=method)
    pair = differences(metric, a, b, studies, method=method, test=test, paired=case.paired)
    truth = np.tile(truths[0], BATCH)
    outcomes: list[Sequence[float]] = [
        _covers(list(own.values()), truth),
        [(x.high - x.low) / 2 for x in own.values()],
        _covers(list(pair.values()), truth - np.tile(truths[1], BATCH)),
        [x.p <= ALPHA for x in pair.values()],
    ]
    return np.reshape(outcomes, (4, BATCH, -1)).mean(axis=1)


def _main_effect(
    case: Case, a: np.ndarray, b: np.ndarray, metric: Metric, studies: Plan, truth: np.ndarray
) -> np.ndarray:
    """The same of a factor's main effect: its rows with the factor against those without.

    No single row has an interval here: its coverage is that of the difference, its half-width too.
    """
    rows = {f"{side}{i}": part for side, runs in (("a", a), ("b", b))
            for i, part in enumerate(np.split(runs, case.rows))}  # fmt: skip
    weights = main_effect([(f"a{i}", f"b{i}") for i in range(case.rows)])
    found = effects(metric, rows, weights, studies).values()
    ends = [effect.interval(LEVEL) for effect in found]
    covers = [low <= t <= high for (low, high), t in zip(ends, np.tile(truth, BATCH), strict=True)]
    half = [(high - low) / 2 for low, high in ends]
    rejected = [effect.p() <= ALPHA for effect in found]
    return np.reshape([covers, half, covers, rejected], (4, BATCH, -1)).mean(axis=1)


def _side_by_side(statistics: np.ndarray) -> np.ndarray:
    """(repeats, runs, n, k) -> (runs, n, repeats * k)"""
    repeats, runs, n, k = statistics.shape
    return statistics.transpose(1, 2, 0, 3).reshape(runs, n, repeats * k)


def _covers(found: Sequence[Interval], truth: np.ndarray) -> list[bool]:
    return [x.low <= t <= x.high for x, t in zip(found, truth, strict=True)]


def _figures(score: str, a: float, b: float, way: tuple[str, str], outcome: np.ndarray) -> Figures:
    covers, half, covers_difference, rejected = (round(float(x), 4) for x in outcome)
    truth, difference = round(float(a), 4), round(float(a - b), 4)
    return Figures(score, truth, difference, *way, covers, half, covers_difference, rejected)


def _cases() -> list[Case]:
    weaker, steady, seeded = Made(0.76), Made(0.7), Made(0.7, seeds=0.05)
    single = [Case(world, n, b=b) for world in WORLDS for n in (100, 590) for b in (None, weaker)]
    # Equal scores, unequal reports: outputs are not exchangeable, only the scores are equal.
    erratic = [Case(world, 590, b=Made(luck=1.0)) for world in ("mean", "BLEU")]
    patients = [Case(world, 590, repeated=True) for world in ("mean", "BLEU")]
    seeds = [
        Case(world, 300, runs, a=a, b=b)
        for world in ("mean", "BLEU")
        for runs, a, b in [
            ((2, 2), seeded, None),
            ((3, 3), seeded, None),
            ((5, 5), seeded, None),
            ((3, 3), steady, None),  # seeds do not matter: what does allowing for them cost?
            ((3, 3), seeded, Made(0.63, seeds=0.05)),
            ((3, 1), seeded, steady),  # against a floor, which has no seed
        ]
    ]
    # A control that falls as its training rises, and has its score all the same.
    opposite = Made(0.7, seeds=-0.05)
    controls = [
        Case(world, 300, (3, 3), a=seeded, b=opposite, paired=True) for world in ("mean", "BLEU")
    ]
    return [*single, *erratic, *patients, *seeds, *controls, *_hard_cases()]


def _hard_cases() -> list[Case]:
    """Where intervals over few seeds might fail, and what one training a side cannot know."""
    steady, spread = Made(0.65, seeds=0.005), Made(0.65, seeds=0.08)
    skewed, escaping = (Made(0.65, seeds=0.08, shape=shape) for shape in ("skewed", "escaping"))
    return [
        Case(world, 300, runs, a=a, b=b, rows=rows)
        for world in ("mean", "BLEU")
        for runs, a, b, rows in [
            ((5, 5), spread, steady, 1),  # unequal spread
            ((5, 5), skewed, None, 1),
            ((5, 5), skewed, steady, 1),
            ((5, 5), escaping, None, 1),
            ((5, 5), escaping, steady, 1),
            ((10, 10), escaping, steady, 1),
            ((1, 1), spread, None, 1),  # as if it were a statement about methods
            ((5, 1), spread, None, 1),
            ((5, 5), spread, None, 2),  # main effects of a 2 x 2 factorial
            ((5, 5), spread, Made(0.6, seeds=0.08), 2),
        ]
    ]


CASES = _cases()


def spot() -> list[dict[str, Any]]:
    """A few seconds' worth of the experiment, to show that the record is this code's."""
    return [asdict(f) for f in experiment(CASES[0], 100, 200)]


def main() -> None:
    record: dict[str, Any] = {
        "command": "python -m bench.scripts.coverage > tests/golden/stats_check.json",
        "version": VERSION,
        "alpha": ALPHA,
        "repeats": REPEATS,
        "resamples": RESAMPLES,
        "spot": spot(),
        "cases": [],
    }
    for i, case in enumerate(CASES):
        print(f"{i + 1} of {len(CASES)}: {case}", file=sys.stderr, flush=True)
        figures = [asdict(f) for f in experiment(case, REPEATS, RESAMPLES)]
        record["cases"].append({"case": asdict(case), "figures": figures})
    record["gains"] = [asdict(g) for g in gains(REPEATS, RESAMPLES)]
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
