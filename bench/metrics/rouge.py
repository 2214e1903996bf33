"""ROUGE-L (Lin 2004) as pycocoevalcap computes it, with a bit-parallel LCS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from bench.errors import BenchError
from bench.metrics.base import Metric

BETA = 1.2


def lcs(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    Hyyrö (2004): bit i of `row` is 0 where the dynamic programme's current row steps up at
    a[i]; Python's integers are as wide as `a`, so a row costs a few operations on one number.
    """
    places: dict[str, int] = {}
    for i, token in enumerate(a):
        places[token] = places.get(token, 0) | 1 << i
    full = (1 << len(a)) - 1
    row = full
    for token in b:
        hits = row & places.get(token, 0)
        row = ((row + hits) | (row - hits)) & full
    return len(a) - row.bit_count()


def rouge_l(hypothesis: str, reference: str) -> float:
    """F-measure of one pair. Split on single spaces: two spaces hold an empty token, and two
    empty texts agree (1.0), both as in pycocoevalcap."""
    a, b = hypothesis.split(" "), reference.split(" ")
    common = lcs(a, b)
    if not common:
        return 0.0
    precision, recall = common / len(a), common / len(b)
    return ((1 + BETA**2) * precision * recall) / (recall + BETA**2 * precision)


class RougeL(Metric):
    """Mean of the reports' ROUGE-L F-measures (beta 1.2)."""

    name: ClassVar[str] = "ROUGE-L"
    version: ClassVar[int] = 1
    nonnegative: ClassVar[bool] = True
    scores = ("ROUGE-L",)
    bounds = (0.0, 1.0)

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        if len(hypotheses) != len(references):
            raise BenchError(f"{len(hypotheses)} hypotheses for {len(references)} references")
        values = [rouge_l(h, r) for h, r in zip(hypotheses, references, strict=True)]
        return np.array(values, np.float64).reshape(-1, 1)

    def implementation(self) -> str:
        return "beta:1.2|impl:bench|as:pycocoevalcap-1.2"
