"""From a suite's YAML to an ordered list of runs, through Hydra's compose API.

YAML holds values, the dataclasses of `bench.spec` hold the schema. A suite is a list of rows;
rows of several suites that come to the same spec are one run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.config import load_yaml
from bench.errors import BenchError, unknown
from bench.spec import from_dict


@dataclass(frozen=True)
class Row:
    """One row of a suite: its name, the model's YAML, and what it overrides."""

    name: str
    model: str
    overrides: tuple[str, ...] = ()
    ticks: tuple[str, ...] = ()  # the columns of the paper's table that are ticked
    needs: tuple[str, ...] = ()  # weights without which the row is left out


@dataclass(frozen=True)
class Pretraining:
    """Weights that rows ask for as "pretrain:<name>": a pretraining model's YAML with changes."""

    model: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows shown together, in order, beside the rows of a paper's table of the same names."""

    title: str
    rows: tuple[str, ...]
    paper: str = ""
    ticks: tuple[str, ...] = ()  # headings of the tick columns
    also: tuple[str, ...] = ()  # papers of single rows: their own numbers stand beside


@dataclass(frozen=True)
class Suite:
    """Rows to run, the tables that show them, and the floors beside them."""

    title: str
    rows: tuple[Row, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    floors: tuple[str, ...] = ("constant", "frequent", "no_finding", "random", "nearest")
    baseline: str = ""  # the row that others are compared with
    include: tuple[str, ...] = ()  # suites whose rows and tables come first
    pretrainings: Mapping[str, Pretraining] = field(default_factory=dict)


def load_suite(name: str) -> Suite:
    """A suite with its includes resolved; a row that two suites define must be the same row."""
    suite = from_dict(Suite, load_yaml("suite", name), f"suite {name}")
    rows: dict[str, Row] = {}
    tables: dict[str, Table] = {}
    pretrainings: dict[str, Pretraining] = {}
    for part in [*map(load_suite, suite.include), suite]:
        for row in part.rows:
            if rows.setdefault(row.name, row) != row:
                raise BenchError(f"suite {name}: row {row.name!r} is defined twice, differently")
        tables.update(part.tables)
        pretrainings.update(part.pretrainings)
    for title, table in tables.items():
        for row_name in table.rows:
            if row_name not in rows:
                raise unknown(f"row of table {title} in suite {name}", row_name, rows)
    found = tuple(rows.values())
    return Suite(
        suite.title, found, tables, suite.floors, suite.baseline, pretrainings=pretrainings
    )
