"""Print a paper table from sealed runs: one line a row; with --full every metric and the paper.

Trains nothing: rows that have not been run say so. `--board leaderboards/v0` takes the published
runs of a board instead of a folder of runs. `--rescored ROW=FILE.csv` adds a line with
predictions of the paper's own system, scored under this protocol. `bench table claims` holds each
claim of the UAR paper against the runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from bench.config import names
from bench.data.registry import EMBEDDED, split_overrides
from bench.data.text import TREATMENTS
from bench.errors import BenchError, unknown
from bench.metrics.cache import keep
from bench.reporting import short_table, tables
from bench.reporting.sheet import render
from bench.reporting.summary import Summary
from bench.runs.workspace import Workspace, default_cache, default_out
from bench.settings import ranged
from bench.spec import TREATMENT
from bench.suites.plan import Plan, make_plan
from bench.suites.suite import load_suite

FORMS = ("text", "md", "latex", "csv", "html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", help="e.g. table2, or claims")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as given to `bench run`")
    parser.add_argument(
        "--format", choices=FORMS, default="text", help="default: text, within the terminal"
    )
    parser.add_argument("--full", action="store_true", help="every metric, beside the paper's")
    parser.add_argument(
        "--treatment", "--text", choices=tuple(TREATMENTS), default=TREATMENT,
        help="text treatment (--text: its old name)",
    )  # fmt: skip
    parser.add_argument(
        "--rescored",
        action="append",
        default=[],
        metavar="ROW=FILE.csv",
        help="predictions (study_id,report) of a row's published system; may be repeated",
    )
    parser.add_argument("--seeds", type=ranged(1, 1000), default=1)
    parser.add_argument("--board", type=Path, help="take the published runs of this board")
    parser.add_argument("--out", type=Path, default=default_out(), help="folder of the runs")
    parser.add_argument("--cache", type=Path, default=default_cache())


def run(arguments: argparse.Namespace) -> int:
    form = arguments.format
    if arguments.table == "claims":
        from bench.reporting.claims import ledger
        from bench.reporting.ledger import sheet

        if arguments.rescored:
            raise BenchError("the claims ledger takes no rescored predictions", "name a table")
        if arguments.treatment != TREATMENT:
            raise BenchError(
                f"claims are held against scores under {TREATMENT}", "leave out --treatment"
            )
        summary = _summary("claims", arguments)
        print(render(sheet(ledger(summary), summary), form), end="")
        return 0
    summary = _summary(suite_of(arguments.table), arguments)
    table = summary.suite.tables[arguments.table]
    again: Mapping[tuple[str, str], tables.Figure] = {}
    if arguments.rescored:
        from bench.reporting.rescored import rescored

        keep(arguments.cache)
        again = rescored(arguments.rescored, table, summary.data, arguments.treatment)
    if arguments.full or again or arguments.treatment != TREATMENT:
        grid = summary.grid(table, arguments.treatment, rescored=again)
        print(tables.render(grid, form), end="")
    else:
        print(render(short_table.sheet(summary, table), form), end="")
    return 0


def _summary(suite: str, arguments: argparse.Namespace) -> Summary:
    """The rows of a suite that are sealed here, or that a board publishes."""
    if arguments.board is not None:
        if arguments.seeds != 1:
            raise BenchError("a board's table is of all its seeds", "leave out --seeds")
        settings = split_overrides(arguments.overrides)
        for key in settings:
            if key != "dataset":
                raise unknown("setting of a board's table", key, ["dataset"])
        work = Workspace(cache=arguments.cache)
        return Summary.of_board(suite, settings.get("dataset", EMBEDDED), arguments.board, work)
    work = Workspace(arguments.out, arguments.cache)
    return Summary.of(sealed_plan(suite, arguments.overrides, work, arguments.seeds), work)


def suite_of(table: str) -> str:
    """The first suite that shows a table of this name."""
    shown = {name: load_suite(name).tables for name in names("suite")}
    for name, known in shown.items():
        if table in known:
            return table if table in shown else name
    raise unknown("table", table, ["claims", *{t for known in shown.values() for t in known}])


def sealed_plan(suite: str, overrides: list[str], work: Workspace, seeds: int) -> Plan:
    """The plan of a suite for reading: a pretraining that has not run leaves its rows out."""
    return make_plan(suite, overrides, work, None, seeds=seeds)
