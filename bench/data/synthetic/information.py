"""How much the films say of the reports: exactly, from the generator's own probabilities.

A report W follows from what is to be said of the findings F (`said`), from the reader r (both of
which the film shows) and from free choices that nothing on the film tells of: I(film; W) is at most
I(F, r; W). Every sentence names what it is about, so W determines F; r is drawn apart from F. Hence

    I(F, r; W) = H(F) + I(r; W | F),

with H(F) from the tables of illnesses, and I(r; W | F) from the phrasings that are chosen: given F
and which optional sentences are there, they are independent given r, and their counts by length of
the list of phrasings suffice. A model's vocabulary and length limit can only lower it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from bench.data.synthetic.canvas import generator
from bench.data.synthetic.cases import (
    BILATERAL,
    COLLIMATED,
    DEVICES,
    FEMALE,
    FINDINGS,
    GRADELESS,
    GRADES,
    ILLNESSES,
    RIGHT,
    RIGHT_DEVICES,
    SIDELESS,
    VERSION,
    ZONES,
    Case,
    Finding,
    anatomy,
    case,
)
from bench.data.synthetic.language import (
    LOYALTY,
    SKEW,
    Phrases,
    Writer,
    compose,
    favourite,
    reader,
)

Said = tuple[tuple[str, ...], ...]
Shape = tuple[tuple[int, int], ...]  # (phrasings of a list, how many sentences use such a list)
READERS = ((1 - COLLIMATED) * (1 - FEMALE), (1 - COLLIMATED) * FEMALE, COLLIMATED)


def said(findings: Sequence[Finding]) -> Said:
    """What a report says of the findings, whatever its wording: name, side, zone, grade, kind."""
    return tuple((f.name, f.side, f.zone, f.severity, f.kind) for f in findings)


def phrasing(habit: int, phrasings: int) -> np.ndarray:
    """Probabilities (phrasings,) with which a reader chooses among them."""
    free = np.array(SKEW[:phrasings]) / sum(SKEW[:phrasings])
    loyal = np.eye(phrasings)[favourite(habit, phrasings)]
    return np.asarray(LOYALTY * loyal + (1 - LOYALTY) * free)


# --- I(F, r; W) ---------------------------------------------------------------------------------


@cache
def ceiling() -> float:
    """I(F, r; W) in nats: no model can read more of the reports from the films."""
    shares = findings_shares()
    entropy = -sum(p * math.log(p) for p in shares.values())
    wording = sum(
        p * q * reader_information(shape)
        for findings, p in shares.items()
        for shape, q in shapes(tuple((n, side, kind) for n, side, _, _, kind in findings)).items()
    )
    return entropy + wording


@cache
def findings_shares() -> dict[Said, float]:
    """Probability of all that a report can say of findings."""
    total = sum(share for share, _ in ILLNESSES.values())
    shares: dict[Said, float] = {}
    for illness, (share, odds) in ILLNESSES.items():
        columns = [list(_options(name, odds.get(name, 0.0), illness)) for name in FINDINGS]
        for chosen in product(*columns):
            findings = tuple(f for some, _ in chosen for f in some)
            odd = share / total * math.prod(p for _, p in chosen)
            shares[findings] = shares.get(findings, 0.0) + odd
    return {findings: p for findings, p in shares.items() if p}


def _options(name: str, probability: float, illness: str) -> Iterator[tuple[Said, float]]:
    """A finding as it can be, with the probability of each; () where it is absent."""
    yield (), 1 - probability
    if not probability:
        return
    zones = ZONES.get(name, {"": 1.0})
    grades = {"": 1.0} if name in GRADELESS else GRADES
    kinds = DEVICES[illness] if name == "device" else {"": 1.0}
    for (zone, a), (grade, b), (kind, c) in product(zones.items(), grades.items(), kinds.items()):
        share = a * b * c / (sum(zones.values()) * sum(grades.values()) * sum(kinds.values()))
        for sides, d in _sides(name, kind):
            yield tuple((name, s, zone, grade, kind) for s in sides), probability * share * d


def _sides(name: str, kind: str) -> list[tuple[tuple[str, ...], float]]:
    if name in SIDELESS and kind not in RIGHT_DEVICES:
        return [(("",), 1.0)]
    both, right = BILATERAL.get(name, 0.0), RIGHT_DEVICES.get(kind, RIGHT)
    one: list[tuple[tuple[str, ...], float]] = [
        (("right",), (1 - both) * right),
        (("left",), (1 - both) * (1 - right)),
    ]
    return [*one, (("right", "left"), both)] if both else one


class _Script(Writer):
    """Takes the optional sentences as told, and notes how many phrasings each sentence has."""

    def __init__(self, answers: Sequence[bool]) -> None:
        self.answers, self.probability = list(answers), 1.0
        self.lists: Counter[int] = Counter()

    def say(self, phrases: Phrases, finding: Finding | None = None) -> str:
        self.lists[len(phrases)] += 1
        return ""

    def chance(self, probability: float) -> bool:
        if not self.answers:
            return False  # the order of sentences: it changes none
        answer = self.answers.pop(0)
        self.probability *= probability if answer else 1 - probability
        return answer


@cache
def shapes(findings: tuple[tuple[str, str, str], ...]) -> dict[Shape, float]:
    """How many sentences of each kind a report has, with probabilities.

    findings: name, side and kind; zone and grade fill in words and choose no sentence.
    """
    told = tuple(Finding(name, side, "lower", "mild", kind) for name, side, kind in findings)
    found: dict[Shape, float] = {}
    for answers in product((True, False), repeat=2):  # the first two choices add sentences
        script = _Script(answers)
        compose(script, Case("", "", anatomy(""), told))
        shape = tuple(sorted(script.lists.items()))
        found[shape] = found.get(shape, 0.0) + script.probability
    return found


@cache
def reader_information(shape: Shape) -> float:
    """I(reader; phrasings) in nats, of sentences whose lists have that `shape`."""
    given = np.ones((1, len(READERS)))  # (outcomes, readers) probabilities given the reader
    for phrasings, sentences in shape:
        one = _count_probabilities(phrasings, sentences)
        given = (given[:, None] * one[None]).reshape(-1, len(READERS))
    shares = np.array(READERS)
    mixture = given @ shares
    return float((given * shares * np.log(given / mixture[:, None])).sum())


def _count_probabilities(phrasings: int, sentences: int) -> np.ndarray:
    """(outcomes, readers): of how often each phrasing is chosen, in independent choices."""
    odds = np.stack([phrasing(habit, phrasings) for habit in range(len(READERS))])
    return np.array(
        [
            _ways(counts) * np.prod(odds ** np.array(counts), axis=1)
            for counts in product(range(sentences + 1), repeat=phrasings)
            if sum(counts) == sentences
        ]
    )


def _ways(counts: Sequence[int]) -> int:
    return math.factorial(sum(counts)) // math.prod(math.factorial(c) for c in counts)


# --- p(report | film) ---------------------------------------------------------------------------


class _Recorder(Writer):
    """Writes as the generator does, and notes which phrasing of how many each sentence took."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.choices: list[tuple[int, int]] = []

    def say(self, phrases: Phrases, finding: Finding | None = None) -> str:
        text = super().say(phrases, finding)
        written = [self.filled(phrase, finding) for phrase in phrases]
        self.choices.append((written.index(text), len(phrases)))
        return text


def choices(study: str) -> list[tuple[int, int]]:
    """Per sentence of a study's report the phrasing that it took, and of how many."""
    found = case(study)
    writer = _Recorder(generator(VERSION, "report", study), reader(found))
    compose(writer, found)
    return writer.choices


def wording(study: str) -> np.ndarray:
    """(readers,) log-probability of the phrasings of a study's report, had another one read it."""
    taken = choices(study)
    return np.array(
        [sum(math.log(phrasing(r, n)[i]) for i, n in taken) for r in range(len(READERS))]
    )


def log_likelihoods(ids: Sequence[str], studies: np.ndarray) -> np.ndarray:
    """log p(report i | film of study [i, j]) up to what is the same for a whole row; (n, m).

    `studies` (n, m) are rows of `ids`, negative for none (NaN). -inf where the film shows other
    things than the report says. What a reader who knows the generator would say of the films.
    """
    shown = [said(case(i).findings) for i in ids]
    readers = [reader(case(i)) for i in ids]
    found = np.full(studies.shape, np.nan)
    for i, row in enumerate(studies):
        likely = wording(ids[i])
        for j, other in enumerate(row):
            if other >= 0:
                same = shown[other] == shown[i]
                found[i, j] = likely[readers[other]] if same else -np.inf
    return found
