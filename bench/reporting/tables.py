"""Paper tables: paper | ours [interval] | delta | verdict, for every metric of a row.

A table is built once, as cells with the numbers behind them; `bench.reporting.sheet` prints it.
Numbers are rounded here and nowhere before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.config import load_yaml
from bench.metrics import registry
from bench.reporting.layout import Cell, Column, Row, Sheet
from bench.reporting.sheet import render as print_sheet
from bench.suites.suite import Table, floor_title
from bench.terminal import number

NOT_RUN = "not run"
ONE_TRAINING = "one training"
NONE = "–"
SHORT = {"Integration": "Int.", "L_global": "Lg", "Two-stage": "2-st."}  # parts, where it is narrow
# Measured by `bench.scripts.coverage`; a test holds these figures to its record.
MACRO_NOTE = (
    "Intervals of macro averages are too short where observations are rare: in simulated cases "
    "with known truth, 74 % of the 95 % intervals held it at 100 studies and 91 % at 590. "
    "Intervals of paired differences kept their level (94 %)."
)


@dataclass(frozen=True)
class Figure:
    """A value with its interval, over one seed or several.

    `next_run`: where one more training would score on these studies (95 %); None where other
    seeds are not known.
    """

    value: float
    low: float
    high: float
    next_run: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    """One printed line: the row's name and ticks stand on its first line only."""

    name: str
    ticks: tuple[bool, ...]
    kind: str  # paper, own paper, rescored, ours, delta, verdict, floor
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Grid:
    title: str
    ticks: tuple[str, ...]
    metrics: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


Figures = Mapping[tuple[str, str], Figure]  # (row, metric) -> figure


def language_scores() -> tuple[str, ...]:
    """The scores in the paper tables."""
    return tuple(column.score for column in registry.columns(registry.LANGUAGE))


def build(
    table: Table,
    ticks: Mapping[str, Sequence[str]],
    figures: Figures,
    floors: Sequence[str],
    best: Mapping[str, frozenset[str]],
    dataset: str,
    text: str,
    metrics: Sequence[str] = (),
    rescored: Figures | None = None,
) -> Grid:
    """`best`: per metric the rows to print in bold. `ticks`: per row its ticked columns.

    `rescored`: figures of predictions of the paper's own system under this protocol. The paper's
    own numbers stand beside ours where they are of the same data, and nowhere else.
    """
    metrics = metrics or language_scores()
    paper = load_yaml("paper", table.paper) if table.paper else {}
    others = [load_yaml("paper", name) for name in table.also]
    printed = [p for p in (paper, *others) if p.get("dataset") == dataset]
    again = rescored or {}
    lines: list[Line] = []
    for row in table.rows:
        published = _published(paper, row, metrics) if paper in printed else None
        above = _printed("paper", published)
        for other in others:
            own = _published(other, row, metrics) if other in printed else None
            if any(value is not None for value in own or ()):
                above += _printed("own paper", own)
        if any((row, m) in again for m in metrics):
            cells = tuple(_ours(again.get((row, m)), False) for m in metrics)
            above.append(Line("", (), "rescored", cells))
        below = _row_lines(row, published, figures, best, metrics)
        marks = tuple(t in ticks.get(row, ()) for t in table.ticks)
        first, *rest = [*above, *below]
        lines += [replace(first, name=row, ticks=marks), *rest]
    for floor in floors:
        cells = tuple(_ours(figures.get((floor, m)), floor in best.get(m, ())) for m in metrics)
        lines.append(Line(floor_title(floor), (), "floor", cells))
    bold = any(c.bold for line in lines for c in line.cells)
    notes = _notes(paper, others, dataset, text, bool(again), bold)
    if any("macro" in m for m in metrics):
        notes = (*notes, MACRO_NOTE)
    return Grid(table.title, table.ticks, tuple(metrics), tuple(lines), notes)


def _published(
    paper: Mapping[str, Any], row: str, metrics: Sequence[str]
) -> list[float | None] | None:
    values = paper.get("rows", {}).get(row)
    if values is None:
        return None
    by_metric = dict(zip(paper["metrics"], values, strict=True))
    return [by_metric.get(m) for m in metrics]


def _printed(kind: str, published: list[float | None] | None) -> list[Line]:
    """The line of a paper that has the row, as it is printed there."""
    if published is None:
        return []
    return [Line("", (), kind, tuple(_plain(p) for p in published))]


def _row_lines(
    row: str,
    published: list[float | None] | None,
    figures: Figures,
    best: Mapping[str, frozenset[str]],
    metrics: Sequence[str],
) -> list[Line]:
    ours = [figures.get((row, m)) for m in metrics]
    mine = tuple(_ours(f, row in best.get(m, ())) for f, m in zip(ours, metrics, strict=True))
    if published is None:
        return [Line("", (), "ours", mine)]
    pairs = list(zip(published, ours, strict=True))
    return [
        Line("", (), "ours", mine),
        Line("", (), "delta", tuple(_delta(p, f) for p, f in pairs)),
        Line("", (), "verdict", tuple(Cell(_verdict(p, f)) for p, f in pairs)),
    ]


def _plain(value: float | None) -> Cell:
    return Cell(NONE) if value is None else Cell(number(value), numbers=(value,))


def _ours(figure: Figure | None, bold: bool) -> Cell:
    if figure is None:
        return Cell(NOT_RUN)
    return cell(figure, bold)


def cell(figure: Figure, bold: bool = False) -> Cell:
    """.123 ±.018: half the width of the interval, whose ends are the cell's numbers."""
    ends = (figure.value, figure.low, figure.high)
    half = (figure.high - figure.low) / 2
    return Cell(f"{number(figure.value)} ±{number(half)}", bold, numbers=ends)


def _delta(published: float | None, figure: Figure | None) -> Cell:
    if published is None or figure is None:
        return Cell(NONE)
    delta = figure.value - published
    return Cell(("+" if delta > 0 else "") + number(delta), numbers=(delta,))


def _verdict(published: float | None, figure: Figure | None) -> str:
    """Whether the published run could be one more of our trainings."""
    if published is None or figure is None:
        return NONE
    if figure.next_run is None:
        return ONE_TRAINING
    low, high = figure.next_run
    if published > high:
        return "below paper"
    return "above paper" if published < low else "agrees"


def _notes(
    paper: Mapping[str, Any],
    others: Sequence[Mapping[str, Any]],
    dataset: str,
    text: str,
    rescored: bool,
    bold: bool,
) -> tuple[str, ...]:
    notes = [
        f"Ours: {dataset}, test split, text treatment {text}; 95 % intervals over studies "
        "(patients where one has several), and over seeds too where a row has several runs.",
        "Bold: the one row or floor that is better than every other (t-test over seeds and "
        "studies, Holm)."
        if bold
        else "No row is in bold: in no column is one better than every other (Holm), or a row has "
        "one training, which settles nothing.",
    ]
    shown = [p for p in (paper, *others) if p.get("dataset") == dataset]
    if paper in shown and paper:
        notes.append(f"Paper: {paper['source']}.")
        if paper.get("note"):
            notes.append(paper["note"])
        notes.append(
            "Verdict: agrees, where the published run lies in the 95 % prediction interval of one "
            "more training of ours on the same studies; one training of ours predicts nothing."
        )
    notes += [f"Own paper: {other['source']}." for other in others if other in shown]
    if rescored:
        notes.append("Rescored: predictions of that system, scored here like our own.")
    hidden = [p for p in (paper, *others) if p and p not in shown]
    if hidden:
        where = " and ".join(dict.fromkeys(p["dataset"] for p in hidden))
        notes.append(
            f"Published numbers of these rows are of {where} and cannot be compared with ours of "
            f"{dataset}: they are not shown (dataset={hidden[0]['dataset']} shows them)."
        )
    return tuple(notes)


# --- printing ----------------------------------------------------------------------------------


def sheet(grid: Grid) -> Sheet:
    """The table for `bench.reporting.sheet`: a row's name and ticks stand on its first line; CSV
    has them on every line, and value, low and high of each metric in columns of their own."""
    columns = [
        Column("row", key=True),
        *(Column(tick, short=SHORT.get(tick, "")) for tick in grid.ticks),
        Column("line" if _varied(grid) else "", ("line",), key=_varied(grid)),
        *(_column(metric) for metric in grid.metrics),
    ]
    rows: list[Row] = []
    name, ticks = "", [Cell("", numbers=("",))] * len(grid.ticks)
    for line in grid.lines:
        if line.name:
            name = line.name
            marks = line.ticks or (False,) * len(grid.ticks)
            ticks = [Cell("✓" if t else "", numbers=("1" if t else "",)) for t in marks]
        shown = ticks if line.name else [Cell("", numbers=t.numbers) for t in ticks]
        head = Cell(line.name, numbers=(name,))
        cells = (head, *shown, Cell(line.kind), *line.cells)
        rows.append(Row(cells, line.kind, bool(line.name)))
    return Sheet(grid.title, tuple(columns), tuple(rows), grid.notes)


def _column(metric: str) -> Column:
    """`chexpert-rules micro-F1, 14` is `micro-F1, 14` under the labeler where it is narrow."""
    family, _, rest = metric.partition(" ")
    names = (metric, f"{metric} low", f"{metric} high")
    if rest and family in registry.names():
        return Column(metric, names, right=True, group=family, short=rest)
    return Column(metric, names, right=True)


def _varied(grid: Grid) -> bool:
    """Whether a row has several lines, so that it must be said which is which."""
    return any(not line.name for line in grid.lines)


def render(grid: Grid, form: str) -> str:
    """`form`: text, md, latex, csv or html."""
    return print_sheet(sheet(grid), form)
