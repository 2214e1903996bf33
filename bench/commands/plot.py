"""Draw the figures of a suite again, from the published runs of a board or from `--out FOLDER`."""

from __future__ import annotations

import argparse

from bench.reporting.folder import figures
from bench.reporting.source import add_source, chosen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)


def run(arguments: argparse.Namespace) -> int:
    source = chosen(arguments)
    for path in figures(source.summary, source.folder):
        print(f"wrote {path} and {path.with_suffix('.svg').name}")
    return 0
