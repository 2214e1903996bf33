"""Do words look where their finding lies? Shares of cross-attention inside truth boxes.

A phrase that names a finding has a box around it (two where it lies on both sides). The share of
the phrase's attention that falls inside says little alone: boxes are large, and most findings have
a usual place. So it stands beside what an attention would have inside that

position: knows only how far the report has got (the mean of other studies at the same words'
          positions, which is all that a mask over positions and visual tokens can know);
finding:  knows which finding is named, but not the image (the mean of other studies' phrases of
          the same finding);
area:     knows nothing (uniform over the visual tokens);
free:     is the model's own without the logits that TIR's mask adds (Eq. 11).

Not all of these are measured on all models: without a mask, free is the attention itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from bench.errors import BenchError
from bench.metrics.base import Metric

SHARES = ("own", "position", "finding", "area", "free")  # columns of a run's `shares`


class AttentionBox(Metric):
    """`attention-box`: share inside, mean over phrases; `-gain`: what it has beyond `-position`."""

    name: ClassVar[str] = "attention-box"
    version: ClassVar[int] = 1
    scores: tuple[str, ...] = (
        "attention-box",
        "attention-box-gain",
        *(f"attention-box-{share}" for share in SHARES[1:]),
    )
    bounds = ((0.0, -1.0, 0.0, 0.0, 0.0, 0.0), (1.0,) * 6)
    treatments: ClassVar[tuple[str, ...]] = ("features",)
    context: ClassVar[str] = "others"
    resampling: ClassVar[str] = "mean attention of the whole split"

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        raise BenchError(
            "attention-box is computed from a model's attention, not from reports",
            "it is part of every run whose model gives its attention, where a dataset knows "
            "where its findings lie",
        )

    def aggregate(self, sums: np.ndarray, n: np.ndarray | int) -> np.ndarray:
        means = sums[..., :5] / np.maximum(sums[..., 5:], 1.0)
        gain = means[..., :1] - means[..., 1:2]
        return np.concatenate([means[..., :1], gain, means[..., 1:]], axis=-1)

    def implementation(self) -> str:
        return "impl:bench|layers,heads,words:mean|report:reference"


def table(shares: np.ndarray, studies: np.ndarray, count: int) -> np.ndarray:
    """float64 (count, 6): per study the sums of its phrases' `SHARES` (k, 5), and their number."""
    found = np.zeros((count, 6))
    np.add.at(found, studies, np.column_stack([shares, np.ones(len(shares))]))
    return found


def taking(statistics: np.ndarray) -> int:
    """How many studies have a phrase with a box."""
    return int((statistics[:, 5] > 0).sum())
