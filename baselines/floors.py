"""Floors: reports written without learning, which every trained row stands beside.

A floor gets texts and pictures and returns one text per study to be reported on. The harness
gives the scoring of validation, so that the constant is chosen by the same BLEU-4 as a model's
checkpoint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Material:
    """What a floor may use. Structural: the harness passes any object with these attributes.

    train, val: cleaned reports in manifest order. choose: (candidates, references) -> index of
    the candidate that scores best as a constant. pictures: split name -> (n, V, s, s) uint8.
    count: studies to report on, in the split `split`.
    """

    train: Sequence[str]
    val: Sequence[str]
    choose: Callable[[Sequence[str], Sequence[str]], int]
    pictures: Callable[[str], np.ndarray]
    count: int
    split: str


class _Floor:
    def __init__(self, weights: Any = None, seed: int = 0) -> None:
        self.seed = seed


class Constant(_Floor):
    """The train report with the highest validation BLEU-4 when given for every study."""

    def write(self, material: Any) -> list[str]:
        candidates = list(dict.fromkeys(material.train))
        best = candidates[material.choose(candidates, material.val)]
        return [best] * material.count


class MostFrequent(_Floor):
    """The most frequent train report; of equally frequent ones, the first in manifest order."""

    def write(self, material: Any) -> list[str]:
        [(report, _)] = Counter(material.train).most_common(1)
        return [report] * material.count


class Random(_Floor):
    """A train report drawn uniformly for each study."""

    def write(self, material: Any) -> list[str]:
        rng = np.random.default_rng(self.seed)
        return [material.train[i] for i in rng.integers(0, len(material.train), material.count)]


class NearestImage(_Floor):
    """The report of the train study whose pictures correlate best with the study's.

    Each view is standardised to zero mean and unit variance, so exposure does not count; views
    are compared in order and weigh the same.
    """

    def write(self, material: Any) -> list[str]:
        train = _standardised(material.pictures("train"))
        query = _standardised(material.pictures(material.split))
        nearest = [int(np.argmax(train @ row)) for row in query]
        return [material.train[i] for i in nearest]


def _standardised(pictures: np.ndarray) -> np.ndarray:
    """(n, V, s, s) uint8 -> (n, V * s * s) float32, each view of zero mean and unit norm."""
    flat = pictures.reshape(*pictures.shape[:2], -1).astype(np.float32)
    flat -= flat.mean(axis=-1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=-1, keepdims=True) + 1e-6
    return flat.reshape(len(flat), -1)
