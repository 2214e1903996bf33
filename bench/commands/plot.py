"""Draw the figures of a suite again, from the published runs of a board or from `--out FOLDER`."""

from __future__ import annotations

import argparse

from bench.reporting.folder import figures, report_folder
from bench.reporting.source import add_source, chosen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)


def run(arguments: argparse.Namespace) -> int:
    summary, _ = chosen(arguments)
    folder = report_folder(arguments.reports, summary.name, summary.dataset)
    for path in figures(summary, folder):
        print(f"wrote {path} and {path.with_suffix('.svg').name}")
    return 0
