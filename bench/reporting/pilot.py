"""What finished runs say of a design: how seeds and studies scatter, what a training costs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import sqrt
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from bench.config import names
from bench.data.text import TREATMENTS
from bench.errors import BenchError, unknown
from bench.metrics import registry
from bench.metrics.references import RAW
from bench.reporting import claims
from bench.reporting.costs import costs
from bench.runs.features import FEATURES
from bench.runs.workspace import RUN
from bench.stats.compare import System
from bench.stats.power import evenness
from bench.stats.resampling import Plan
from bench.stats.spread import Spread
from bench.store import RunFolder, load_spec, made_in, read_json

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

# The first treatment that a score has: most read a text, some the report as it is, some none.
TEXTS = (*TREATMENTS, RAW, FEATURES)
RESAMPLES = 2000  # a standard error to within 2 %: a design needs no more


@dataclass(frozen=True)
class Pair:
    """Two rows of the pilot, A - B in one score.

    `seed_sds`: standard deviation of either row's score over its trainings on one set of studies.
    `study_sd`: of the difference over studies, for one study.
    """

    a: str
    b: str
    difference: float
    seed_sds: tuple[float, float]
    study_sd: float


@dataclass(frozen=True)
class Pilot:
    """Spreads are root mean squares: of `seed_sd` over rows, of `study_sd` over pairs."""

    name: str
    dataset: str
    metric: str
    rows: tuple[str, ...]
    pairs: tuple[Pair, ...]
    largest: float  # the largest difference that the score can have
    seed_sd: float
    study_sd: float
    evenness: float  # of a pair's spreads over trainings, on average
    seeds: int  # trainings of each row (in each fold)
    studies: int  # test studies (of each fold)
    folds: int
    overlap: float  # test over training studies of a fold; 0 for one division
    families: dict[str, int]  # how p-values are corrected -> over how many tests
    training_seconds: float  # one training of every row
    pretraining_seconds: float  # what these rest on: tokenizers follow the seed, and the fold
    machine: str


def measure(suite: Summary, metric: str) -> Pilot:
    """The pilot that a suite's scored runs are; BenchError where they show no seed spread."""
    systems = _systems(suite, metric)
    pairs = tuple(_pair(a, b, systems, metric) for a, b in _pairs(suite, systems))
    if not pairs:
        raise BenchError(
            f"{suite.name} has no two rows with several trainings scored in {metric}",
            f"bench run {suite.name} --seeds 2, or more: one training shows no spread",
        )
    used = [r for r in systems if any(r in (p.a, p.b) for p in pairs)]
    first = systems[used[0]]
    once = [group[0] for group in suite.of_one_training(used)]
    return Pilot(
        suite.name,
        suite.dataset,
        metric,
        tuple(used),
        pairs,
        _largest(metric),
        _rms(_seed_sd(systems[row], metric) for row in used),
        _rms(p.study_sd for p in pairs),
        fmean(evenness(p.seed_sds) for p in pairs),
        min(s.count for row in used for s in systems[row]),
        round(fmean(len(s.ids) for s in first)),
        len(first),
        suite.overlap,
        _families(suite),
        sum(c.training.device_seconds for c in costs(suite) if c.row in once),
        _pretraining(suite, used),
        _machine(suite, used[0]),
    )


def _systems(suite: Summary, metric: str) -> dict[str, list[System]]:
    """The trained rows of several trainings, one system a fold."""
    family = registry.family(metric)
    if metric not in registry.load(family).scores:
        raise unknown("score", metric, registry.load(family).scores)
    found = {
        row: suite.contrasts.folds(suite.keys[row], row, family, text)
        for row in suite.trained
        for text in [t for t in TEXTS if suite.has(metric, t, [row])][:1]
    }
    return {row: folds for row, folds in found.items() if all(s.count > 1 for s in folds)}


def _pairs(suite: Summary, rows: Iterable[str]) -> list[tuple[str, str]]:
    """What the suite is for: rows of a table against its first, and pairs that claims name."""
    tables = [
        (row, table.rows[0]) for table in suite.suite.tables.values() for row in table.rows[1:]
    ]
    named = [p for ledger in names("claims") for c in claims.claims(ledger) for p in c.pairs]
    known = set(rows)
    return [p for p in dict.fromkeys([*tables, *named]) if known.issuperset(p)]


def _pair(a: str, b: str, systems: dict[str, list[System]], metric: str) -> Pair:
    scorer = registry.load(registry.family(metric))
    column = scorer.scores.index(metric)
    spreads = [
        Spread.of(scorer, [x.runs, y.runs], Plan(x.ids, x.patients, RESAMPLES))
        for x, y in zip(systems[a], systems[b], strict=True)
    ]
    over_studies = [
        sqrt(s.studies[column] * len(x.ids)) for s, x in zip(spreads, systems[a], strict=True)
    ]
    return Pair(
        a,
        b,
        fmean(float(s.value[column]) for s in spreads),
        (_seed_sd(systems[a], metric), _seed_sd(systems[b], metric)),
        _rms(over_studies),
    )


def _seed_sd(folds: list[System], metric: str) -> float:
    """Over trainings on the same studies; a training's luck with them is part of it."""
    scorer = registry.load(registry.family(metric))
    scores = [[scorer.corpus(run)[metric] for run in s.runs] for s in folds]
    return _rms(float(np.std(values, ddof=1)) for values in scores)


def _largest(metric: str) -> float:
    scorer = registry.load(registry.family(metric))
    low, high = (np.broadcast_to(end, len(scorer.scores)) for end in scorer.bounds)
    return float((high - low)[scorer.scores.index(metric)])


def _families(suite: Summary) -> dict[str, int]:
    """Families that p-values are corrected over: the contrasts of a ledger, and of each table."""
    found = {}
    for ledger in names("claims"):
        count = sum(c.family and claims.has_run(suite, c) for c in claims.claims(ledger))
        found[f"Holm over {count} contrasts (ledger {ledger})"] = count
    for name, table in suite.suite.tables.items():
        count = 2 * len(table.rows) - 1  # against the first row, and against the best floor
        found[f"Holm over {count} contrasts ({name})"] = count
    return found


def _pretraining(suite: Summary, rows: Collection[str]) -> float:
    """Device-seconds of what the harness pretrained for these rows, to one training of each."""
    runs: set[str] = set()
    for run_id in (run for row in rows for run in suite.keys[row]):
        spec = load_spec(RunFolder(suite.contrasts.out, run_id))
        parts = [spec.model, *([spec.tokenizer] if spec.tokenizer else [])]
        weights = [w for part in parts for w in part.weights.values() if w.startswith(RUN)]
        runs.update(w.removeprefix(RUN).partition("@")[0] for w in weights)
    timings = [RunFolder(suite.contrasts.out, run_id) / "timing.json" for run_id in runs]
    spent = sum(float(read_json(t)["device_seconds"]) for t in timings if t.exists())
    return spent / min(len(suite.keys[row]) for row in rows)


def _machine(suite: Summary, row: str) -> str:
    """Where the pilot ran: `Intel Xeon, 2 cores, device cpu`."""
    env = made_in(RunFolder(suite.contrasts.out, suite.keys[row][0]))
    return f"{env['cpu']}, {env['cores']} cores, device {env['device']}"


def _rms(values: Iterable[float]) -> float:
    return sqrt(fmean(v**2 for v in values))
