"""The references of a split under a treatment, and what the treatment does to reports."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.data.study import SPLITS, Dataset
from bench.data.text import TREATMENTS, Treatment, Vocabulary, one_space, treatment, vocabulary
from bench.errors import MissingError, unknown
from bench.metrics import ptb

RAW = "raw"
# As the COCO evaluation scores captions: PTB tokens of both sides, and nothing else is changed.
# Computed when it is asked for, and where references come without a dataset.
COCO = "coco@1"
KNOWN = (RAW, *TREATMENTS, COCO)
_UNTOUCHED = (RAW, COCO)  # before PTB


class Seen(Container[str]):
    """Texts of which only digests are kept: 270,790 reports are 20 MB, not a gigabyte."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._digests = {_digest(text) for text in texts}

    def __contains__(self, text: object) -> bool:
        """Whether the text is among them, white space apart."""
        return isinstance(text, str) and _digest(text) in self._digests


def _digest(text: str) -> bytes:
    return hashlib.blake2b(
        " ".join(text.split()).encode("utf-8", "replace"), digest_size=16
    ).digest()


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
        if self.treatment in _UNTOUCHED:
            return self._plain(raw)
        rule = treatment(self.treatment, self.dataset)
        words = self._vocabulary(rule)
        return [rule.reference(report, words) for report in raw]

    def digest(self) -> str:
        """6 hex digits that tell these treated texts, and the cleaning of reports, from others."""
        cleaning = "" if self.treatment in _UNTOUCHED else self.dataset.cleaning
        texts = b"".join(map(_digest, self.references()))
        return hashlib.sha256(cleaning.encode() + texts).hexdigest()[:6]

    def _vocabulary(self, rule: Treatment) -> Vocabulary:
        """The words that the treatment needs: none, where it cuts nothing to them."""
        if rule.limit is None:
            return Vocabulary(())
        if self.words is None and not self.dataset.split("train"):
            raise MissingError(
                f"{self.treatment} cuts references to the words of a train split, which "
                f"{self.dataset.name} has not",
                "give the words (--vocabulary FILE), or name a dataset",
            )
        words: Vocabulary = self.words or self.dataset.once(
            "vocabulary", lambda: vocabulary(self.dataset)
        )
        return words

    def texts(self, reports: Sequence[str]) -> tuple[list[str], list[str]]:
        """Hypotheses and references as they are before PTB."""
        if self.treatment in _UNTOUCHED:
            return self._plain(reports), self.references()
        rule = treatment(self.treatment, self.dataset)
        return [rule.hypothesis(r) for r in reports], self.references()

    def pairs(self, reports: Sequence[str]) -> tuple[list[str], list[str]]:
        """Hypotheses and references as a metric reads them."""
        return self.tokens(*self.texts(reports))

    def tokens(self, hypotheses: list[str], references: list[str]) -> tuple[list[str], list[str]]:
        """What `texts` gave, as a metric reads it: tokenised where the treatment says so."""
        found = self._tokens([*hypotheses, *references])
        return found[: len(hypotheses)], found[len(hypotheses) :]

    def train(self) -> Seen:
        """Texts that count as copied from train: as references are treated, and as reports are.

        Made once a dataset, treatment and vocabulary: it cleans all of train.
        """
        name = f"train {self.treatment} {self.words.digest if self.words else ''}"
        seen: Seen = self.dataset.once(name, self._seen)
        return seen

    def _seen(self) -> Seen:
        raw = list(dict.fromkeys(study.report for study in studies(self.dataset, "train")))
        if self.treatment in _UNTOUCHED:
            return Seen(self._tokens(self._plain(raw)))
        rule = treatment(self.treatment, self.dataset)
        words = self._vocabulary(rule)
        both = (text for r in raw for text in (rule.reference(r, words), rule.hypothesis(r)))
        return Seen(self._tokens(list(dict.fromkeys(both))))

    def _plain(self, texts: Sequence[str]) -> list[str]:
        """White space of any kind is one; what PTB reads as words is left to it."""
        return [one_space(text) for text in texts] if self.treatment == RAW else list(texts)

    def _tokens(self, texts: list[str]) -> list[str]:
        if self.treatment == RAW:
            return texts
        tokenised = self.treatment == COCO or treatment(self.treatment, self.dataset).ptb
        return ptb.tokenize(texts) if tokenised else texts


def studies(dataset: Dataset, split: str) -> tuple[Any, ...]:
    """The studies of a split; an unknown name is the user's error."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    return dataset.split(split)
