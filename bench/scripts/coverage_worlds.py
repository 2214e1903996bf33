"""Made systems whose true scores are known, for `bench.scripts.coverage`.

A study has a difficulty that all systems share; a training has a strength of its own (its
seed); a report adds luck. Their product is the report's quality. What each metric expects of a
quality is known in closed form, so every interval can be held against the truth.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.metrics.base import Metric
from bench.metrics.bleu import BLEU
from bench.stats.resampling import Plan

# Beta parameters of difficulty: many studies are nearly verbatim right or nearly all wrong.
DIFFICULTY = (0.5, 1.0)
PER_PATIENT = 2  # studies, on average, where patients repeat
SEED = 1


def _skewed(z: np.ndarray) -> np.ndarray:
    """Exponential, to the left: a few trainings are much worse than the rest (skewness -2)."""
    from scipy.special import log_ndtr

    return np.asarray(1 + log_ndtr(z))


def _escaping(z: np.ndarray) -> np.ndarray:
    """One training in five stays on a plateau, the others are alike."""
    from scipy.special import ndtr

    odds = (1 - STAYS) / STAYS
    return np.where(ndtr(z) < STAYS, -(odds**0.5), odds**-0.5)


STAYS = 0.2
# Of standard normal draws, draws of mean 0 and variance 1.
SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "normal": np.asarray,
    "skewed": _skewed,
    "escaping": _escaping,
}


def _nodes(shape: str) -> tuple[np.ndarray, np.ndarray]:
    """Normal draws and their weights, to average over seeds with."""
    from scipy.special import ndtri

    if shape == "normal":
        return np.polynomial.hermite_e.hermegauss(20)
    middles = (np.arange(20_000) + 0.5) / 20_000
    return ndtri(middles), np.ones(20_000)


@dataclass(frozen=True)
class Made:
    """A made system: its strength, the spread of its seeds, the spread of its reports."""

    strength: float = 0.8
    # Standard deviation of a training's strength, relative; below 0, what helps others harms it.
    seeds: float = 0.0
    luck: float = 10.0  # concentration of a report's luck (Beta, mean 0.8)
    shape: str = "normal"  # of the spread of its seeds: a key of `SHAPES`

    @property
    def quality(self) -> float:
        """Expected quality of a report over studies, seeds and luck."""
        a, b = DIFFICULTY
        return self.strength * 0.8 * a / (a + b)

    def qualities(
        self, rng: np.random.Generator, difficulty: np.ndarray, seeds: np.ndarray
    ) -> np.ndarray:
        """(repeats, 1, n) difficulties, (repeats, runs, 1) standard normal seeds ->
        (repeats, runs, n) qualities in [0, 1].

        The truth supposes that nothing is clipped: keep strength times a lucky seed below 1.
        """
        (repeats, runs, _), n = seeds.shape, difficulty.shape[-1]
        luck = rng.beta(0.8 * self.luck, 0.2 * self.luck, (repeats, runs, n))
        strength = self.strength * (1 + self.seeds * SHAPES[self.shape](seeds))
        return np.clip(strength * difficulty * luck, 0.0, 1.0)


class World:
    """A metric, the studies that it reads, and its true score at a given expected quality."""

    metric: Metric
    scores: tuple[str, ...]

    @abstractmethod
    def studies(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """What one system and another have in common, (repeats, 1, n, ...) for that `shape`."""

    @abstractmethod
    def statistics(
        self, rng: np.random.Generator, studies: np.ndarray, quality: np.ndarray
    ) -> np.ndarray:
        """(repeats, runs, n) qualities -> (repeats, runs, n, k)."""

    @abstractmethod
    def expected(self, quality: float) -> np.ndarray:
        """(k,) expected statistics of one report."""

    def truth(self, system: Made) -> dict[str, float]:
        """Each score on endless studies, averaged over seeds."""
        nodes, weights = _nodes(system.shape)
        at = system.quality * np.maximum(1 + system.seeds * SHAPES[system.shape](nodes), 0)
        scores = np.array([self.metric.aggregate(self.expected(q), 1) for q in at])
        return dict(zip(self.metric.scores, weights @ scores / weights.sum(), strict=True))


class MeanMetric(Metric):
    name = "mean"
    version = 1
    scores: tuple[str, ...] = ("mean",)

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        raise NotImplementedError

    def implementation(self) -> str:
        return "made"


class MeanWorld(World):
    """A mean of per-report values, as ROUGE-L and CIDEr are."""

    metric, scores = MeanMetric(), ("mean",)

    def studies(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.zeros(shape)

    def statistics(
        self, rng: np.random.Generator, studies: np.ndarray, quality: np.ndarray
    ) -> np.ndarray:
        return quality[..., None]

    def expected(self, quality: float) -> np.ndarray:
        return np.array([quality])


class BleuWorld(World):
    """n-gram matches and lengths; hypotheses are 90 % as long as references, as beam search's."""

    metric, scores = BLEU(), ("BLEU-4",)
    rates = np.array([1.0, 0.85, 0.75, 0.65])  # share of n-grams that match at quality 1
    shortest, mean = 5, 30.0

    def studies(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return self.shortest + rng.poisson(rng.gamma(6, (self.mean - self.shortest) / 6, shape))

    def statistics(
        self, rng: np.random.Generator, studies: np.ndarray, quality: np.ndarray
    ) -> np.ndarray:
        length = self.shortest + rng.binomial(2 * (studies - self.shortest), 0.45, quality.shape)
        totals = length[..., None] - np.arange(4)
        matches = rng.binomial(totals, self.rates * quality[..., None])
        lengths = np.stack([length, np.broadcast_to(studies, length.shape)], axis=-1)
        return np.concatenate([matches, totals, lengths], axis=-1).astype(float)

    def expected(self, quality: float) -> np.ndarray:
        length = self.shortest + 0.9 * (self.mean - self.shortest)
        totals = length - np.arange(4)
        return np.concatenate([quality * self.rates * totals, totals, [length, self.mean]])


class F1Metric(MeanMetric):
    name = "F1"
    scores = ("micro-F1", "macro-F1")

    def aggregate(self, sums: np.ndarray, n: np.ndarray | int) -> np.ndarray:
        hits, said, there = np.split(sums, 3, axis=-1)
        total = said + there
        each = np.divide(2 * hits, total, where=total > 0, out=np.zeros_like(total))
        return np.stack([2 * hits.sum(-1) / total.sum(-1), each.mean(-1)], axis=-1)


class F1World(World):
    """Fourteen labels from frequent to rare, as CheXbert's."""

    metric, scores = F1Metric(), ("micro-F1", "macro-F1")
    prevalence = np.geomspace(0.4, 0.02, 14)

    def studies(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.random((*shape, 14)) < self.prevalence

    def statistics(
        self, rng: np.random.Generator, studies: np.ndarray, quality: np.ndarray
    ) -> np.ndarray:
        chance = np.where(studies, quality[..., None], 0.3 * self.prevalence)
        said = rng.random(chance.shape) < chance
        there = np.broadcast_to(studies, said.shape)
        return np.concatenate([said & there, said, there], axis=-1).astype(float)

    def expected(self, quality: float) -> np.ndarray:
        p = self.prevalence
        return np.concatenate([p * quality, p * quality + (1 - p) * 0.3 * p, p])


WORLDS: dict[str, World] = {"mean": MeanWorld(), "BLEU": BleuWorld(), "F1": F1World()}


@dataclass(frozen=True)
class Case:
    """Two systems on the same n studies; `b` None: the second is the first's twin."""

    world: str
    n: int
    runs: tuple[int, int] = (1, 1)
    repeated: bool = False  # patients have several studies, of the same difficulty
    a: Made = Made()
    b: Made | None = None
    paired: bool = False  # run s of both is one training, with one seed: B is a control of A
    rows: int = 1  # of each side, each with that many runs: 2 for a main effect of a factorial


def plan(case: Case, resamples: int) -> Plan:
    """The same in every repeat, and so are the resamples; studies and reports are not."""
    patients = np.arange(case.n)
    if case.repeated:
        patients = np.random.default_rng(SEED).integers(0, case.n // PER_PATIENT, case.n)
    return Plan(tuple(map(str, range(case.n))), tuple(map(str, patients)), resamples)


def draw(case: Case, repeats: int, batch: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Statistics (repeats, runs, n, k) of both systems, for one batch of repeats."""
    world, n = WORLDS[case.world], case.n
    rng = np.random.default_rng([SEED, batch])
    patients = np.array(plan(case, 1).patients, int)
    difficulty = rng.beta(*DIFFICULTY, (repeats, 1, n))[..., patients]
    studies = world.studies(rng, (repeats, 1, n))
    seeds = rng.standard_normal((repeats, case.runs[0] * case.rows, 1))
    a = world.statistics(rng, studies, case.a.qualities(rng, difficulty, seeds))
    if not case.paired:
        seeds = rng.standard_normal((repeats, case.runs[1] * case.rows, 1))
    b = world.statistics(rng, studies, (case.b or case.a).qualities(rng, difficulty, seeds))
    return a, b
