"""What a metric is: additive statistics per report, and a score that is a function of their sum.

As in sacreBLEU, the corpus score is never an average of something that was not meant to be
averaged: `statistics` keeps for each report the numbers whose sum over any multiset of reports
determines the score of that multiset. Intervals, paired tests and strata need nothing else.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.data.text import TREATMENTS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from bench.metrics.references import ReferenceSet


class Metric(ABC):
    """A family of scores computed from the same statistics (BLEU: BLEU-1 to BLEU-4).

    `scores` names the columns of `aggregate`; all are stored at full precision. A metric never
    returns None and never drops a report: what it cannot do is an error, raised by `require`.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    scores: tuple[str, ...]
    # Scores of which less is better.
    lower_is_better: ClassVar[tuple[str, ...]] = ()
    # Smallest and largest value of all scores, or of each: no interval reaches beyond.
    bounds: ClassVar[tuple[ArrayLike, ArrayLike]] = (-math.inf, math.inf)
    # Whether statistics are counts, or sums of what is never below 0.
    nonnegative: ClassVar[bool] = False
    # Which text it reads: a treatment of `bench.data.text`, or "raw" for the untouched report.
    treatments: ClassVar[tuple[str, ...]] = tuple(TREATMENTS)
    # What a resample approximates; part of the signature of an interval ("" = nothing).
    resampling: ClassVar[str] = ""
    # What a report's statistics owe to the other reports of the set they were computed in ("idf");
    # the signature of a subset then names that set. "" = nothing.
    context: ClassVar[str] = ""

    def higher_is_better(self, score: str) -> bool:
        """Whether more of one of the scores is better."""
        return score not in self.lower_is_better

    def given(self, references: ReferenceSet) -> Metric:
        """This metric for that set of references; most need nothing of it but the texts."""
        return self

    def require(self) -> None:  # noqa: B027 - most metrics need nothing
        """Raise `MissingError` (why, and how to get it) when the metric cannot run here."""

    @abstractmethod
    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """Float64 array (n, k) of one row per pair, in order."""

    def aggregate(self, sums: np.ndarray, n: np.ndarray | int) -> np.ndarray:
        """Scores (..., len(self.scores)) of summed statistics (..., k) over n reports (...).

        Here the means of the statistics; a metric whose scores are something else overrides it.
        """
        means: np.ndarray = sums / np.asarray(n)[..., None]
        return means

    @abstractmethod
    def implementation(self) -> str:
        """`key:value` parts of the signature that name code, weights and options, `|` between."""

    def signature(self, score: str, treatment: str, n: int, ids: str) -> str:
        """The signature of one score, version last.

        Example: `BLEU-4|refs:r2gen@1|n:590|ids:3f9c2a|impl:pycocoevalcap-1.2|v:1`.
        """
        parts = [score, f"refs:{treatment}", f"n:{n}", f"ids:{ids}", self.implementation()]
        return "|".join([*parts, f"v:{self.version}"])

    def corpus(self, statistics: np.ndarray) -> dict[str, float]:
        """Score name -> value for a whole set of reports (n, k)."""
        values = self.aggregate(statistics.sum(axis=0), len(statistics))
        return dict(zip(self.scores, (float(v) for v in values), strict=True))
