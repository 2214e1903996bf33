"""Clinical columns beside a suite's tables: which findings the rows' reports get right.

Built from the statistics of sealed runs alone, so that a report is the same on every machine: a
labeler has columns when the runs were scored with it, else one note that says why and how.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.metrics import registry
from bench.metrics.clinical.f1 import findings
from bench.reporting import tables
from bench.reporting.tables import Grid
from bench.store import write_atomic
from bench.suites.suite import Table
from bench.terminal import number

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

# What a table shows of a labeler's scores; all of them stand in scores.csv.
AVERAGES = {
    "F1-micro-14": "micro-F1, 14",
    "F1-macro-14": "macro-F1, 14",
    "F1-micro-5": "micro-F1, 5",
    "F1-example-14": "example F1, 14",
}
RADGRAPH = {"F1-partial": "F1, partial"}
FAMILIES = {
    "chexpert-rules": AVERAGES,
    "chexpert-rules-truth": {k: v for k, v in AVERAGES.items() if "example" not in k},
    "chexbert": AVERAGES,
    "radgraph": RADGRAPH,
    "radgraph-xl": RADGRAPH,
    "modern-radgraph-xl": RADGRAPH,
}
EXPECTED = {"CheXbert": ("chexbert",), "RadGraph": tuple(f for f in FAMILIES if "radgraph" in f)}
EMBEDDED = "chexpert-rules"


@dataclass(frozen=True)
class Column:
    """A column of the clinical table: its heading and the score that it shows."""

    head: str
    family: str
    score: str
    text: str  # the treatment that the family reads


def columns(suite: Summary, rows: Sequence[str]) -> list[Column]:
    """Those that at least one of the rows has a score for."""
    every = [
        Column(f"{family} {head}", family, f"{_title(family)}-{score}", _text(family))
        for family, heads in FAMILIES.items()
        for score, head in heads.items()
    ]
    return [c for c in every if any(suite.has(c.score, c.text, [row]) for row in rows)]


def _title(family: str) -> str:
    """How the family's scores begin."""
    metric = registry.load(family)
    return str(getattr(metric, "title", family))


def _text(family: str) -> str:
    return registry.load(family).treatments[0]


def grid(suite: Summary, table: Table) -> Grid | None:
    """The clinical columns of a table's rows and the floors; None where no run has any."""
    shown = [*(r for r in table.rows if r in suite.keys), *suite.floors]
    chosen = columns(suite, shown)
    if not chosen:
        return None
    figures = {
        (row, c.head): suite.figure(row, c.score, c.text)
        for c in chosen
        for row in shown
        if suite.has(c.score, c.text, [row])
    }
    best = {c.head: suite.best(shown, c.score, c.text) for c in chosen}
    ticks = {row.name: row.ticks for row in suite.suite.rows}
    titled = replace(table, title=f"Clinical efficacy: {table.title}", paper="")
    heads = [c.head for c in chosen]
    texts = " and ".join(dict.fromkeys(c.text for c in chosen))
    found = tables.build(titled, ticks, figures, suite.floors, best, suite.dataset, texts, heads)
    return replace(found, notes=(*found.notes, *_notes(suite, shown, chosen)))


def _notes(suite: Summary, rows: Sequence[str], chosen: Sequence[Column]) -> Iterator[str]:
    families = {c.family for c in chosen}
    if EMBEDDED in families:
        yield (
            f"{EMBEDDED}: findings that a rule labeler reads in report and reference; a metric of "
            "its own, no stand-in for CheXbert. 14 observations, or the 5 of CheXpert's "
            f"competition; uncertain counts as absent.{_support(suite, rows)}"
        )
    absent = [name for name, known in EXPECTED.items() if not families & set(known)]
    if absent:
        yield (
            f"{' and '.join(absent)}: not available: these runs were scored without their "
            "weights, which cannot be shipped; `bench weights list` says how to get them, then "
            f"`bench run {suite.name} dataset={suite.dataset}` scores the runs again."
        )


def _support(suite: Summary, rows: Sequence[str]) -> str:
    """How many observations the references have: the others are 0 in a macro average."""
    row = next((r for r in rows if suite.has(f"{EMBEDDED}-F1-macro-14", "raw", [r])), None)
    if row is None:
        return ""
    [table, *_] = suite.contrasts.statistics(suite.keys[row], EMBEDDED, "raw")
    supports = [f.support for f in findings(table)]
    found = sum(s > 0 for s in supports)
    if found == len(supports):
        return ""
    return (
        f" {len(supports) - found} of the {len(supports)} occur in no reference and count 0: no "
        f"macro-F1 over 14 can exceed {number(found / len(supports))}."
    )


def sections(suite: Summary, name: str, table: Table, folder: Path) -> list[str]:
    """Write `<name>-clinical` in every form; the Markdown for the report."""
    found = grid(suite, table)
    if found is None:
        return []
    for form, suffix in (("md", "md"), ("latex", "tex"), ("csv", "csv")):
        write_atomic(folder / f"{name}-clinical.{suffix}", tables.render(found, form))
    return [tables.markdown(found)]
