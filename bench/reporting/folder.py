"""A report's folder: every table, comparison, score and figure of a suite, all re-derivable.

Everything here is computed from sealed runs; writing it twice gives the same bytes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.boards.rows import BoardRow, write_rows
from bench.data.text import TREATMENTS
from bench.reporting import (
    alignment_tables,
    by_fold,
    clinical_tables,
    costs,
    image_information,
    sections,
    tables,
)
from bench.reporting.selection import Selection
from bench.reporting.summary import Summary
from bench.runs.controls import SHUFFLED, WITHIN
from bench.spec import TREATMENT
from bench.stats.compare import Comparison
from bench.store import write_atomic
from bench.suites.suite import Table


def write_suite(
    suite: Summary, rows: Sequence[BoardRow], folder: Path, selection: Selection | None = None
) -> list[Path]:
    """Write the folder; returns the files that a reader opens first.

    `selection`: what the runs are of; None for a board's rows.
    """
    # The date on which a row entered a board is the board's own.
    write_rows(folder / "scores.csv", [replace(row, added="") for row in rows])
    gains = [sections.image_gain(suite, control) for control in (SHUFFLED, WITHIN)]
    parts = [
        f"# {suite.suite.title}\n\n{origin(suite, selection)}\n",
        sections.summary(suite, *gains),
    ]
    for name, table in suite.suite.tables.items():
        parts += _table_sections(suite, name, table, folder)
    parts += [
        by_fold.section(suite),
        sections.gain(suite, *gains),
        image_information.section(suite),
        sections.strata(suite, rows),
        costs.section(suite),
    ]
    write_atomic(folder / costs.FILE, costs.to_csv(costs.costs(suite)))
    parts += [f"![{path.stem}]({path.name})\n" for path in figures(suite, folder)]
    write_atomic(folder / "README.md", "\n".join(filter(None, parts)))
    return [folder / "README.md", folder / "scores.csv"]


def origin(suite: Summary, selection: Selection | None = None) -> str:
    """What the report is of, and the commands that make it again."""
    if selection is not None:
        return (
            f"Dataset: {suite.dataset}. Of local runs, not of a board. Regenerate: "
            f"`{selection.command}`."
        )
    folds = " dataset.fold=all" if suite.overlap else ""
    return (
        f"Dataset: {suite.dataset}. Regenerate: `bench run {suite.name} "
        f"dataset={suite.dataset}{folds}`, or from the published runs `bench report "
        f"{suite.name} dataset={suite.dataset}`."
    )


def figures(suite: Summary, folder: Path) -> list[Path]:
    """Draw every figure of a suite into `folder`, as SVG and PNG; returns the PNGs."""
    from bench.reporting.plots import ladder
    from bench.reporting.plots_clinical import clinical
    from bench.reporting.plots_images import image_information as reading

    return [
        *ladder(suite, folder),
        *reading(suite, folder),
        *clinical(suite, folder),
        *alignment_tables.figure(suite, folder),
    ]


def _table_sections(suite: Summary, name: str, table: Table, folder: Path) -> list[str]:
    parts = []
    for text in TREATMENTS:
        grid = suite.grid(table, text)
        stem = name if text == TREATMENT else f"{name}-{text.partition('@')[0]}"
        for form, suffix in (("md", "md"), ("latex", "tex"), ("csv", "csv")):
            write_atomic(folder / f"{stem}.{suffix}", tables.render(grid, form))
        if text == TREATMENT:
            parts.append(tables.render(grid, "md"))
    parts += clinical_tables.sections(suite, name, table, folder)
    parts += alignment_tables.sections(suite, name, table, folder)
    tests = _comparison_section(suite.comparisons(table), folder / f"{name}-tests.csv")
    return [*parts, tests]


def _comparison_section(found: Sequence[Comparison], path: Path) -> str:
    """The comparison block of a table, and its CSV at full precision."""
    if not found:
        return ""
    text = io.StringIO()
    records = [c.record() for c in found]
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_atomic(path, text.getvalue())
    return sections.comparisons(found)
