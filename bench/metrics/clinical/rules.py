"""`chexpert-rules`: the 14 observations read from a report by phrases and ConText-like scopes.

A sentence is searched for phrases of each observation; a phrase is then negated or made
uncertain by triggers in its clause, before or after it (Harkema et al. 2009, NegEx's successor
ConText; Peng et al. 2018 and Irvin et al. 2019 for the chest). All phrases are data in
`bench/conf/labels/chexpert_rules.yaml`. It is a metric of its own and no stand-in for CheXbert:
the two disagree on what a phrase means, and their scores must not share a column.

A report's label: positive if any mention is, else uncertain, else negative, else blank.
"No Finding" is positive when the report has words and nothing but support devices is asserted
or suspected, where abnormalities outside the 13 observations (granuloma, scoliosis, ...) count.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml

from bench.metrics.clinical.f1 import CONVENTIONS, ClinicalMetric, Convention
from bench.metrics.clinical.observations import (
    BLANK,
    NEGATIVE,
    NO_FINDING,
    OBSERVATIONS,
    POSITIVE,
    SUPPORT_DEVICES,
    UNCERTAIN,
)

LEXICON = Path(__file__).parents[2] / "conf" / "labels" / "chexpert_rules.yaml"
KINDS = ("finding", "doubtful", "normal", "skip")
OTHER = len(OBSERVATIONS)  # column of abnormalities outside the 13, while a report is read
# Classes by how much they decide: the strongest mention of a report wins.
_RANK = {BLANK: 0, NEGATIVE: 1, UNCERTAIN: 2, POSITIVE: 3}
# A full stop inside a number ("1.5 cm") or an abbreviation ends no sentence.
_STOP = re.compile(r"(?<!\bvs)(?<!\bdr)(?<!\be\.g)(?<!\bi\.e)\.(?!\d)|[?!;\n]|(?<=\d)\.(?=\s)")
_NAMED = re.compile(r"(?<!\(\?P)<(\w+)>")  # and not the name of a group
_SPACE = re.compile(r"\s+")
# Between a mention and a trigger behind it there is no other predicate.
_VERB = re.compile(r"\b(?:represent(?:s|ing)?|is|are|was|were|has|have|seen|noted|present|there)\b")
# From this many reports on, several processes pay for their start.
PARALLEL_FROM = 20_000


def _spelled(part: Any, words: Mapping[str, str]) -> Any:
    """A part of the lexicon with its own words in place of <name>."""
    if isinstance(part, Mapping):
        return {key: _spelled(value, words) for key, value in part.items()}
    if isinstance(part, str):
        return _NAMED.sub(lambda match: words[match[1]], part)
    return [_spelled(value, words) for value in part]


def _words(patterns: Iterable[str]) -> re.Pattern[str] | None:
    joined = "|".join(patterns)
    return re.compile(rf"\b(?:{joined})(?!\w)") if joined else None


@dataclass(frozen=True)
class Phrases:
    """Compiled phrases of one observation: its column, and what asserts, denies, misleads."""

    column: int
    finding: re.Pattern[str] | None
    doubtful: re.Pattern[str] | None
    normal: re.Pattern[str] | None
    skip: re.Pattern[str] | None


@dataclass(frozen=True)
class Trigger:
    """A word that changes what stands before or after it: NEGATIVE or UNCERTAIN.

    near: only up to a comma.
    """

    start: int
    end: int
    label: int
    near: bool = False


@dataclass(frozen=True)
class Mention:
    """One phrase of a sentence: its column and class, where it stands, and what decided.

    `because`: the words that deny or doubt it, or "" where nothing does; a phrase that itself says
    "absent" or only "likely" is its own reason.
    """

    column: int
    label: int
    start: int
    end: int
    because: str = ""


def _blank(match: re.Match[str]) -> str:
    return "_" * len(match.group())


class Labeler:
    """The rules of one lexicon, compiled. Sentences are remembered: reports repeat them."""

    def __init__(self, lexicon: Mapping[str, Any]) -> None:
        lexicon = _spelled(lexicon, lexicon["words"])
        context = lexicon["context"]
        self._pseudo = _words(context["pseudo"])
        self._before = self._triggers(context, "before")
        self._after = self._triggers(context, "after")
        self._boundary = _words(context["boundary"])
        self._negation_boundary = _words([*context["boundary"], *context["negation_boundary"]])
        self._phrases = [
            self._compile(OBSERVATIONS.index(name), parts)
            for name, parts in lexicon["observations"].items()
        ] + [self._compile(OTHER, lexicon["other"])]
        self._known: dict[str, tuple[tuple[int, int], ...]] = {}

    @staticmethod
    def _compile(column: int, parts: Mapping[str, Sequence[str]]) -> Phrases:
        return Phrases(column, *(_words(parts.get(k, ())) for k in KINDS))

    @staticmethod
    def _triggers(context: Mapping[str, Sequence[str]], side: str) -> re.Pattern[str]:
        # "inert" comes first: it uses up words that would otherwise start another trigger.
        groups = (
            ("inert", context.get(f"inert_{side}", [])),
            ("ignored", context.get(f"ignored_{side}", [])),
            ("uncertain", context[f"uncertain_{side}"]),
            ("contrast", context.get(f"contrast_{side}", [])),
            ("negation", context[f"negation_{side}"]),
        )
        named = [f"(?P<{name}>{'|'.join(patterns)})" for name, patterns in groups if patterns]
        # A trigger behind a mention brings its own verb along: "effusion is no longer seen".
        verb = r"(?:(?:is|are|was|were|be|been|has been|have been) )?" if side == "after" else ""
        return re.compile(rf"\b{verb}(?:{'|'.join(named)})(?!\w)")

    def __call__(self, reports: Sequence[str], processes: int = 1) -> np.ndarray:
        """Classes (n, 14) int8, BLANK, POSITIVE, NEGATIVE or UNCERTAIN; equal reports read once."""
        distinct = list(dict.fromkeys(reports))
        if processes > 1 and len(distinct) >= PARALLEL_FROM:
            rows = self._parallel(distinct, processes)
        else:
            rows = [self.report(text) for text in distinct]
        row = {text: i for i, text in enumerate(distinct)}
        table = np.array(rows, dtype=np.int8).reshape(-1, len(OBSERVATIONS))
        return table[[row[text] for text in reports]]

    def _parallel(self, reports: list[str], processes: int) -> list[list[int]]:
        # "spawn": a fork of a process that holds torch's threads can hang.
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            return pool.map(_read, reports, chunksize=1000)

    def report(self, text: str) -> list[int]:
        """The 14 classes of one report; all BLANK when it has no words."""
        found = [BLANK] * (len(OBSERVATIONS) + 1)
        for sentence in sentences(text):
            for column, label in self.sentence(sentence):
                if _RANK[label] > _RANK[found[column]]:
                    found[column] = label
        asserted = (POSITIVE, UNCERTAIN)
        abnormal = any(
            label in asserted
            for column, label in enumerate(found)
            if column not in (SUPPORT_DEVICES, NO_FINDING)
        )
        if not abnormal and re.search(r"[^\W\d_]", text):
            found[NO_FINDING] = POSITIVE
        return found[: len(OBSERVATIONS)]

    def sentence(self, sentence: str) -> tuple[tuple[int, int], ...]:
        """(column, class) of every mention in one normalised sentence."""
        known = self._known.get(sentence)
        if known is None:
            found = ((m.column, m.label) for m in self.mentions(sentence))
            known = self._known[sentence] = tuple(found)
        return known

    def mentions(self, sentence: str) -> Iterator[Mention]:
        """Every mention in one normalised sentence, with what decided its class."""
        if self._pseudo:
            sentence = self._pseudo.sub(_blank, sentence)
        scopes: Scopes | None = None
        for phrases in self._phrases:
            text = phrases.skip.sub(_blank, sentence) if phrases.skip else sentence
            if phrases.normal:
                for match in phrases.normal.finditer(text):
                    yield Mention(phrases.column, NEGATIVE, *match.span())
                text = phrases.normal.sub(_blank, text)
            for pattern in (phrases.finding, phrases.doubtful):
                for match in pattern.finditer(text) if pattern else ():
                    scopes = scopes or self._scopes(sentence)
                    anchor = "x" if match.groupdict().get("x") else 0
                    label, because = scopes.decided(match.start(anchor), match.end(anchor))
                    doubted = label == POSITIVE and pattern is phrases.doubtful
                    label = UNCERTAIN if doubted else label
                    yield Mention(phrases.column, label, *match.span(), because)

    def _scopes(self, sentence: str) -> Scopes:
        return Scopes(
            sentence,
            _found(self._before, sentence),
            _found(self._after, sentence),
            _spans(self._boundary, sentence),
            _spans(self._negation_boundary, sentence),
        )


def _found(pattern: re.Pattern[str], sentence: str) -> list[Trigger]:
    labels = {
        "negation": NEGATIVE, "contrast": NEGATIVE, "uncertain": UNCERTAIN, "ignored": BLANK,
    }  # fmt: skip
    return [
        Trigger(m.start(), m.end(), labels[m.lastgroup], m.lastgroup == "contrast")
        for m in pattern.finditer(sentence)
        if m.lastgroup in labels
    ]


def _spans(pattern: re.Pattern[str] | None, sentence: str) -> list[tuple[int, int]]:
    return [m.span() for m in pattern.finditer(sentence)] if pattern else []


@dataclass(frozen=True)
class Scopes:
    """Triggers and clause boundaries of one sentence."""

    sentence: str
    before: list[Trigger]
    after: list[Trigger]
    boundary: list[tuple[int, int]]
    negation_boundary: list[tuple[int, int]]

    def decided(self, start: int, end: int) -> tuple[int, str]:
        """The class of a mention at [start, end), and the words of the trigger that gave it.

        The nearest trigger in its clause decides. One behind the mention outranks one before it
        ("possible effusion is not seen"), and a negation reaches over an uncertain word in its own
        phrase ("no evidence to suggest edema") but not over a comma ("no edema, possible
        effusion").
        """
        trigger = self._behind(end)
        if trigger is not None:
            return trigger.label, self._words(trigger)
        reach = [t for t in self.before if t.end <= start and self._open(t, start)]
        if not reach:
            return POSITIVE, ""
        nearest = reach[-1]
        denied = [t for t in reach if t.label == NEGATIVE]
        if nearest.label == UNCERTAIN and denied:
            between = self.sentence[denied[-1].end : nearest.start]
            if "," not in between and " or " not in between:
                return NEGATIVE, self._words(denied[-1])
        return nearest.label, self._words(nearest)

    def _words(self, trigger: Trigger) -> str:
        return self.sentence[trigger.start : trigger.end]

    def _open(self, trigger: Trigger, start: int) -> bool:
        """No clause ends between a trigger and the mention that follows it."""
        if trigger.near and "," in self.sentence[trigger.end : start]:
            return False
        ends = self.negation_boundary if trigger.label == NEGATIVE else self.boundary
        return not any(trigger.end <= s and e <= start for s, e in ends)

    def _behind(self, end: int) -> Trigger | None:
        for trigger in self.after:
            if trigger.start < end:
                continue
            if any(end <= s and e <= trigger.start for s, e in self.boundary):
                return None
            between = self.sentence[end : trigger.start]
            if _VERB.search(between):
                return None
            if trigger.label == UNCERTAIN and "," in between:  # "opacity, edema vs. infection"
                return None
            return trigger
        return None


def sentences(text: str) -> list[str]:
    """Lower-cased sentences with single spaces; the empty ones left out."""
    parts = (_SPACE.sub(" ", part).strip() for part in _STOP.split(text.lower()))
    return [part for part in parts if part]


@cache
def labeler() -> Labeler:
    """The labeler of the packaged lexicon."""
    return Labeler(yaml.safe_load(LEXICON.read_text(encoding="utf-8")))


@cache
def digest() -> str:
    """The first 12 hex digits of the lexicon's sha256: part of the metric's signature."""
    return hashlib.sha256(LEXICON.read_bytes()).hexdigest()[:12]


def _read(text: str) -> list[int]:
    return labeler().report(text)


class ChexpertRules(ClinicalMetric):
    """F1 over the observations that the packaged rules read; needs no weights.

    An uncertain mention counts as absent: on IU X-ray that agrees best with the experts' codes
    (docs/chexpert-rules.md), and it is what R2Gen's script does with the rule-based labels.
    """

    name: ClassVar[str] = "chexpert-rules"
    version: ClassVar[int] = 1
    title: ClassVar[str] = "chexpert-rules"
    convention: ClassVar[Convention] = CONVENTIONS["uncertain-negative"]

    def label(self, reports: Sequence[str]) -> np.ndarray:
        """Labels by the packaged rules, on all cores when there are very many reports."""
        return labeler()(reports, processes=os.cpu_count() or 1)

    def source(self) -> str:
        """The digest of the phrases."""
        return f"rules:{digest()}"


class ChexpertRulesUncertain(ChexpertRules):
    """The same with an uncertain mention counted as present."""

    name: ClassVar[str] = "chexpert-rules-uncertain"
    title: ClassVar[str] = "chexpert-rules-uncertain"
    convention: ClassVar[Convention] = CONVENTIONS["bench"]
