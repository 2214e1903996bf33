"""Findings of a report against what its study shows by the dataset's own labels.

The rules read the report alone; the other side is the truth of a synthetic film, or an expert's
codes, as the dataset's YAML names them (`labels`; see `bench.metrics.clinical.truth`). What the
rules miss in a reference is then no error of a report that says it in other words, and a report
that repeats a wrong reference is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import ClassVar

import numpy as np

from bench.metrics.clinical.f1 import ALL_SCORES, Convention, statistics
from bench.metrics.clinical.observations import BLANK, NO_FINDING, POSITIVE, SUPPORT_DEVICES
from bench.metrics.clinical.rules import ChexpertRules
from bench.metrics.clinical.truth import observations
from bench.metrics.references import ReferenceSet, studies


class ChexpertRulesTruth(ChexpertRules):
    """F1 of the rules' findings in a report against the labels of its study.

    A study without labels counts for nothing. No averages over examples, which need every study.
    """

    name: ClassVar[str] = "chexpert-rules-truth"
    version: ClassVar[int] = 1
    title: ClassVar[str] = "chexpert-rules-truth"
    convention: ClassVar[Convention] = Convention(
        "truth", "negative", scores=tuple(s for s in ALL_SCORES if "-example-" not in s)
    )
    _known: np.ndarray  # (n,) which studies are labelled
    _truth: np.ndarray  # (n, 14) classes

    def given(self, references: ReferenceSet) -> ChexpertRulesTruth:
        """For the studies of a split. MissingError where its dataset has no labels."""
        cases = studies(references.dataset, references.split)
        metric = copy(self)
        metric._known, found = observations(references.dataset.name, cases)
        metric._truth = with_no_finding(found)
        return metric

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """As of every labeler, with the studies' labels instead of the references'."""
        table = statistics(self.label(hypotheses), self._truth, self.convention)
        table[~self._known] = 0
        return table


def with_no_finding(labels: np.ndarray) -> np.ndarray:
    """Classes (n, 14) of labels of 0 and 1. "No Finding" as CheXpert defines it: nothing else is
    there but devices; it need not be labelled as such."""
    classes = np.where(labels > 0, POSITIVE, BLANK)
    others = np.delete(classes, [NO_FINDING, SUPPORT_DEVICES], axis=1)
    classes[(others == BLANK).all(axis=1), NO_FINDING] = POSITIVE
    return classes
