"""ROUGE-1 and ROUGE-2 (Lin 2004) as the package rouge_score computes them, without its stemmer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from bench.errors import BenchError
from bench.metrics.base import Metric
from bench.metrics.references import RAW

ORDERS = (1, 2)
_WORDS = re.compile("[a-z0-9]+")


def words(text: str) -> list[str]:
    """Runs of ASCII letters and digits in lower case, which is what rouge_score compares."""
    return _WORDS.findall(text.lower())


def f_measure(hypothesis: Sequence[str], reference: Sequence[str], order: int) -> float:
    """F1 of the clipped n-gram matches of one pair; 0 where a side has no n-gram."""
    said, true = (_counts(side, order) for side in (hypothesis, reference))
    common = (said & true).total()
    return 2 * common / (said.total() + true.total()) if common else 0.0


def _counts(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[i:] for i in range(order)), strict=False))


class RougeN(Metric):
    """Means of the reports' F-measures. It reads the untouched report: its own rule makes words."""

    name: ClassVar[str] = "ROUGE"
    version: ClassVar[int] = 1
    nonnegative: ClassVar[bool] = True
    scores = tuple(f"ROUGE-{n}" for n in ORDERS)
    bounds = (0.0, 1.0)
    treatments: ClassVar[tuple[str, ...]] = (RAW,)

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """(n, 2)."""
        if len(hypotheses) != len(references):
            raise BenchError(f"{len(hypotheses)} hypotheses for {len(references)} references")
        pairs = zip(map(words, hypotheses), map(words, references), strict=True)
        rows = [[f_measure(h, r, n) for n in ORDERS] for h, r in pairs]
        return np.array(rows, np.float64).reshape(-1, len(ORDERS))

    def implementation(self) -> str:
        return "stemmer:no|impl:bench|as:rouge_score-0.1.2"
