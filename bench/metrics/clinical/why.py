"""Labels of reports as the CheXpert labeler writes them, and the phrases that decided."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.files import csv_text
from bench.metrics.clinical.observations import (
    NEGATIVE,
    NO_FINDING,
    OBSERVATIONS,
    POSITIVE,
    UNCERTAIN,
)
from bench.metrics.clinical.rules import OTHER, labeler, sentences

# The column order of the CheXpert labeler (Irvin et al. 2019) and of MIMIC-CXR-JPG's tables.
LAYOUT = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Lesion", "Lung Opacity",
    "Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion",
    "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
SIGNS = {POSITIVE: "1", NEGATIVE: "0", UNCERTAIN: "-1"}  # a blank label is an empty cell
WHY = ("study_id", "observation", "label", "phrase", "because", "sentence")
_ORDER = [OBSERVATIONS.index(name) for name in LAYOUT]
_OTHER = "(another abnormality)"


def as_csv(ids: Sequence[str], labels: np.ndarray) -> str:
    """study_id and the 14 observations: 1 present, 0 absent, -1 uncertain, blank not mentioned."""
    rows = ([i, *(SIGNS.get(int(row[c]), "") for c in _ORDER)] for i, row in _each(ids, labels))
    return csv_text(("study_id", *LAYOUT), rows)


def _each(ids: Sequence[str], labels: np.ndarray) -> Iterable[tuple[str, np.ndarray]]:
    return zip(ids, labels, strict=True)


@dataclass(frozen=True)
class Reason:
    """One mention in a report: what it says of an observation, and in which words."""

    observation: str
    label: int
    phrase: str
    because: str
    sentence: str


def reasons(report: str) -> Iterator[Reason]:
    """Every mention in a report, in reading order, and why it is No Finding if it is.

    Mentions that do not count ("history of pneumonia") are left out, as they are by the labels.
    """
    rules = labeler()
    for sentence in sentences(report):
        mentions = sorted(rules.mentions(sentence), key=lambda m: m.start)
        named = {(m.start, m.end) for m in mentions if m.column != OTHER}
        for mention in mentions:
            again = mention.column == OTHER and (mention.start, mention.end) in named
            if mention.label in SIGNS and not again:
                name = _OTHER if mention.column == OTHER else OBSERVATIONS[mention.column]
                phrase = sentence[mention.start : mention.end]
                yield Reason(name, mention.label, phrase, mention.because, sentence)
    if rules.report(report)[NO_FINDING] == POSITIVE:
        words = re.sub(r"\s+", " ", report).strip()
        yield Reason(OBSERVATIONS[NO_FINDING], POSITIVE, "", "nothing asserted or suspected", words)


def why_as_csv(reports: Mapping[str, str]) -> str:
    """One row a mention: the observation, its label, the phrase, the words that denied or doubted
    it, the sentence."""
    rows = (
        [i, r.observation, SIGNS[r.label], r.phrase, r.because, r.sentence]
        for i, report in reports.items()
        for r in reasons(report)
    )
    return csv_text(WHY, rows)
