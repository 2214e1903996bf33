"""Floors: reports written without learning, which every trained row stands beside.

A floor gets texts and pictures and returns one text per study to be reported on. The harness
gives the scoring of validation, so that the constant is chosen by the same BLEU-4 as a model's
checkpoint, and the reading of reports, so that "always No Finding" is what its metric means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

_BLOCK = 8192  # train pictures that are compared at once
_TIE = 1e-5  # correlations nearer than this are equal in single precision


class Material(Protocol):
    """What a floor may use: train and validation, and the pictures of the studies asked for."""

    @property
    def train(self) -> Sequence[str]:
        """Cleaned train reports, in manifest order."""

    @property
    def val(self) -> Sequence[str]:
        """Validation references as they are scored, in manifest order."""

    @property
    def count(self) -> int:
        """How many studies to report on."""

    @property
    def split(self) -> str:
        """The split that they are of."""

    def choose(
        self, candidates: Sequence[str], references: Sequence[str], metric: str = "BLEU-4"
    ) -> int:
        """The index of the candidate that scores best as a constant; by BLEU-4 or CIDEr."""

    def no_finding(self, reports: Sequence[str]) -> Sequence[bool]:
        """Which reports the floor's labeler reads as No Finding."""

    def pictures(self, split: str) -> np.ndarray:
        """(n, V, s, s) uint8, in manifest order."""


class _Floor:
    def __init__(self, weights: Any = None, seed: int = 0) -> None:
        self.seed = seed


class Constant(_Floor):
    """The train report with the highest validation BLEU-4 when given for every study."""

    def write(self, material: Material) -> list[str]:
        return _constant(material.train, material)


class ConstantByCIDEr(_Floor):
    """Of the `COMMON` most frequent train reports, the one with the highest validation CIDEr when
    given for every study.

    CIDEr pays for n-grams by their rarity, and most for a whole report that references repeat: of
    the reports that repeat, which one is given decides more than how often.
    """

    COMMON = 200

    def write(self, material: Material) -> list[str]:
        common = [report for report, _ in Counter(material.train).most_common(self.COMMON)]
        return [common[material.choose(common, material.val, "CIDEr")]] * material.count


class MostFrequent(_Floor):
    """The most frequent train report; of equally frequent ones, the first in manifest order."""

    def write(self, material: Material) -> list[str]:
        [(report, _)] = Counter(material.train).most_common(1)
        return [report] * material.count


class NoFinding(_Floor):
    """The constant of the train reports that a labeler reads as No Finding.

    What a reader who never looks would sign, in the best words for it: on data where the most
    frequent report is normal, that one is another such floor. A train split without any normal
    report has `NORMAL` in its place. `labeler` is the signature of the metric that decides.
    """

    NORMAL = "no acute cardiopulmonary abnormality ."

    def __init__(self, weights: Any = None, seed: int = 0, *, labeler: str) -> None:
        super().__init__(weights, seed)
        self.labeler = labeler

    def write(self, material: Material) -> list[str]:
        normal = material.no_finding(material.train)
        reports = [r for r, empty in zip(material.train, normal, strict=True) if empty]
        return _constant(reports or [self.NORMAL], material)


def _constant(reports: Sequence[str], material: Material) -> list[str]:
    """That of the reports, for every study, which scores best as a constant on validation."""
    candidates = list(dict.fromkeys(reports))
    best = candidates[material.choose(candidates, material.val)]
    return [best] * material.count


class Random(_Floor):
    """A train report drawn uniformly for each study."""

    def write(self, material: Material) -> list[str]:
        rng = np.random.default_rng(self.seed)
        return [material.train[i] for i in rng.integers(0, len(material.train), material.count)]


class NearestImage(_Floor):
    """The report of the train study whose pictures correlate best with the study's.

    Each view is standardised to zero mean and unit variance, so exposure does not count; views
    are compared in order and weigh the same.
    """

    def write(self, material: Material) -> list[str]:
        query = _standardised(material.pictures(material.split))
        nearest = _nearest(material.pictures("train"), query)
        return [material.train[i] for i in nearest]


def _nearest(train: np.ndarray, query: np.ndarray) -> list[int]:
    """The row of train (n, V, s, s) that correlates best with each query (q, d); of equals the
    first. One matrix product a block of train: 270,790 pictures are never in memory as floats."""
    best, rows = np.full(len(query), -np.inf), np.zeros(len(query), dtype=np.int64)
    for first in range(0, len(train), _BLOCK):
        block = _standardised(train[first : first + _BLOCK])
        products = query @ block.T
        tops = products.max(axis=1)
        for i in np.flatnonzero(tops > best - _TIE):
            near = np.flatnonzero(products[i] >= tops[i] - _TIE)
            # What single precision cannot tell apart is computed again in double precision.
            exact = np.round(block[near].astype(np.float64) @ query[i].astype(np.float64), 9)
            place = int(np.argmax(exact))
            if exact[place] > best[i]:
                best[i], rows[i] = exact[place], first + near[place]
    return rows.tolist()


def _standardised(pictures: np.ndarray) -> np.ndarray:
    """(n, V, s, s) uint8 -> (n, V * s * s) float32, each view of zero mean and unit norm."""
    flat = pictures.reshape(*pictures.shape[:2], -1).astype(np.float32)
    flat -= flat.mean(axis=-1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=-1, keepdims=True) + 1e-6
    return flat.reshape(len(flat), -1)
