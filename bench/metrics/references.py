"""The references of a split under a treatment, and what the treatment does to reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.data.study import SPLITS, Dataset
from bench.data.text import Vocabulary, one_space, treatment, vocabulary
from bench.errors import unknown
from bench.metrics import ptb

RAW = "raw"


@dataclass(frozen=True)
class ReferenceSet:
    """The references of one split under one treatment, and what the treatment does to reports."""

    dataset: Dataset
    split: str
    treatment: str
    words: Vocabulary | None = None  # built from the train split when it is needed and not given

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(study.id for study in studies(self.dataset, self.split))

    def references(self, split: str = "") -> list[str]:
        """Treated references of this split (or another one), before PTB."""
        raw = [study.report for study in studies(self.dataset, split or self.split)]
        if self.treatment == RAW:
            return [one_space(report) for report in raw]
        rule = treatment(self.treatment, self.dataset)
        words = self.words or vocabulary(self.dataset)
        return [rule.reference(report, words) for report in raw]

    def pairs(self, reports: Sequence[str]) -> tuple[list[str], list[str]]:
        """Hypotheses and references as a metric reads them."""
        if self.treatment == RAW:
            return [one_space(report) for report in reports], self.references()
        rule = treatment(self.treatment, self.dataset)
        texts = self._tokens([*(rule.hypothesis(r) for r in reports), *self.references()])
        return texts[: len(reports)], texts[len(reports) :]

    def train(self) -> list[str]:
        """Texts that count as copied from train: as references are treated, and as reports are."""
        raw = [study.report for study in studies(self.dataset, "train")]
        if self.treatment == RAW:
            return [one_space(report) for report in raw]
        rule = treatment(self.treatment, self.dataset)
        return self._tokens([*self.references("train"), *(rule.hypothesis(r) for r in raw)])

    def _tokens(self, texts: list[str]) -> list[str]:
        return ptb.tokenize(texts) if treatment(self.treatment, self.dataset).ptb else texts


def studies(dataset: Dataset, split: str) -> tuple[Any, ...]:
    """The studies of a split; an unknown name is the user's error."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    return dataset.split(split)
