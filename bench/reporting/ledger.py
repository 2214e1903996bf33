"""The claims ledger as it is printed: one line a claim and metric, and how to read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import exp, isfinite

from bench.config import load_yaml
from bench.reporting.alignment_tables import HEADS
from bench.reporting.claims import DISAGREE, Entry
from bench.reporting.layout import Cell, Column, Row, Sheet
from bench.reporting.summary import RANKED_BY, Summary
from bench.spec import TREATMENT
from bench.stats.compare import TESTS
from bench.stats.power import ALPHA
from bench.stats.seeds import LIMIT, uneven
from bench.stats.verdicts import (
    CONFIRMED,
    EXCLUDED,
    KINDS,
    LEVEL,
    NO_EFFECT,
    REVERSED,
    TESTED,
    UNRESOLVED,
)
from bench.terminal import number, p_value

NONE = "–"
STAR, DAGGER = "*", "†"
TEST = TESTS["t"]


COLUMNS = (
    Column("section", heading=True),
    Column("claim", heading=True),
    Column("rows", heading=True),
    Column("metric", key=True),
    Column("paper", right=True),
    Column("ours [95 %]", ("ours", "low", "high"), right=True),
    Column("p", ("p_no_effect",), right=True),
    Column("verdict", ("verdict", "detail", "star", "p_verdict", "class", "detectable", "scale")),
)


def sheet(entries: Sequence[Entry], suite: Summary, name: str = "uar") -> Sheet:
    """The ledger as a table, with its notes."""
    source = load_yaml("claims", name)
    title = f"Claims of {source['source']}, held against runs on {suite.dataset}"
    lines: list[Row] = []
    for i, entry in enumerate(entries):
        first = not i or entries[i - 1].claim != entry.claim
        lines.append(Row(_cells(entry), entry.verdict.kind, first))
    return Sheet(title, COLUMNS, tuple(lines), tuple(notes(entries, suite, name)))


def _cells(entry: Entry) -> tuple[Cell, ...]:
    claim, effect = entry.claim, entry.effect
    whole = NONE if claim.unmeasured else "all of them"
    metric = HEADS.get(entry.metric, entry.metric) or whole
    p = entry.verdict.p if effect is None else effect.p()
    found = None if effect is None else (effect.value, *effect.interval(LEVEL))
    resolution = None if effect is None or entry.verdict.p is None else effect.detectable()
    text = f"{claim.text} ({claim.unmeasured})" if claim.unmeasured else claim.text
    beside = (
        entry.verdict.kind,
        entry.verdict.detail,
        int(entry.star),
        entry.verdict.p,
        DISAGREE if entry.disagrees else "",
        _scaled(entry, resolution),
        "per cent of b" if entry.ratio else "points",
    )
    return (
        Cell(claim.section),
        Cell(text),
        Cell("" if claim.unmeasured else claim.rows),
        Cell(metric, numbers=(entry.metric,)),
        Cell(_paper(entry), numbers=(_scaled(entry, entry.claimed),)),
        _ours(entry, found),
        Cell(NONE if p is None else p_value(p).removeprefix("p").strip(" ="), numbers=(p,)),
        Cell(_verdict(entry), numbers=beside),
    )


def _scaled(entry: Entry, value: float | None) -> float | None:
    """As it is printed: points, or per cent of the row that is compared with."""
    if value is None:
        return None
    return 100 * (exp(value) - 1) if entry.ratio else value


def _size(entry: Entry, value: float) -> str:
    """+12.3 of per cent, .123 of points."""
    scaled = _scaled(entry, value)
    assert scaled is not None
    if not entry.ratio:
        return number(scaled)
    text = f"{scaled:+.1f}"
    return text if float(text) else "0.0"


def _paper(entry: Entry) -> str:
    if entry.claimed is None:
        return NONE
    return _size(entry, entry.claimed) + _unit(entry) + (DAGGER if entry.disagrees else "")


def _unit(entry: Entry) -> str:
    return " %" if entry.ratio else ""


def _ours(entry: Entry, found: tuple[float, float, float] | None) -> Cell:
    if found is None or not all(map(isfinite, found)):
        return Cell(NONE, numbers=(None, None, None))
    value, low, high = (_size(entry, x) for x in found)
    numbers = tuple(_scaled(entry, x) for x in found)
    return Cell(f"{value}{_unit(entry)} [{low}, {high}]", numbers=numbers)


def _verdict(entry: Entry) -> str:
    verdict = entry.verdict
    text = verdict.kind + (STAR if entry.star else "")
    if entry.claim.unmeasured:
        return text
    if verdict.kind == UNRESOLVED and entry.effect is not None:
        size = _size(entry, entry.effect.detectable()).removeprefix("+")
        return f"{text} (would detect {size}{_unit(entry)})"
    return f"{text} ({verdict.detail})" if verdict.detail else text


# --- notes -------------------------------------------------------------------------------------


def notes(entries: Sequence[Entry], suite: Summary, name: str = "uar") -> list[str]:
    """What the ledger comes to, how its verdicts are made, and what they leave out."""
    source = load_yaml("claims", name)
    return [
        *_counted(entries),
        *_read(entries, suite, source["dataset"]),
        *_errors(entries),
        *_conditions(entries, suite),
    ]


def _counted(entries: Sequence[Entry]) -> list[str]:
    single = Counter(e.verdict.kind for e in entries if e.metric or e.claim.unmeasured)
    whole = Counter(e.verdict.kind for e in entries if not e.metric and not e.claim.unmeasured)
    contrasts = {e.claim.rows for e in entries if e.metric and e.verdict.kind == REVERSED}

    def listed(counts: Counter[str]) -> str:
        return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind])

    lines = [f"{sum(single.values())} claims, each in one metric: {listed(single)}."]
    if contrasts:
        lines[0] = lines[0][:-1] + f" (reversed: {len(contrasts)} contrasts)."
    if whole:
        lines.append(f"{sum(whole.values())} claims on all metrics together: {listed(whole)}.")
    return lines


def _read(entries: Sequence[Entry], suite: Summary, dataset: str) -> list[str]:
    same = suite.dataset == dataset
    scale = (
        "differences of the two sides"
        if same
        else "differences of the two sides in per cent of the second, 100 (exp(mean "
        "logarithm of their ratio) - 1) (in points where the paper gives no size)"
    )
    [family] = {e.family for e in entries if e.counted} or {0}
    lines = [
        f"Paper and ours: {scale}; positive is what the claim says. Ours: {suite.dataset}, test "
        f"split, {TREATMENT}, 95 % interval {_over(suite)}; p of its own {TEST}, not "
        "corrected, so that it is below .05 where the interval leaves out 0 (`p_verdict` in the "
        "CSV is that of the verdict's own question, to which a star belongs). In points instead "
        "of ratios, as `bench compare` has it, p can lie on the other side of .05 where it is "
        "near.",
        "Verdicts, the first that applies, from the interval [L, U] and the paper's size D: "
        f"confirmed, L > 0; reversed, U < 0; {NO_EFFECT}, the 90 % interval lies within D/2 "
        f"either way; {EXCLUDED}, U < D; unresolved, with the true size that this design finds "
        "4 times in 5.",
        f"{STAR} It also holds after Holm over {family} contrasts, in the primary metric of "
        "each; the direction of a claim on all metrics together in all of them (an intersection-"
        "union test). Single cells of a factorial and our controls are outside that family.",
    ]
    if not same:
        lines.append(
            f"The paper's sizes are of single runs on {dataset}; verdicts are about "
            f"{suite.dataset}."
        )
    if any(e.disagrees for e in entries):
        lines.append(f"{DAGGER} The paper's text and table disagree: its own numbers do not show "
                     "what it says, so that no size is held against ours.")  # fmt: skip
    return lines


def _over(suite: Summary) -> str:
    """What the interval counts, where rows were run once and where they were run in folds."""
    if suite.folds == 1:
        return "over seeds and studies"
    return (
        f"of the mean of {suite.folds} folds' differences, a t-test's over the folds, or over "
        "studies and seeds where these explain more (what training sets have in common is in "
        "neither: see the report's section on folds)"
    )


def _errors(entries: Sequence[Entry]) -> list[str]:
    """How many verdicts chance alone would make."""
    tested = [e for e in entries if e.metric and e.verdict.kind in TESTED]
    firm = [e for e in tested if e.verdict.kind in (CONFIRMED, REVERSED)]
    if not tested:
        return []
    expected = ALPHA * len(tested)
    return [
        f"Expected false verdicts: if no row differed from another, {expected:.1f} of the "
        f"{len(tested)} tested lines would be confirmed or reversed by chance (there are "
        f"{len(firm)}), in clusters, since the metrics of a contrast are almost one test; a true "
        f"size D would be excluded in 2.5 %, a true size of D/2 called {NO_EFFECT} in 5 %."
    ]


def _conditions(entries: Sequence[Entry], suite: Summary) -> list[str]:
    """What is the same in all trainings, and trainings that look unlike a normal sample."""
    rows = list(dict.fromkeys(r for e in entries for r in (*e.claim.a, *e.claim.b)))
    lines = [*suite.shared(rows)]
    if any(e.verdict.kind == "not run" and "alignment-control" in e.metric for e in entries):
        lines.append("alignment-control: runs from before this score hold no figures for it.")
    pairs = dict.fromkeys(p for e in entries if e.effect is not None for p in e.claim.pairs)
    warned = dict.fromkeys(w for pair in pairs for w in _uneven(suite, pair))
    if warned:
        lines.append(f"Seeds to look at, in {RANKED_BY}: {'; '.join(warned)}. {LIMIT}")
    return lines


def _uneven(suite: Summary, rows: Sequence[str]) -> tuple[str, ...]:
    return uneven({row: suite.per_run(row, RANKED_BY, TREATMENT) for row in rows})
