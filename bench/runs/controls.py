"""Controls: what a system scores when each study is shown the images of another one.

A report is written from the images of one study and from nothing else of it, so the report for
study i shown the images of study j is the report already written for study j: the controls are
permutations of the predictions, and nothing is decoded again. Both sides of the comparison hold
the same reports; only whose they are differs.

Whom a study is paired with is chance, and with one derangement makes most of the noise of an
image gain. `DERANGEMENTS` of them are averaged.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from bench.data.study import Dataset
from bench.metrics.scoring import Scored

DERANGEMENTS = 30
_MARK = "derangements:"
SHUFFLED = "shuffled images"
WITHIN = "images shuffled within labels"


def derangement(count: int, seed: int | Sequence[int]) -> np.ndarray:
    """A seeded permutation that leaves no study its own images (one study: itself)."""
    order = np.random.default_rng(seed).permutation(count)
    shifted = np.empty_like(order)
    shifted[order] = np.roll(order, 1)
    return shifted


def within(groups: Sequence[Hashable], seed: int | Sequence[int]) -> np.ndarray:
    """A seeded permutation of studies that stays inside their groups; a group of one is fixed.

    Every study of a larger group gets the images of another study: `order[i] != i` says who
    takes part.
    """
    members: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    order = np.arange(len(groups))
    for number, rows in enumerate(members.values()):
        own = [seed] if isinstance(seed, int) else seed
        order[rows] = np.array(rows)[derangement(len(rows), [*own, number])]
    return order


def orders(groups: Sequence[Hashable] | int, seed: int, count: int = DERANGEMENTS) -> np.ndarray:
    """(count, n) seeded derangements of n studies, or of studies within their groups."""
    seeds: list[Sequence[int]] = [[seed, i] for i in range(count)]
    if isinstance(groups, int):
        return np.stack([derangement(groups, s) for s in seeds])
    return np.stack([within(groups, s) for s in seeds])


def averaged(statistics: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """(D, n, k), row i of study i with the report of study orders[d, i] -> (n, k).

    The rows add up to what one derangement adds up to on average. Row i is what study i does to
    that sum, as the one whose report another has written and as the one whose report another has
    got (the projection of a U-statistic): resampled, it is as uncertain as drawing other studies
    would make it. Counts stay counts: where a study does less than nothing to a sum of what is
    never negative, it does nothing, and the rest is scaled to the same sum.
    """
    got = statistics.mean(axis=0)
    back = np.argsort(orders, axis=1)
    gave = np.mean([s[b] for s, b in zip(statistics, back, strict=True)], axis=0)
    rows = got + gave - got.mean(axis=0)
    counts = (statistics >= 0).all(axis=(0, 1))
    floored = np.maximum(rows, 0.0)
    total = floored.sum(axis=0)
    scale = np.divide(got.sum(axis=0), total, where=total > 0, out=np.zeros_like(total))
    return np.where(counts, floored * scale, rows)


def signed(signature: str, count: int) -> str:
    """The signature of a score that is averaged over `count` derangements."""
    return f"{signature}|{_MARK}{count}" if signature else ""


def drawn_of(scored: Scored) -> int:
    """How many derangements a control's scores are averaged over: 1 where it does not say."""
    signature = next((s.signature for s in scored if s.signature), "")
    return int(signature.partition(f"|{_MARK}")[2] or 1)


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
