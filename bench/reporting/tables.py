"""Paper tables: paper | ours [interval] | delta | verdict, for every metric of a row.

A table is built once, as plain cells, and rendered as Markdown, LaTeX, CSV or HTML. Numbers are
rounded here and nowhere before.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from bench.config import load_yaml
from bench.errors import unknown
from bench.metrics import registry
from bench.suites.suite import Table, floor_title
from bench.terminal import interval, number

NOT_RUN = "not run"
NONE = "–"
# Measured by `bench.scripts.coverage`; a test holds these figures to its record.
MACRO_NOTE = (
    "Intervals of macro averages are too short where observations are rare: in simulated cases "
    "with known truth, 74 % of the 95 % intervals held it at 100 studies and 91 % at 590. "
    "Intervals of paired differences kept their level (94 %)."
)


@dataclass(frozen=True)
class Figure:
    """A value with its interval, over one seed or several."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Cell:
    text: str
    bold: bool = False


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
    brief: bool = False,
) -> Grid:
    """`best`: per metric the rows to print in bold. `ticks`: per row its ticked columns.

    `rescored`: figures of predictions of the paper's own system under this protocol. `brief`
    leaves out delta and verdict where the paper's numbers are of another dataset. `metrics`: those
    of the paper tables by default.
    """
    metrics = metrics or language_scores()
    paper = load_yaml("paper", table.paper) if table.paper else {}
    others = [load_yaml("paper", name) for name in table.also]
    again = rescored or {}
    same = paper.get("dataset") == dataset
    lines: list[Line] = []
    for row in table.rows:
        published = _published(paper, row, metrics)
        above = _printed("paper", published)
        for other in others:
            own = _published(other, row, metrics)
            if any(value is not None for value in own or ()):
                above += _printed("own paper", own)
        if any((row, m) in again for m in metrics):
            cells = tuple(_ours(again.get((row, m)), False) for m in metrics)
            above.append(Line("", (), "rescored", cells))
        compared = None if brief and not same else published
        below = _row_lines(row, compared, figures, best, same, metrics)
        marks = tuple(t in ticks.get(row, ()) for t in table.ticks)
        first, *rest = [*above, *below]
        lines += [replace(first, name=row, ticks=marks), *rest]
    for floor in floors:
        cells = tuple(_ours(figures.get((floor, m)), floor in best.get(m, ())) for m in metrics)
        lines.append(Line(floor_title(floor), (), "floor", cells))
    notes = _notes(paper, others, dataset, text, bool(again), brief)
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
    return [Line("", (), kind, tuple(Cell(NONE if p is None else number(p)) for p in published))]


def _row_lines(
    row: str,
    published: list[float | None] | None,
    figures: Figures,
    best: Mapping[str, frozenset[str]],
    same: bool,
    metrics: Sequence[str],
) -> list[Line]:
    ours = [figures.get((row, m)) for m in metrics]
    mine = tuple(_ours(f, row in best.get(m, ())) for f, m in zip(ours, metrics, strict=True))
    if published is None:
        return [Line("", (), "ours", mine)]
    pairs = list(zip(published, ours, strict=True))
    return [
        Line("", (), "ours", mine),
        Line("", (), "delta", tuple(Cell(_delta(p, f)) for p, f in pairs)),
        Line("", (), "verdict", tuple(Cell(_verdict(p, f, same)) for p, f in pairs)),
    ]


def _ours(figure: Figure | None, bold: bool) -> Cell:
    if figure is None:
        return Cell(NOT_RUN)
    return Cell(f"{number(figure.value)} {interval(figure.low, figure.high)}", bold)


def _delta(published: float | None, figure: Figure | None) -> str:
    if published is None or figure is None:
        return NONE
    delta = figure.value - published
    return ("+" if delta > 0 else "") + number(delta)


def _verdict(published: float | None, figure: Figure | None, same: bool) -> str:
    """Whether the published number lies in our interval; only for the same dataset."""
    if published is None or figure is None:
        return NONE
    if not same:
        return "other data"
    if published > figure.high:
        return "below paper"
    return "above paper" if published < figure.low else "agrees"


def _notes(
    paper: Mapping[str, Any],
    others: Sequence[Mapping[str, Any]],
    dataset: str,
    text: str,
    rescored: bool,
    brief: bool,
) -> tuple[str, ...]:
    notes = [
        f"Ours: {dataset}, test split, text treatment {text}; 95 % bootstrap intervals over "
        "studies (patients where one has several; studies and seeds together where a row has "
        "several runs).",
        "Bold: the best trained row or floor, and every row not distinguishable from it "
        "(approximate randomization, Holm).",
    ]
    if paper:
        notes.append(f"Paper: {paper['source']}.")
        if paper.get("note"):
            notes.append(paper["note"])
    notes += [f"Own paper: {other['source']}." for other in others]
    if rescored:
        notes.append("Rescored: predictions of that system, scored here like our own.")
    elsewhere = paper.get("dataset", dataset)
    if elsewhere != dataset:
        notes.append(
            f"The paper's numbers are of {elsewhere}, ours of {dataset}: "
            + (
                "no difference or verdict is shown."
                if brief
                else "these deltas say nothing about reproduction."
            )
        )
    return tuple(notes)


# --- rendering ---------------------------------------------------------------------------------


def render(grid: Grid, form: str) -> str:
    """`form`: md, latex, csv or html."""
    forms = {"md": markdown, "latex": latex, "csv": to_csv, "html": html}
    if form not in forms:
        raise unknown("format", form, forms)
    return forms[form](grid)


def _head(grid: Grid) -> list[str]:
    return ["row", *grid.ticks, "", *grid.metrics]


def _tick_texts(line: Line, grid: Grid, mark: str) -> list[str]:
    return [mark if t else "" for t in line.ticks] or [""] * len(grid.ticks)


def markdown(grid: Grid) -> str:
    head = _head(grid)
    rows = [head, ["---"] * len(head)]
    for line in grid.lines:
        cells = [f"**{c.text}**" if c.bold else c.text for c in line.cells]
        rows.append([line.name, *_tick_texts(line, grid, "✓"), line.kind, *cells])
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    body = "\n".join("| " + " | ".join(row) + " |" for row in escaped)
    return f"### {grid.title}\n\n{body}\n\n" + "\n".join(f"- {n}" for n in grid.notes) + "\n"


def to_csv(grid: Grid) -> str:
    """The printed cells; full precision is in scores.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = _head(grid)
    writer.writerow([h or "line" for h in head])
    name, ticks = "", [""] * len(grid.ticks)
    for line in grid.lines:
        if line.name:
            name, ticks = line.name, _tick_texts(line, grid, "1")
        writer.writerow([name, *ticks, line.kind, *(c.text for c in line.cells)])
    return text.getvalue()


_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%_#${}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "✓": r"\checkmark",
}


def tex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(_LATEX.get(c, c) for c in text)


def latex(grid: Grid) -> str:
    """A table* that compiles with booktabs, amssymb and graphicx."""
    head = _head(grid)
    columns = "l" + "c" * len(grid.ticks) + "l" + "r" * len(grid.metrics)
    lines = [
        "% \\usepackage{booktabs,amssymb,graphicx}",
        "\\begin{table*}[t]",
        "\\centering",
        f"\\caption{{{tex(grid.title)}. {tex(' '.join(grid.notes))}}}",
        "\\resizebox{\\textwidth}{!}{%",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        " & ".join(map(tex, head)) + r" \\",
        "\\midrule",
    ]
    for i, line in enumerate(grid.lines):
        if line.name and i:
            lines.append("\\addlinespace")
        cells = [f"\\textbf{{{tex(c.text)}}}" if c.bold else tex(c.text) for c in line.cells]
        marks = [tex(t) for t in _tick_texts(line, grid, "✓")]
        lines.append(" & ".join([tex(line.name), *marks, line.kind, *cells]) + r" \\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}}", "\\end{table*}", ""])


def html(grid: Grid) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in _head(grid))
    rows = []
    for line in grid.lines:
        cells = [line.name, *_tick_texts(line, grid, "✓"), line.kind]
        texts = [f"<td>{escape(c)}</td>" for c in cells]
        texts += [
            f"<td><b>{escape(c.text)}</b></td>" if c.bold else f"<td>{escape(c.text)}</td>"
            for c in line.cells
        ]
        rows.append(f'<tr class="{line.kind}">{"".join(texts)}</tr>')
    notes = "".join(f"<li>{escape(n)}</li>" for n in grid.notes)
    return (
        f"<h3>{escape(grid.title)}</h3>\n<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + f"\n</tbody>\n</table>\n<ul>{notes}</ul>\n"
    )
