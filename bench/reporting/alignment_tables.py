"""The alignment score beside its control: own pairs, other pairs, and areas under the ROC curve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.reporting import tables
from bench.reporting.layout import Cell
from bench.reporting.tables import Grid, Line
from bench.runs.features import FEATURES
from bench.store import write_atomic
from bench.suites.suite import Table

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

OWN = "alignment"
HEADS = {
    OWN: "own pairs > .5",
    "alignment-control-others": "other pairs > .5",
    "alignment-control-auc": "AUC, own over other",
    "alignment-control-retrieval": "AUC, own report",
}
NOT_KEPT = "not kept"
STEM = "alignment"


def grid(suite: Summary, table: Table) -> Grid | None:
    """The rows of a table that have an image-report space; None where none has."""
    rows = [r for r in table.rows if r in suite.keys and suite.has(OWN, FEATURES, [r])]
    if not rows:
        return None
    lines = []
    for row in rows:
        cells = tuple(_cell(suite, row, score) for score in HEADS)
        lines.append(Line(row, (), "ours", cells))
    title = f"Alignment of images and reports: {table.title}"
    notes = [
        f"Own pairs: share of {suite.dataset}'s test studies whose image and report have a cosine "
        "similarity above .5, min-max scaled over all pairs (UAR, section 5.1). Other pairs: the "
        "same of images and reports of different studies, without which the score says nothing. "
        "AUC: chance that an own pair is more similar than another pair, or than the pairs of its "
        "own image; .5 for features that tell no study from another. 95 % intervals over seeds and "
        "studies.",
    ]
    if any(cell.text == NOT_KEPT for line in lines for cell in line.cells):
        notes.append(
            f"{NOT_KEPT}: runs from before the control hold the marks of own pairs alone; only "
            "training again would tell."
        )
    return Grid(title, (), tuple(HEADS.values()), tuple(lines), tuple(notes))


def _cell(suite: Summary, row: str, score: str) -> Cell:
    if not suite.has(score, FEATURES, [row]):
        return Cell(NOT_KEPT)
    return tables.cell(suite.figure(row, score, FEATURES))


def sections(suite: Summary, name: str, table: Table, folder: Path) -> list[str]:
    """Write `<name>-alignment` in every form; the Markdown for the report."""
    found = grid(suite, table)
    if found is None:
        return []
    for form, suffix in (("md", "md"), ("latex", "tex"), ("csv", "csv")):
        write_atomic(folder / f"{name}-{STEM}.{suffix}", tables.render(found, form))
    return [tables.render(found, "md")]
