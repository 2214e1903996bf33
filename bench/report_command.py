"""Write reports/<suite>/ again from the published runs of a board: same rows, same bytes."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.board import read_rows
from bench.datasets import split_overrides
from bench.errors import unknown
from bench.leaderboard import BOARDS, active
from bench.report import EMBEDDED, Summary, report_folder, write_suite
from bench.spec import PROTOCOL
from bench.workspace import Workspace, default_cache


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", nargs="?", default="ablations")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="dataset=NAME")
    parser.add_argument("--board", type=Path, default=BOARDS / PROTOCOL)
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    parser.add_argument("--cache", type=Path, default=default_cache())


def run(arguments: argparse.Namespace) -> int:
    settings = split_overrides(arguments.settings)
    for key in settings:
        if key != "dataset":
            raise unknown("setting", key, ["dataset"])
    dataset = settings.get("dataset", EMBEDDED)
    work = Workspace(cache=arguments.cache)
    folder = report_folder(arguments.reports, arguments.suite, dataset)
    for path in regenerate(arguments.suite, dataset, arguments.board, folder, work):
        print(f"wrote {path}")
    return 0


def regenerate(suite: str, dataset: str, board: Path, folder: Path, work: Workspace) -> list[Path]:
    """The report of a suite from the active rows of a board."""
    summary = Summary.of_board(suite, dataset, board, work)
    known = set(summary.keys)
    rows = [r for r in active(read_rows(board / f"{dataset}.csv")) if r.variant in known]
    return write_suite(summary, rows, folder)
