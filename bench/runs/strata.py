"""Parts of a split that are scored apart: what was seen in train, and what is normal."""

from __future__ import annotations

import numpy as np

from bench.data.leakage import normal, seen_in_train
from bench.data.study import Dataset


def strata(dataset: Dataset, split: str) -> dict[str, tuple[str, ...]]:
    """Stratum name -> study ids of `split`, in manifest order.

    "seen" / "unseen": the cleaned reference also occurs, word for word, in train. "normal" /
    "abnormal": by the labels; absent where the dataset has none.
    """
    ids = np.array([study.id for study in dataset.split(split)])
    marks = {("seen", "unseen"): seen_in_train(dataset, split)}
    by_label = normal(dataset, split)
    if by_label is not None:
        marks["normal", "abnormal"] = by_label
    return {
        name: tuple(ids[chosen].tolist())
        for (yes, no), mark in marks.items()
        for name, chosen in ((yes, mark), (no, ~mark))
    }
