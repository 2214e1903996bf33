"""Draw figures of a suite, from the published runs of a board or from `--out FOLDER`.

`bench plot` draws all that the runs hold, `bench plot hero` one of them; with a suite after it,
`bench plot all table1`. Each comes as SVG, PNG and the numbers in CSV. `--list` says which there
are.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from textwrap import fill

from bench.errors import BenchError, unknown
from bench.reporting.figures import FIGURES
from bench.reporting.folder import figures
from bench.reporting.source import add_source, chosen
from bench.terminal import room, waiting

ALL = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("figure", nargs="?", default=ALL, help=f"{ALL}, or one that --list names")
    parser.add_argument("--list", action="store_true", help="the figures, and what they show")
    add_source(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.list:
        for name, (_, text) in FIGURES.items():
            print(fill(text, room(), initial_indent=f"{name:<18}", subsequent_indent=" " * 18))
        return 0
    if arguments.figure != ALL and arguments.figure not in FIGURES:
        raise unknown("figure", arguments.figure, [ALL, *FIGURES])
    names = tuple(FIGURES) if arguments.figure == ALL else (arguments.figure,)
    with waiting("intervals and figures: up to a minute ..."):
        source = chosen(arguments)
        drawn = figures(source.summary, source.folder, names)
    if not drawn:
        raise BenchError(
            f"the runs hold nothing for {arguments.figure}",
            "runs from before this was sealed have no such figure: run them again",
        )
    for path in drawn:
        print(f"wrote {_short(path)} (.svg and .csv beside it)")
    return 0


def _short(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
