"""UAR's alignment score (section 5.1, footnote 3): pairs whose scaled cosine similarity is > 0.5.

The similarities of all images with all reports of the split are min-max scaled together; a study
counts when the similarity of its own pair exceeds one half. It needs a model's features, so its
statistics come from the run itself, not from texts.

The score alone says little: where every pair is similar, own pairs are. Its control counts the
pairs of different studies in the same way, and two areas under the ROC curve, which know no
threshold, say whether own pairs are more similar than others.
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
    scores: tuple[str, ...] = ("alignment",)
    bounds = (0.0, 1.0)
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


class AlignmentControl(Alignment):
    """What the alignment score is to be held against.

    `-others`: share of the pairs of different studies above the threshold. `-auc`: chance that an
    own pair is more similar than a pair of different studies. `-retrieval`: chance that an image
    is more similar to its own report than to another. Both are .5 for features that say nothing.
    """

    name: ClassVar[str] = "alignment-control"
    scores = tuple(f"alignment-control-{part}" for part in ("others", "auc", "retrieval"))
    resampling: ClassVar[str] = "min-max and the other pairs of the whole split"

    def implementation(self) -> str:
        return f"{super().implementation()}|others:all-pairs"


def aligned(images: np.ndarray, reports: np.ndarray) -> np.ndarray:
    """float64 (n, 1), 1 for an aligned pair; images and reports (n, d), row i of one study."""
    return np.asarray(np.diag(_scaled(images, reports)) > THRESHOLD, dtype=np.float64)[:, None]


def control(images: np.ndarray, reports: np.ndarray) -> np.ndarray:
    """float64 (n, 3): per study its share of each of `AlignmentControl`'s scores.

    Other pairs of study i are its image with the n - 1 other reports; ties count one half.
    """
    pairs = _scaled(images, reports)
    n = len(pairs)
    own, apart = np.diag(pairs), ~np.eye(n, dtype=bool)
    others = pairs[apart].reshape(n, max(n - 1, 0))
    if n < 2:
        return np.full((n, 3), 0.5)
    pool = np.sort(others, axis=None)
    below, upto = (np.searchsorted(pool, own, side) for side in ("left", "right"))
    mine = own[:, None]
    retrieval = ((others < mine) + 0.5 * (others == mine)).mean(axis=1)
    shares = (others > THRESHOLD).mean(axis=1), (below + upto) / 2 / len(pool), retrieval
    return np.stack(shares, axis=1).astype(np.float64)


def _scaled(images: np.ndarray, reports: np.ndarray) -> np.ndarray:
    """(n, n) cosine similarities of each image with each report, min-max scaled together."""
    pairs = _unit(images) @ _unit(reports).T
    low, high = pairs.min(), pairs.max()
    return np.asarray((pairs - low) / max(high - low, 1e-12))


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
