"""Which rows a report or a figure is of, and where it belongs: a board's, or a folder of runs'."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from bench.boards.rows import BOARDS, BoardRow, active, read_rows, suite_rows
from bench.data.registry import EMBEDDED, split_overrides
from bench.errors import BenchError, unknown
from bench.reporting.folder import write_suite
from bench.reporting.selection import REPORTS, Selection, report_folder, reports_of
from bench.reporting.summary import Summary
from bench.runs.workspace import Workspace, default_cache
from bench.settings import ranged
from bench.spec import PROTOCOL
from bench.suites.plan import make_plan


@dataclass(frozen=True)
class Source:
    """The rows of a suite, and the folder that a report of them belongs in."""

    summary: Summary
    rows: list[BoardRow]
    folder: Path
    selection: Selection | None = None  # of local runs; None: a board's
    board: Path | None = None


def add_source(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which rows are meant."""
    parser.add_argument("suite", nargs="?", default="ablations")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="dataset=NAME")
    parser.add_argument("--board", type=Path, default=BOARDS / PROTOCOL)
    parser.add_argument("--out", type=Path, help="folder of runs to take instead of the board's")
    parser.add_argument(
        "--seeds", type=ranged(1, 1000), default=1, help="with --out: trainings of each row"
    )
    parser.add_argument(
        "--reports",
        type=Path,
        help=f"folder of reports (default: {REPORTS}; with --out: {REPORTS} beside those runs)",
    )
    parser.add_argument("--cache", type=Path, default=default_cache())


def chosen(arguments: argparse.Namespace) -> Source:
    """The suite's rows: of a board, or of a folder of runs."""
    return _of_board(arguments) if arguments.out is None else _of_runs(arguments)


def _of_board(arguments: argparse.Namespace) -> Source:
    settings = split_overrides(arguments.settings)
    for key in settings:
        if key != "dataset":
            raise unknown("setting", key, ["dataset"])
    dataset = settings.get("dataset", EMBEDDED)
    work = Workspace(cache=arguments.cache)
    summary, rows = of_board(arguments.suite, dataset, arguments.board, work)
    folder = report_folder(
        arguments.reports or reports_of(arguments.board, Path(REPORTS)), summary.name, dataset
    )
    return Source(summary, rows, folder, board=arguments.board)


def _of_runs(arguments: argparse.Namespace) -> Source:
    work = Workspace(arguments.out, arguments.cache)
    plan = make_plan(arguments.suite, arguments.settings, work, None, seeds=arguments.seeds)
    summary = Summary.of(plan, work)
    if not summary.keys:
        raise BenchError(
            f"{arguments.out} has no scored run of suite {arguments.suite} with these settings",
            f"bench run {' '.join([arguments.suite, *arguments.settings])} --out {arguments.out}",
        )
    settings = tuple(arguments.settings)
    selection = Selection(plan.name, plan.dataset, settings, seeds=arguments.seeds)
    folder = selection.folder(arguments.reports or arguments.out / REPORTS)
    return Source(summary, suite_rows(plan, work), folder, selection)


def of_board(
    suite: str, dataset: str, board: Path, work: Workspace
) -> tuple[Summary, list[BoardRow]]:
    """The suite's active rows on a board."""
    summary = Summary.of_board(suite, dataset, board, work)
    rows = active(read_rows(board / f"{dataset}.csv"))
    return summary, [r for r in rows if r.variant in summary.keys]


def regenerate(suite: str, dataset: str, board: Path, folder: Path, work: Workspace) -> list[Path]:
    """The report of a suite from the active rows of a board."""
    return write_suite(*of_board(suite, dataset, board, work), folder, board=board)
