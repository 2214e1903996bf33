"""The claims of a paper, and what our runs say of each: the ledger, as data.

`bench.stats.verdicts` has the rules. A claim that speaks of several metrics together
("on all metrics") has a line of its own after theirs: an intersection-union test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log

from bench.canonical import from_dict
from bench.config import load_yaml
from bench.errors import BenchError, unknown
from bench.metrics import registry
from bench.reporting.contrasts import text_of
from bench.reporting.summary import Summary
from bench.spec import TREATMENT
from bench.stats import holm
from bench.stats.effect import Effect, main_effect
from bench.stats.power import ALPHA
from bench.stats.verdicts import (
    CONFIRMED,
    EXCLUDED,
    NO_EFFECT,
    NOT_MEASURED,
    NOT_RUN,
    ONE_TRAINING,
    REVERSED,
    UNRESOLVED,
    Verdict,
    judge,
    oriented,
)

DIRECTIONS = ("higher", "lower")
DISAGREE = "text and table disagree"


@dataclass(frozen=True)
class Claim:
    """The rows `a` are said to be `direction` than the rows `b`; see conf/claims/uar.yaml."""

    section: str
    text: str
    a: tuple[str, ...] = ()
    b: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    all: bool = False
    primary: str = ""
    direction: str = "higher"
    paper: str = ""
    family: bool = True
    unmeasured: str = ""

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise unknown("direction", self.direction, DIRECTIONS)
        if not self.unmeasured and (not self.a or len(self.a) != len(self.b) or not self.metrics):
            raise BenchError(
                f"claim {self.text!r} has {len(self.a)} rows a, {len(self.b)} rows b and "
                f"{len(self.metrics)} metrics",
                "give as many rows on either side and a metric, or say why it is unmeasured",
            )
        if self.primary and self.primary not in self.metrics:
            raise unknown(f"primary metric of {self.text!r}", self.primary, self.metrics)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return list(zip(self.a, self.b, strict=True))

    @property
    def stands_for(self) -> str:
        """The metric by which the contrast is counted in the family."""
        return self.primary or self.metrics[0]

    @property
    def rows(self) -> str:
        """a - BASE, or (a - BASE + e - d) / 2."""
        text = " + ".join(f"{a} - {b}" for a, b in self.pairs)
        return text if len(self.a) == 1 else f"({text}) / {len(self.a)}"


@dataclass(frozen=True)
class Entry:
    """One line of the ledger: a claim in one metric ("" for all of its metrics together)."""

    claim: Claim
    metric: str
    verdict: Verdict
    effect: Effect | None = None  # oriented to the claim
    claimed: float | None = None  # on the effect's scale, oriented to the claim
    ratio: bool = False  # the scale is that of the logarithm of a ratio
    star: bool = False  # it holds after Holm over the contrasts
    family: int = 0  # contrasts in that family

    @property
    def disagrees(self) -> bool:
        """The paper's own table prints no difference in the direction that its text claims."""
        return self.claimed is not None and self.claimed <= 0

    @property
    def counted(self) -> bool:
        """Whether this line stands for its contrast in the family of directions."""
        return self.claim.family and self.metric == ("" if self.claim.all else self.primary)

    @property
    def primary(self) -> str:
        """The metric by which the contrast is counted; none where nothing is measured."""
        return NOT_MEASURED if self.claim.unmeasured else self.claim.stands_for


def claims(name: str = "uar") -> list[Claim]:
    """The claims of conf/claims/<name>.yaml; one on all metrics has those of the whole file."""
    content = load_yaml("claims", name)
    found = []
    for i, entry in enumerate(content["claims"]):
        given = {"metrics": content["metrics"], **entry} if entry.get("all") else entry
        found.append(from_dict(Claim, given, f"claims {name}[{i}]"))
    return found


def ledger(suite: Summary, name: str = "uar") -> list[Entry]:
    """Every claim held against the runs; of rows that were not run nothing is said."""
    other = load_yaml("claims", name)["dataset"] != suite.dataset
    lines = [entry for claim in claims(name) for entry in _entries(suite, claim, other)]
    return _starred(lines)


def _entries(suite: Summary, claim: Claim, other: bool) -> list[Entry]:
    """`other`: our data are not the paper's, so that its sizes hold as ratios, if at all."""
    ratio = other and bool(claim.paper)
    if claim.unmeasured:
        return [Entry(claim, "", Verdict(NOT_MEASURED, claim.unmeasured))]
    rows = {*claim.a, *claim.b}
    alone = suite.folds == 1  # folds show how trainings differ
    lone = alone and any(suite.trainings(r) == 1 and r not in suite.floors for r in rows)
    lines = []
    for metric in claim.metrics:
        effect = _effect(suite, claim, metric, ratio)
        claimed = printed(claim, metric, ratio)
        verdict = judge(effect, claimed, lone)
        lines.append(Entry(claim, metric, verdict, effect, claimed, ratio))
    return [*lines, _together(claim, lines, ratio)] if claim.all else lines


def _effect(suite: Summary, claim: Claim, metric: str, ratio: bool) -> Effect | None:
    if not _has(suite, claim, metric):
        return None
    weights = main_effect(claim.pairs)
    found = suite.contrasts.effect(suite.keys, weights, metric, _text(metric), ratio)
    return oriented(found, claim.direction)


def has_run(suite: Summary, claim: Claim) -> bool:
    """Whether the runs can say something in the metric by which the contrast is counted."""
    return not claim.unmeasured and _has(suite, claim, claim.stands_for)


def _has(suite: Summary, claim: Claim, metric: str) -> bool:
    rows = [*claim.a, *claim.b]
    return all(row in suite.keys for row in rows) and suite.has(metric, _text(metric), rows)


def _text(metric: str) -> str:
    """The treatment under which a metric is claimed: the published one, if it reads that."""
    return text_of(registry.family(metric), TREATMENT)


def printed(claim: Claim, metric: str, ratio: bool) -> float | None:
    """The difference that the paper prints (or the logarithm of the ratio), oriented to the
    claim; None where it prints none."""
    if not claim.paper:
        return None
    paper = load_yaml("paper", claim.paper)
    known = {
        row: dict(zip(paper["metrics"], values, strict=True)).get(metric)
        for row, values in paper["rows"].items()
    }
    sizes = []
    for pair in claim.pairs:
        a, b = (known.get(row) for row in pair)
        if a is None or b is None:
            return None
        sizes.append(log(a / b) if ratio else a - b)
    # What is printed has three digits; equal numbers are equal.
    size = round(sum(sizes) / len(sizes), 9)
    return size if claim.direction == "higher" else -size


def _together(claim: Claim, lines: Sequence[Entry], ratio: bool) -> Entry:
    """The claim on all of its metrics: confirmed if each is, reversed if each is or if Bonferroni
    lets one speak for it; its size is excluded where each metric's is, or what is more.

    p: of an intersection-union test, the largest, where all point to the claim or each is
    reversed; else that of the metric which points most clearly away, times the number of metrics
    (Bonferroni).
    """
    kinds = [entry.verdict.kind for entry in lines]
    tested = [e.effect for e in lines if e.effect is not None]
    for kind in (NOT_RUN, ONE_TRAINING):
        if kind in kinds:
            return Entry(claim, "", Verdict(kind), ratio=ratio)
    if all(e.value > 0 for e in tested) or all(k == REVERSED for k in kinds):
        p = max(effect.p() for effect in tested)
    else:
        p = min(1.0, len(tested) * min(e.p() for e in tested if e.value <= 0))
    for kind in (CONFIRMED, REVERSED):
        if all(k == kind for k in kinds):
            return Entry(claim, "", Verdict(kind, f"in all {len(kinds)}", p), ratio=ratio)
    if REVERSED in kinds and p <= ALPHA:
        detail = f"in {kinds.count(REVERSED)} of {len(kinds)}"
        return Entry(claim, "", Verdict(REVERSED, detail, p), ratio=ratio)
    if set(kinds) <= {EXCLUDED, NO_EFFECT, REVERSED}:
        detail = f"in all {len(kinds)}"
        return Entry(claim, "", Verdict(EXCLUDED, detail, p), ratio=ratio)
    detail = f"confirmed in {kinds.count(CONFIRMED)} of {len(kinds)}"
    return Entry(claim, "", Verdict(UNRESOLVED, detail, p), ratio=ratio)


def _starred(lines: Sequence[Entry]) -> list[Entry]:
    """A star where the verdict's own test holds after Holm over the contrasts.

    Each question has its family: does the effect differ from 0, from the claimed size, does it
    lie within half of that. Each has one line a contrast.
    """
    judged = [i for i, e in enumerate(lines) if e.claim.family and e.verdict.p is not None]
    counted = [i for i in judged if lines[i].counted]
    sized = [
        (i, e.effect, e.claimed)
        for i in judged
        for e in [lines[i]]
        if e.metric == e.primary and e.effect and e.claimed is not None and e.claimed > 0
    ]
    questions: Mapping[tuple[str, ...], dict[int, float]] = {
        (CONFIRMED, REVERSED): {i: _direction(lines[i]) for i in counted},
        (EXCLUDED,): {i: effect.p(size) for i, effect, size in sized},
        (NO_EFFECT,): {i: effect.equivalence(size / 2) for i, effect, size in sized},
    }
    found = list(lines)
    for kinds, tests in questions.items():
        for i, p in zip(tests, holm(list(tests.values())), strict=True):
            if lines[i].verdict.kind in kinds:
                found[i] = replace(found[i], star=p <= ALPHA)
    return [replace(e, family=len(counted)) if e.counted else e for e in found]


def _direction(entry: Entry) -> float:
    """The p of "no effect" of the line that stands for a contrast."""
    if entry.effect is None:
        assert entry.verdict.p is not None
        return entry.verdict.p
    return entry.effect.p()
