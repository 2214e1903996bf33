"""A report's folder: every table, comparison, score and figure of a suite, all re-derivable.

Everything here is computed from sealed runs; writing it twice gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.boards.rows import BOARDS, BoardRow, write_rows
from bench.data.registry import EMBEDDED
from bench.data.text import TREATMENTS
from bench.errors import BenchError
from bench.files import csv_text
from bench.reporting import (
    alignment_tables,
    by_fold,
    clinical_tables,
    costs,
    image_information,
    sections,
    short_table,
    tables,
    tokenizers,
)
from bench.reporting.conclusions import conclusions
from bench.reporting.figures import FIGURES, FIRST, draw
from bench.reporting.selection import Selection
from bench.reporting.sheet import render
from bench.reporting.summary import Summary
from bench.runs.controls import SHUFFLED, WITHIN
from bench.spec import PROTOCOL, TREATMENT
from bench.stats.compare import Comparison
from bench.store import write_atomic
from bench.suites.suite import Table

BEGIN, END = "<!-- verdict -->", "<!-- /verdict -->"
SUFFIXES = {"md": "md", "latex": "tex", "csv": "csv"}


def write_suite(
    suite: Summary,
    rows: Sequence[BoardRow],
    folder: Path,
    selection: Selection | None = None,
    board: Path | None = None,
) -> list[Path]:
    """Write the folder; returns the files that a reader opens first.

    `selection`: what the runs are of; None for a board's rows. `board`: which board's.
    """
    # The date on which a row entered a board is the board's own.
    write_rows(folder / "scores.csv", [replace(row, added="") for row in rows])
    gains = [sections.image_gain(suite, control) for control in (SHUFFLED, WITHIN)]
    parts = [
        f"# {suite.suite.title}\n\n{origin(suite, selection, board)}\n",
        verdict(suite),
        *_shown(figures(suite, folder, FIRST)),
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
    if kept := tokenizers.kept(suite):
        parts.append(tokenizers.section(kept))
        write_atomic(folder / tokenizers.FILE, tokenizers.to_csv(kept))
    others = [name for name in FIGURES if name not in FIRST]
    parts += _shown(figures(suite, folder, others))
    write_atomic(folder / "README.md", "\n".join(filter(None, parts)))
    return [folder / "README.md", folder / "scores.csv"]


def origin(suite: Summary, selection: Selection | None = None, board: Path | None = None) -> str:
    """What the report is of, and the commands that make it again."""
    if selection is not None:
        return (
            f"Dataset: {suite.read_as}. Of local runs, not of a board. Regenerate: "
            f"`{selection.command}`."
        )
    again = f"bench report {suite.name} dataset={suite.dataset}"
    if board is not None and (board != BOARDS / PROTOCOL or suite.dataset != EMBEDDED):
        if board != BOARDS / PROTOCOL:
            again += f" --board {board}"
        return (  # made with settings of their own, which each run's spec has
            f"Dataset: {suite.dataset}. From the published runs: `{again}`; `bench reproduce RUN` "
            "prints how a run was made."
        )
    folds = " dataset.fold=all" if suite.overlap else ""
    return (
        f"Dataset: {suite.dataset}. Regenerate: `bench run {suite.name} "
        f"dataset={suite.dataset}{folds}`, or from the published runs `{again}`."
    )


def verdict(suite: Summary) -> str:
    """The conclusions as a list, between the marks that `bench report --into` looks for."""
    lines = "".join(f"- {sentence}\n" for sentence in conclusions(suite))
    return f"## What was found\n\n{BEGIN}\n{lines}{END}\n" if lines else ""


def put_verdict(suite: Summary, path: Path) -> None:
    """Replace what stands between the marks in a Markdown file by the suite's conclusions."""
    text = path.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise BenchError(f"{path} has no one place for a verdict", f"put {BEGIN} and {END} into it")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    lines = "".join(f"- {sentence}\n" for sentence in conclusions(suite))
    write_atomic(path, f"{before}{BEGIN}\n{lines}{END}{after}")


def figures(suite: Summary, folder: Path, names: Sequence[str] = tuple(FIGURES)) -> list[Path]:
    """Draw figures of a suite into `folder`, as SVG, PNG and the data in CSV; returns the PNGs.

    A figure of which the runs hold nothing is left out.
    """
    return [path for name in names for path in draw(name, suite, folder)]


def _shown(paths: Sequence[Path]) -> list[str]:
    return [f"![{path.stem}]({path.name})\n" for path in paths]


def _table_sections(suite: Summary, name: str, table: Table, folder: Path) -> list[str]:
    short = short_table.sheet(suite, table)
    _write(folder / name, partial(render, short))
    full = suite.grid(table, TREATMENT)
    _write(folder / f"{name}-metrics", partial(tables.render, full))
    for text in (t for t in TREATMENTS if t != TREATMENT):
        grid = suite.grid(table, text)
        _write(folder / f"{name}-{text.partition('@')[0]}", partial(tables.render, grid))
    folded = [tables.render(full, "md")]
    folded += clinical_tables.sections(suite, name, table, folder)
    folded += alignment_tables.sections(suite, name, table, folder)
    tests = _comparison_section(suite.comparisons(table), folder / f"{name}-tests.csv")
    return [render(short, "md"), *_folded("All metrics, and every test", [*folded, tests])]


def _write(stem: Path, form: Callable[[str], str]) -> None:
    for name, suffix in SUFFIXES.items():
        write_atomic(stem.with_name(f"{stem.name}.{suffix}"), form(name))


def _folded(title: str, parts: Sequence[str]) -> list[str]:
    """Parts that a reader of the Markdown opens."""
    return [f"<details><summary>{title}</summary>\n", *parts, "</details>\n"]


def _comparison_section(found: Sequence[Comparison], path: Path) -> str:
    """The comparison block of a table, and its CSV at full precision."""
    if not found:
        return ""
    records = [c.record() for c in found]
    write_atomic(path, csv_text(list(records[0]), (list(r.values()) for r in records)))
    return sections.comparisons(found)
