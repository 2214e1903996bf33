"""From a suite's YAML to an ordered list of runs, through Hydra's compose API.

YAML holds values, the dataclasses of `bench.spec` hold the schema. A suite is a list of rows;
rows of several suites that come to the same spec are one run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bench.canonical import from_dict
from bench.config import load_yaml, names
from bench.errors import BenchError, unknown


def default_floors() -> tuple[str, ...]:
    """Every floor of conf/floor, in the order of their `place`; those without one come last."""
    places = {name: load_yaml("floor", name).get("place", float("inf")) for name in names("floor")}
    return tuple(sorted(places, key=lambda name: (places[name], name)))


def floor_title(name: str) -> str:
    """How tables name a floor: the `title` of its YAML; what is no floor keeps its name."""
    known = names("floor")
    return str(load_yaml("floor", name).get("title", name)) if name in known else name


@dataclass(frozen=True)
class Row:
    """One row of a suite: its name, the model's YAML, and what it overrides.

    A row without a model is the one that the user chooses (`model=NAME`), and is named after it.
    """

    name: str
    model: str
    overrides: tuple[str, ...] = ()
    ticks: tuple[str, ...] = ()  # the columns of the paper's table that are ticked
    needs: tuple[str, ...] = ()  # weights without which the row is left out
    share: float = 1.0  # of the budget, with its whole schedule of rates


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
    floors: tuple[str, ...] = field(default_factory=default_floors)
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


def is_open(suite: Suite) -> bool:
    """Whether the suite leaves the model of a row to the user."""
    return any(not row.model for row in suite.rows)


def with_model(suite: Suite, model: str) -> Suite:
    """The suite with `model` in the rows, and in their tables, that leave it open."""
    left = [row.name for row in suite.rows if not row.model]

    def named(row: str) -> str:
        return model if row in left else row

    rows = (r if r.model else replace(r, name=model, model=model) for r in suite.rows)
    tables = {k: replace(t, rows=tuple(map(named, t.rows))) for k, t in suite.tables.items()}
    return replace(suite, rows=tuple(rows), tables=tables, baseline=named(suite.baseline))
