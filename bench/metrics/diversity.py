"""What a system's reports look like, whatever they say: repeated, copied, short or long."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.errors import BenchError
from bench.metrics.base import Metric

if TYPE_CHECKING:
    from bench.metrics.references import ReferenceSet


class Diversity(Metric):
    """Controls, not quality: no direction of theirs is better.

    `-unique`: distinct reports over reports. `-copied`: share whose text occurs word for word in
    the train split. `-length`: mean words. `-length-ratio`: words over the references' words.

    Statistics: 1 / (times the report occurs in the set), copied, words, the reference's words.
    """

    name: ClassVar[str] = "diversity"
    version: ClassVar[int] = 1
    scores = tuple(f"diversity-{part}" for part in ("unique", "copied", "length", "length-ratio"))
    bounds = ((0.0, 0.0, 0.0, 0.0), (1.0, 1.0, math.inf, math.inf))
    resampling: ClassVar[str] = "repeats counted in the full scored set"
    context: ClassVar[str] = "repeats"

    def __init__(self, train: Callable[[], Container[str]] | None = None) -> None:
        self._train = train

    def given(self, references: ReferenceSet) -> Diversity:
        return Diversity(references.train)

    def undefined(self, references: ReferenceSet) -> dict[str, str]:
        """Nothing can be copied from a train split that is not there."""
        if references.dataset.split("train"):
            return {}
        return {"diversity-copied": f"{references.dataset.name} has no train split"}

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """(n, 4)."""
        if len(hypotheses) != len(references):
            raise BenchError(f"{len(hypotheses)} hypotheses for {len(references)} references")
        if self._train is None:
            raise BenchError("diversity needs the train split", "score through `Metric.given`")
        texts = [" ".join(text.split()) for text in hypotheses]
        train = self._train()
        times = Counter(texts)
        rows = [
            (1 / times[text], text in train, len(text.split()), len(reference.split()))
            for text, reference in zip(texts, references, strict=True)
        ]
        return np.array(rows, np.float64).reshape(-1, 4)

    def aggregate(self, sums: np.ndarray, n: np.ndarray | int) -> np.ndarray:
        n = np.asarray(n)[..., None]
        words, reference = sums[..., 2:3], sums[..., 3:4]
        ratio = np.divide(words, reference, out=np.full_like(words, np.inf), where=reference > 0)
        return np.concatenate([sums[..., :3] / n, ratio], axis=-1)

    def implementation(self) -> str:
        return "impl:bench"
