"""What splits share: patients, verbatim reports, identical images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.data.study import SPLITS, Dataset
from bench.data.text import clean, normalise


def cleaned_reports(dataset: Dataset, split: str) -> list[str]:
    """The cleaned reports of a split, neither thresholded nor cut."""
    return [normalise(clean(study.report, dataset.cleaning)) for study in dataset.split(split)]


def seen_in_train(dataset: Dataset, split: str) -> np.ndarray:
    """bool (n,): whether each study's cleaned report occurs, word for word, in train."""
    train = set(cleaned_reports(dataset, "train"))
    return np.array([text in train for text in cleaned_reports(dataset, split)], dtype=bool)


def normal(dataset: Dataset, split: str) -> np.ndarray | None:
    """bool (n,): whether each study is labelled normal; None where labels are not known.

    Normal is the label "normal", or no label at all where a dataset names only what is there.
    """
    labels = [study.labels for study in dataset.split(split)]
    known = [x for x in labels if x is not None]
    if not known or len(known) < len(labels):
        return None
    return np.array([not x or "normal" in x for x in known], dtype=bool)


def shared_patients(dataset: Dataset) -> dict[str, list[str]]:
    """Patient -> splits, for those in more than one."""
    splits: dict[str, set[str]] = {}
    for study in dataset.studies:
        splits.setdefault(study.patient, set()).add(study.split)
    return {p: [s for s in SPLITS if s in x] for p, x in splits.items() if len(x) > 1}


def identical(hashes: Mapping[str, str]) -> list[list[str]]:
    """Groups of names that have the same hash, each group and the list sorted."""
    groups: dict[str, list[str]] = {}
    for name, digest in hashes.items():
        groups.setdefault(digest, []).append(name)
    return sorted(sorted(names) for names in groups.values() if len(names) > 1)
