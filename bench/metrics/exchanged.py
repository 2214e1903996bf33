"""Statistics of a system's reports given to other studies, without scoring a pair twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.metrics import registry
from bench.metrics.references import ReferenceSet


class Exchanged:
    """One report of each study of a split, in manifest order, under one treatment."""

    def __init__(self, references: ReferenceSet, reports: Sequence[str]) -> None:
        self.references = references
        self.hypotheses, self.truths = references.pairs(reports)

    def statistics(self, family: str, orders: np.ndarray) -> np.ndarray:
        """(D, n, k) for orders (D, n): row i is of study i with the report of orders[d, i].

        Many studies get the same report, word for word: each pair of texts is scored once, unless
        a pair's statistics owe something to the set that it is scored in.
        """
        metric = registry.load(family).given(self.references)
        said = [[self.hypotheses[j] for j in order.tolist()] for order in orders]
        if metric.context:
            return np.stack([metric.statistics(texts, self.truths) for texts in said])
        pairs = [pair for texts in said for pair in zip(texts, self.truths, strict=True)]
        once = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
        hypotheses, truths = zip(*once, strict=True)
        found = metric.statistics(list(hypotheses), list(truths))
        return found[[once[pair] for pair in pairs]].reshape(*orders.shape, -1)
