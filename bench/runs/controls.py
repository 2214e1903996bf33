"""Controls: what a system scores when each study is shown the images of another one.

A report is written from the images of one study and from nothing else of it, so the report for
study i shown the images of study j is the report already written for study j: the controls are
permutations of the predictions, and nothing is decoded again. Both sides of the comparison hold
the same reports; only whose they are differs.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from bench.data.study import Dataset

SHUFFLED = "shuffled images"
WITHIN = "images shuffled within labels"


def derangement(count: int, seed: int | Sequence[int]) -> np.ndarray:
    """A seeded permutation that leaves no study its own images (one study: itself)."""
    order = np.random.default_rng(seed).permutation(count)
    shifted = np.empty_like(order)
    shifted[order] = np.roll(order, 1)
    return shifted


def within(groups: Sequence[Hashable], seed: int) -> np.ndarray:
    """A seeded permutation of studies that stays inside their groups; a group of one is fixed.

    Every study of a larger group gets the images of another study: `order[i] != i` says who
    takes part.
    """
    members: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    order = np.arange(len(groups))
    for number, rows in enumerate(members.values()):
        order[rows] = np.array(rows)[derangement(len(rows), [seed, number])]
    return order


def label_groups(dataset: Dataset, split: str) -> list[tuple[str, ...]]:
    """Per study what it shows: the dataset's own labels where each study has them (the truth of
    a made dataset, the experts' codes of IU X-ray), else the labels that the rules read from its
    reference."""
    studies = dataset.split(split)
    if all(study.labels is not None for study in studies):
        return [tuple(sorted(study.labels or ())) for study in studies]
    from bench.metrics.clinical.rules import labeler

    return [tuple(map(str, row)) for row in labeler()([study.report for study in studies]).tolist()]


def permuted(predictions: Mapping[str, str], order: np.ndarray) -> dict[str, str]:
    """Study i with the report of study order[i]; `predictions` are in manifest order."""
    reports = list(predictions.values())
    return {study: reports[j] for study, j in zip(predictions, order, strict=True)}
