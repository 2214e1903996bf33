"""How often the intervals and tests are right, on made systems whose true scores are known.

    python -m bench.stats.check > tests/golden/stats_check.json

About a quarter of an hour on one core. Why each row is there is said beside `CASES`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from bench.stats import VERSION
from bench.stats.infer import Interval, differences, intervals
from bench.stats.made import WORLDS, Case, Made, World, draw

ALPHA = 0.05
REPEATS = 500
RESAMPLES = 1000
# An interval method and the test that is checked beside it.
WAYS = (("percentile", "randomization"), ("bca", "bootstrap"))


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


def experiment(
    case: Case, repeats: int, resamples: int, ways: Sequence[tuple[str, str]] = WAYS
) -> list[Figures]:
    """Draw the case `repeats` times; one row per score and way."""
    world = WORLDS[case.world]
    truths = world.truth(case.a), world.truth(case.b or case.a)
    outcomes = np.mean(
        [_outcomes(world, case, i, resamples, ways, truths) for i in range(repeats)], 0
    )
    rows = zip(product(ways, world.scores), outcomes, strict=True)
    return [_figures(way, score, truths, outcome) for (way, score), outcome in rows]


def _outcomes(
    world: World,
    case: Case,
    repeat: int,
    resamples: int,
    ways: Sequence[tuple[str, str]],
    truths: tuple[dict[str, float], dict[str, float]],
) -> list[tuple[float, ...]]:
    """Per way and score: (covers, half-width, covers the difference, rejected)."""
    plan, a, b = draw(world, case, repeat, resamples)
    outcomes: list[tuple[float, ...]] = []
    for method, test in ways:
        own = intervals(world.metric, a, plan, method=method)
        pair = differences(world.metric, a, b, plan, method=method, test=test)
        for s in world.scores:
            half = (own[s].high - own[s].low) / 2
            right = _covers(own[s], truths[0][s]), _covers(pair[s], truths[0][s] - truths[1][s])
            outcomes.append((right[0], half, right[1], pair[s].p <= ALPHA))
    return outcomes


def _covers(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


def _figures(
    way: tuple[str, str],
    score: str,
    truths: tuple[dict[str, float], dict[str, float]],
    outcome: np.ndarray,
) -> Figures:
    value, other = (truth[score] for truth in truths)
    covers, half, covers_difference, rejected = (round(float(x), 4) for x in outcome)
    difference = round(float(value - other), 4)
    return Figures(
        score, round(value, 4), difference, *way, covers, half, covers_difference, rejected
    )


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
    return [*single, *erratic, *patients, *seeds]


CASES = _cases()


def spot() -> list[dict[str, Any]]:
    """A few seconds' worth of the experiment, to show that the record is this code's."""
    return [asdict(f) for f in experiment(CASES[0], 40, 200)]


def main() -> None:
    record: dict[str, Any] = {
        "command": "python -m bench.stats.check > tests/golden/stats_check.json",
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
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
