"""A paper's table in brief: one line a row, and what matters of it.

Value and half-width of the 95 % interval in the scores that stand for the others (`BRIEF`), the
change against the table's first row, as the paper prints it and as we find it; then the findings,
how many different reports a row writes, and what it reads from the images
(`bench.reporting.conclusions`). The paper's own values stand there only where they are of the
same data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.config import load_yaml
from bench.metrics.registry import BRIEF
from bench.reporting import sections
from bench.reporting.conclusions import F1, MARKS, RAW, Reading, distinct, readings, studies
from bench.reporting.layout import Cell, Column, Row, Sheet
from bench.reporting.tables import NOT_RUN, SHORT, cell
from bench.spec import TREATMENT
from bench.stats.compare import Comparison, corrected
from bench.suites.suite import Table, floor_title
from bench.terminal import number

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

NONE = "–"
UP, DOWN, STAR = "↑", "↓", "*"


def sheet(suite: Summary, table: Table) -> Sheet:
    """Of a table's rows and the floors, under the published text treatment."""
    paper = load_yaml("paper", table.paper) if table.paper else {}
    same = paper.get("dataset") == suite.dataset
    found = readings(suite)
    changes = {(c.a, c.score): c for m in BRIEF for c in _changes(suite, table, m)}
    columns = [*_head(table), *_columns(table, bool(paper), same)]
    ticks = {row.name: row.ticks for row in suite.suite.rows}
    rows = [
        Row(
            (
                Cell(name),
                *(_tick(t in ticks.get(name, ())) for t in table.ticks),
                *_cells(suite, name, table, paper, same, changes),
                *_read(suite, name, found.get(name)),
            ),
            "ours",
        )
        for name in table.rows
    ]
    rows += [_floor(suite, floor, table, paper, same) for floor in suite.floors]
    return Sheet(table.title, tuple(columns), tuple(rows), tuple(_notes(suite, table, paper, same)))


def _changes(suite: Summary, table: Table, metric: str) -> tuple[Comparison, ...]:
    """Each row against the first, corrected over the rows in this score."""
    first, *rest = [
        row for row in table.rows if row in suite.keys and suite.has(metric, TREATMENT, [row])
    ] or [""]
    if first != table.rows[0]:
        return ()
    return corrected([suite.compare(row, first, metric, TREATMENT) for row in rest])


def _head(table: Table) -> list[Column]:
    return [
        Column("row", key=True),
        *(Column(tick, short=SHORT.get(tick, tick)) for tick in table.ticks),
    ]


def _columns(table: Table, paper: bool, same: bool) -> Iterator[Column]:
    for m in BRIEF:
        yield Column(m, (m, f"{m} low", f"{m} high"), right=True, group=m, short="ours")
        if same:
            yield Column(f"{m} paper", right=True, group=m, short="paper")
        if len(table.rows) > 1:
            if paper:
                yield Column(f"Δ {m} paper", right=True, group=m, short="paper Δ")
            names = tuple(f"Δ {m}{part}" for part in ("", " low", " high", " p"))
            yield Column(f"Δ {m}", names, right=True, group=m, short="ours Δ")
    f1 = ("findings F1", "findings F1 low", "findings F1 high")
    yield Column("findings F1", f1, right=True, group="findings", short="F1")
    yield Column("reports", ("distinct reports", "studies"), right=True, group="findings")
    yield Column("reads", group="findings")


def _tick(ticked: bool) -> Cell:
    return Cell("✓" if ticked else "", numbers=("1" if ticked else "",))


def _cells(
    suite: Summary,
    row: str,
    table: Table,
    paper: Mapping[str, Any],
    same: bool,
    changes: Mapping[tuple[str, str], Comparison],
) -> Iterator[Cell]:
    """The scores of a row, and its changes; a floor has no changes."""
    for m in BRIEF:
        known = row in suite.keys and suite.has(m, TREATMENT, [row])
        yield cell(suite.figure(row, m, TREATMENT)) if known else Cell(NOT_RUN, numbers=(None,) * 3)
        printed = _published(paper, row, m)
        if same:
            yield _quiet(printed, signed=False)
        if len(table.rows) > 1:
            first = _published(paper, table.rows[0], m)
            if paper:
                both = printed is not None and first is not None and row != table.rows[0]
                yield _quiet(printed - first if both else None)  # type: ignore[operator]
            yield _change(changes.get((row, m)))


def _published(paper: Mapping[str, Any], row: str, metric: str) -> float | None:
    values = paper.get("rows", {}).get(row)
    if values is None:
        return None
    return dict(zip(paper["metrics"], values, strict=True)).get(metric)


def _quiet(value: float | None, signed: bool = True) -> Cell:
    if value is None:
        return Cell("", numbers=(None,))
    plus = "+" if signed and value > 0 else ""
    return Cell(plus + number(value), quiet=True, numbers=(value,))


def _change(c: Comparison | None) -> Cell:
    """An arrow where the interval leaves out 0, a star where that holds after Holm."""
    if c is None:
        return Cell("", numbers=(None,) * 4)
    mark = (UP if c.difference > 0 else DOWN) if c.separate and not c.lone else ""
    star = STAR if mark and c.distinguishable else ""
    plus = "+" if c.difference > 0 else ""
    text = f"{plus}{number(c.difference)}{mark}{star}"
    return Cell(text, numbers=(c.difference, c.low, c.high, c.p))


def _read(suite: Summary, row: str, reading: Reading | None) -> tuple[Cell, Cell, Cell]:
    f1 = reading.f1 if reading else None
    return (
        Cell(NONE, numbers=(None,) * 3) if f1 is None else cell(f1),
        _count(suite, row),
        Cell(reading.kind if reading else ""),
    )


def _count(suite: Summary, row: str) -> Cell:
    count = distinct(suite, row)
    if count is None:
        return Cell(NONE, numbers=(None, None))
    return Cell(f"{count:.0f}/{studies(suite)}", numbers=(count, studies(suite)))


def _floor(suite: Summary, floor: str, table: Table, paper: Mapping[str, Any], same: bool) -> Row:
    known = suite.has(F1, RAW, [floor])
    return Row(
        (
            Cell(floor_title(floor)),
            *(_tick(False) for _ in table.ticks),
            *_cells(suite, floor, table, paper, same, {}),
            cell(suite.figure(floor, F1, RAW)) if known else Cell(NONE, numbers=(None,) * 3),
            _count(suite, floor),
            Cell(""),
        ),
        "floor",
    )


def _notes(suite: Summary, table: Table, paper: Mapping[str, Any], same: bool) -> Iterator[str]:
    kinds: Sequence[str] = list(MARKS)
    yield (
        f"Ours: {suite.read_as}, test split, text treatment {TREATMENT}; ±: half the 95 % interval "
        "over studies and, of several trainings, seeds."
    )
    if len(table.rows) > 1:
        yield (
            f"Δ: change against {table.rows[0]}; {UP}{DOWN}: its own interval leaves out 0, "
            f"{STAR}: also after Holm over the rows."
        )
    if paper and len(table.rows) > 1:
        where = "" if same else f" on {paper['dataset']}, whose values are not comparable with ours"
        yield f"Δ paper: as {paper['source']} prints it{where}."
    yield (
        "Findings: micro-F1 of what the rule labeler reads in report and reference. Reports: "
        "different ones of all. Reads: "
        + "; ".join(f"{kind}, {MARKS[kind]}" for kind in kinds)
        + "."
    )
    yield from sections.one_run(suite, [r for r in table.rows if r in suite.trained])
    yield from suite.shared(table.rows)
    yield from suite.protocol_notes(table.rows)
