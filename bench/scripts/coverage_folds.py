"""How often the interval over folds holds the true difference, on made folds.

    python -m bench.scripts.coverage_folds > tests/golden/folds_check.json

Seconds. Of each fold's difference, `studies`, `seeds` and `training` are the standard deviations
that its test studies, each of its trainings and its training set make; `shared` is what the
overlapping training sets do to all folds alike, which no fold can show.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np

from bench.stats.blocks import combine

FOLDS = 5
STUDIES = 591  # of a fold
OVERLAP = 591 / 2068  # test over training studies, as in iu_xray_folds
ALPHA = 0.05
REPEATS = 20_000


@dataclass(frozen=True)
class World:
    """Where the spread of the folds' differences comes from; `runs`: trainings of a row a fold."""

    name: str
    runs: int
    studies: float = 1.0
    seeds: float = 0.0
    training: float = 0.0
    shared: float = 0.0


@dataclass(frozen=True)
class Figures:
    """Shares of repeats in which an interval holds the truth, and its mean half-width.

    Of the interval of `bench.stats.blocks`, of the t-test over folds alone, and of Nadeau and
    Bengio's. A test errs in as many repeats as its interval misses: both are one.
    """

    covers: float
    half_width: float
    covers_by_overlap: float
    half_width_by_overlap: float


WORLDS = tuple(
    World(f"{name}, {runs} a fold", runs, **spread)
    for runs in (1, 2, 5)
    for name, spread in {
        "studies alone": {},
        "studies and seeds": {"seeds": 1.0},
        "seeds above all": {"studies": 0.2, "seeds": 1.0},
        "training sets": {"seeds": 0.5, "training": 1.0},
        "training sets that overlap": {"seeds": 0.5, "training": 0.5, "shared": 0.4},
    }.items()
)


def experiment(world: World, repeats: int = REPEATS, seed: int = 0) -> Figures:
    """Repeats in which the true difference is 0."""
    values, parts, df = _draw(world, repeats, np.random.default_rng(seed))
    found = combine(values, parts, df, OVERLAP)
    by_overlap = (found.overlap_low <= 0) & (found.overlap_high >= 0)
    return Figures(
        _share((found.low <= 0) & (found.high >= 0)),
        round(float((found.high - found.low).mean() / 2), 3),
        _share(by_overlap),
        round(float((found.overlap_high - found.overlap_low).mean() / 2), 3),
    )


def _draw(
    world: World, repeats: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Folds' differences (F, m), the variances that each fold shows of itself (F, 2, m), and
    their degrees of freedom: those over studies and, of several trainings, over seeds."""
    shape = FOLDS, repeats
    own = np.sqrt(world.studies**2 + world.training**2 + world.seeds**2 / world.runs)
    values = rng.normal(0, own, shape) + rng.normal(0, world.shared, (1, repeats))
    df = np.empty((FOLDS, 2, repeats))
    df[:, 0], df[:, 1] = STUDIES - 1, max(2 * (world.runs - 1), 1)
    seen = [world.studies**2, world.seeds**2 / world.runs * (world.runs > 1)]
    parts = rng.chisquare(df) / df * np.array(seen)[None, :, None]
    return values, parts, df


def _share(marks: np.ndarray) -> float:
    return round(float(marks.mean()), 3)


def main() -> None:
    record = {
        "command": "python -m bench.scripts.coverage_folds > tests/golden/folds_check.json",
        "folds": FOLDS,
        "repeats": REPEATS,
        "worlds": [{**asdict(w), **asdict(experiment(w))} for w in WORLDS],
    }
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
