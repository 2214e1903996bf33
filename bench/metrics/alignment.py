"""UAR's alignment score (section 5.1, footnote 3): pairs whose scaled cosine similarity is > 0.5.

The similarities of all images with all reports of the split are min-max scaled together; a study
counts when the similarity of its own pair exceeds one half. It needs a model's features, so its
statistics come from the run itself, not from texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from bench.errors import BenchError
from bench.metrics.base import Metric

THRESHOLD = 0.5


class Alignment(Metric):
    """Share of a split's studies whose own image and report are aligned."""

    name: ClassVar[str] = "alignment"
    version: ClassVar[int] = 1
    scores = ("alignment",)
    treatments: ClassVar[tuple[str, ...]] = ("features",)
    # Scaling is that of the whole split, whatever part of it is resampled.
    context: ClassVar[str] = "min-max"
    resampling: ClassVar[str] = "min-max of the whole split"

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        raise BenchError(
            "alignment is computed from a model's features, not from reports",
            "it is part of every run whose model has a common image-report space",
        )

    def implementation(self) -> str:
        return f"impl:bench|cosine>{THRESHOLD}|scaled:all-pairs"


def aligned(images: np.ndarray, reports: np.ndarray) -> np.ndarray:
    """float64 (n, 1), 1 for an aligned pair; images and reports (n, d), row i of one study."""
    pairs = _unit(images) @ _unit(reports).T
    low, high = pairs.min(), pairs.max()
    own = (np.diag(pairs) - low) / max(high - low, 1e-12)
    return np.asarray(own > THRESHOLD, dtype=np.float64)[:, None]


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
