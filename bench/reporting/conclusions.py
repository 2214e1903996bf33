"""What a suite's runs come to, in a few sentences with numbers, by rules and for every board.

The same sentences stand in README, report, page and terminal. The rules, in the order of the
sentences (a test is one over seeds and studies, corrected by Holm over the suite's rows):

findings  a row reads findings where its reports' micro-F1 of findings lies above that of every
          floor; it names none where each of its trainings scores exactly what a constant report
          scores
wording   a row that reads no findings reads the wording where its reports have a higher CIDEr for
          their own studies than for others
floors    a row beats every floor in a metric where it lies above the best one
claims    verdicts of the ledger (`bench.stats.verdicts`)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.metrics.registry import BRIEF
from bench.reporting import sections
from bench.reporting.claims import Entry, ledger
from bench.reporting.tables import Figure
from bench.runs.controls import SHUFFLED
from bench.spec import TREATMENT
from bench.stats.compare import Comparison, corrected
from bench.stats.verdicts import (
    CONFIRMED,
    EXCLUDED,
    NO_EFFECT,
    ONE_TRAINING,
    REVERSED,
    TESTED,
    UNRESOLVED,
)
from bench.store import RunFolder, load_spec
from bench.suites.suite import floor_title
from bench.terminal import number

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

F1, RAW = "chexpert-rules-F1-micro-14", "raw"  # what "findings" are read by
WORDED = "CIDEr"  # what the gain from images is told by
DISTINCT = "diversity-unique"
FINDINGS, WORDING, OPEN = "findings", "wording", "open"
MARKS = {
    FINDINGS: "names findings beyond every floor",
    WORDING: "reads how reports are worded, no findings beyond every floor",
    OPEN: "neither is shown",
}
SAME = 1e-9  # of scores that are equal
FEW = 3  # claims named in a sentence
MOST, SOME = 6, 4  # rows named one by one, and those named of more


@dataclass(frozen=True)
class Reading:
    """What a trained row takes from the images.

    silent: each training scores the constant report's F1. distinct: different reports of all, the
    mean over trainings; None where it was not counted. own, other: CIDEr with the images of the
    study and of others. lone: of one training, of which nothing is shown.
    """

    row: str
    kind: str
    f1: Figure | None = None
    silent: bool = False
    distinct: float | None = None
    own: float | None = None
    other: float | None = None
    lone: bool = False


def readings(suite: Summary) -> dict[str, Reading]:
    """Every trained row's, in the order of the suite."""
    gains = {
        row: c
        for (row, metric), c in sections.image_gain(suite, SHUFFLED).items()
        if metric == WORDED
    }
    tested = dict(zip(gains, corrected(list(gains.values())), strict=True))
    above = above_floors(suite, F1, RAW)
    return {row: _reading(suite, row, above, tested.get(row)) for row in suite.trained}


def _reading(
    suite: Summary, row: str, above: Mapping[str, Comparison], gain: Comparison | None
) -> Reading:
    known = suite.has(F1, RAW, [row])
    kind = OPEN
    if row in above and higher(above[row]):
        kind = FINDINGS
    elif gain is not None and higher(gain):
        kind = WORDING
    return Reading(
        row,
        kind,
        suite.figure(row, F1, RAW) if known else None,
        known and _silent(suite, row),
        distinct(suite, row),
        None if gain is None else gain.value_a,
        None if gain is None else gain.value_b,
        suite.trainings(row) == 1,
    )


def higher(c: Comparison) -> bool:
    """Whether a difference is shown to be above 0; of one training nothing is."""
    return c.distinguishable and c.difference > 0 and not c.lone


def _silent(suite: Summary, row: str) -> bool:
    """Whether all trainings name what a report names that looks at no image."""
    fixed = [f for f in suite.floors if distinct(suite, f) == 1 and suite.has(F1, RAW, [f])]
    if not fixed:
        return False
    value = suite.figure(fixed[0], F1, RAW).value
    return bool(np.all(np.abs(suite.per_run(row, F1, RAW) - value) < SAME))


def distinct(suite: Summary, row: str) -> float | None:
    """Different reports of a row, of all that it writes; the mean over trainings."""
    if row not in suite.keys or not suite.has(DISTINCT, TREATMENT, [row]):
        return None
    shares = suite.per_run(row, DISTINCT, TREATMENT)
    return round(float(shares.mean()) * studies(suite), 6)


def studies(suite: Summary) -> int:
    return len(suite.data.split("test"))


def best_floor(suite: Summary, metric: str, text: str) -> str:
    """The floor of the highest score; "" where none has it."""
    ranked = [f for f in suite.floors if suite.has(metric, text, [f])]
    return max(ranked, key=lambda f: suite.figure(f, metric, text).value, default="")


def above_floors(suite: Summary, metric: str, text: str) -> dict[str, Comparison]:
    """Each trained row against the best floor in one score, corrected over the rows."""
    floor = best_floor(suite, metric, text)
    rows = [r for r in suite.trained if floor and suite.has(metric, text, [r])]
    found = corrected([suite.compare(r, floor, metric, text) for r in rows])
    return dict(zip(rows, found, strict=True))


# --- sentences ----------------------------------------------------------------------------------


def conclusions(suite: Summary) -> list[str]:
    """Three to five sentences; none where no trained row was scored."""
    found = readings(suite)
    if not found:
        return []
    entries = ledger(suite)
    said = [
        _findings(suite, found),
        _wording(found),
        _floors(suite),
        _claims(entries),
        _scope(suite),
    ]
    return [sentence for sentence in said if sentence]


def _findings(suite: Summary, found: Mapping[str, Reading]) -> str:
    known = [r for r in found.values() if r.f1 is not None]
    floor = best_floor(suite, F1, RAW)
    if not known or not floor:
        return ""
    against = f"{number(suite.figure(floor, F1, RAW).value)} ({floor_title(floor)})"
    readers = [r for r in known if r.kind == FINDINGS]
    silent = [r for r in known if r.silent]
    between = [r for r in known if r not in readers and r not in silent]
    if readers:
        values = span(r.f1.value for r in readers if r.f1)
        text = (
            f"{listed(r.row for r in readers)} {verb(readers, 'names')} findings beyond every "
            f"floor: micro-F1 {values}, the best floor's {against}"
        )
    else:
        text = (
            f"No row is shown to name findings beyond every floor (the best has micro-F1 {against})"
        )
    if between:
        values = span(r.f1.value for r in between if r.f1)
        named = listed(r.row for r in between)
        lone = _lone([r.row for r in between], [r.row for r in between if r.lone])
        text += (
            f"; for {named} ({values}) this is not shown{lone}"
            if readers
            else f"; {named} {verb(between, 'reaches')} {values}"
        )
    if silent:
        text += (
            f"; {listed(r.row for r in silent)} {verb(silent, 'names')} no finding at all: "
            f"{'its' if len(silent) == 1 else 'their'} F1 is the constant report's"
            f"{_written(suite, silent)}"
        )
    return text + "."


def _written(suite: Summary, rows: Sequence[Reading]) -> str:
    counts = [r.distinct for r in rows if r.distinct is not None]
    if not counts:
        return ""
    many = " to ".join(dict.fromkeys(f"{x:.0f}" for x in (min(counts), max(counts))))
    who = "it writes" if len(rows) == 1 else "they write"
    return f", and {who} {many} distinct reports of {studies(suite)}"


def _wording(found: Mapping[str, Reading]) -> str:
    words = [r for r in found.values() if r.kind == WORDING and r.own is not None]
    rest = [r for r in found.values() if r.kind == OPEN]
    if not words:
        return ""
    own, other = span([r.own or 0.0 for r in words], 2), span([r.other or 0.0 for r in words], 2)
    text = (
        f"From the images {listed(r.row for r in words)} {verb(words, 'reads')} how a report is "
        f"worded: {WORDED} {own}, but {other} with the images of other studies"
    )
    if rest:
        text += (
            f"; for {listed(r.row for r in rest)} not even that is shown"
            f"{_lone([r.row for r in rest], [r.row for r in rest if r.lone])}"
        )
    return text + "."


def _floors(suite: Summary) -> str:
    parts = []
    for metric in BRIEF:
        found = above_floors(suite, metric, TREATMENT)
        if not found:
            continue
        floor = best_floor(suite, metric, TREATMENT)
        not_above = [row for row, c in found.items() if not higher(c)]
        size = number(suite.figure(floor, metric, TREATMENT).value)
        beaten = f"the best floor ({floor_title(floor)}, {size})"
        if not not_above:
            parts.append(f"every row is above {beaten} in {metric}")
        elif len(not_above) == len(found):
            parts.append(f"no row is shown to be above {beaten} in {metric}")
        else:
            count = len(found) - len(not_above)
            parts.append(
                f"{count} of {len(found)} rows are shown to be above {beaten} in {metric}, not "
                f"{listed(not_above)}{_lone(not_above, [r for r in not_above if found[r].lone])}"
            )
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _lone(rows: Sequence[str], lone: Sequence[str]) -> str:
    """Which of some rows are of one training: nothing can be shown of them, however high."""
    if not lone:
        return ""
    if len(lone) < len(rows):
        return f" (one training: {listed(lone)})"
    return " (one training)" if len(lone) == 1 else " (one training each)"


def _claims(entries: Sequence[Entry]) -> str:
    tested = [e for e in entries if e.metric and e.verdict.kind in TESTED]
    if not tested:
        return ""
    counts = Counter(e.verdict.kind for e in tested)
    named = {
        kind: list(dict.fromkeys(e.claim.text for e in tested if e.verdict.kind == kind and e.star))
        for kind in (CONFIRMED, REVERSED)
    }
    parts = [
        f"{counts[kind]} {kind}{_named(named.get(kind, []))}"
        for kind in (CONFIRMED, REVERSED)
        if counts[kind]
    ]
    if small := counts[EXCLUDED] + counts[NO_EFFECT]:
        parts.append(f"{small} of excluded size or without practical effect")
    if counts[UNRESOLVED]:
        parts.append(f"{counts[UNRESOLVED]} open")
    single = sum(bool(e.metric) and e.verdict.kind == ONE_TRAINING for e in entries)
    more = f"; {single} more wait for a second training" if single else ""
    return (
        f"Of the UAR paper's claims about these rows, {len(tested)} in one metric each: "
        f"{', '.join(parts)}{more}."
    )


def _named(texts: Sequence[str]) -> str:
    """Those that hold for the whole family, the first few by name."""
    if not texts:
        return ""
    more = f" and {len(texts) - FEW} more" if len(texts) > FEW else ""
    return f" (after Holm: {'; '.join(texts[:FEW])}{more})"


def _scope(suite: Summary) -> str:
    counts = sorted({suite.trainings(r) for r in suite.trained})
    times = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    each = "one training" if counts == [1] else f"{times} trainings"
    folds = f" in each of {suite.folds} folds" if suite.folds > 1 else ""
    lone = counts == [1] and not folds
    alone = " One training of a row settles nothing about methods." if lone else ""
    return (
        f"All of this holds for {suite.read_as}, {each}{_budget(suite)} a row{folds}, "
        f"{studies(suite):,} test studies.{alone}"
    )


def _budget(suite: Summary) -> str:
    """` of 8,000 examples`, where all rows have one budget."""
    runs = [run for row in suite.trained for run in suite.keys[row][:1]]
    budgets = {load_spec(RunFolder(suite.contrasts.out, run)).budget for run in runs}
    if len(budgets) != 1:
        return ""
    [budget] = budgets
    return f" of {budget.amount:,.0f} {budget.unit}"


# --- words --------------------------------------------------------------------------------------


def listed(names: Iterable[str]) -> str:
    """a, b and c; of many the first four and how many more: the tables have all."""
    found = list(names)
    if len(found) > MOST:
        found = [*found[:SOME], f"{len(found) - SOME} more"]
    *most, last = found
    return f"{', '.join(most)} and {last}" if most else last


def verb(rows: Sequence[object], third: str) -> str:
    """The verb for one row or for several."""
    return third if len(rows) == 1 else third.removesuffix("es" if third.endswith("ches") else "s")


def span(values: Iterable[float], digits: int = 3) -> str:
    """.123 to .456, or .123"""
    found = list(values)
    ends = (number(min(found), digits), number(max(found), digits))
    return " to ".join(dict.fromkeys(ends))
