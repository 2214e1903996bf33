"""Write reports/<suite>/ again from the published runs of a board: same rows, same bytes.

With `--out FOLDER` the sealed runs of that folder are taken instead (settings as given to
`bench run`), and the report is written beside them, in FOLDER/reports. `--format html` adds
report.html: one file with verdict, figures, claims, leaderboard and study browser, which needs
nothing beside it. `--into README.md` also puts the verdict between the marks of a Markdown file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from textwrap import fill

from bench.reporting.conclusions import conclusions
from bench.reporting.folder import origin, put_verdict, write_suite
from bench.reporting.source import Source, add_source, chosen
from bench.terminal import room, waiting

FORMS = ("md", "html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    parser.add_argument("--format", choices=FORMS, default="md", help="html: report.html as well")
    parser.add_argument("--into", type=Path, help="Markdown file that shows the verdict, too")


def run(arguments: argparse.Namespace) -> int:
    with waiting("intervals, comparisons and figures: a minute or two ..."):
        source = chosen(arguments)
        paths = _written(source, arguments)
        said = conclusions(source.summary)
    for sentence in said:
        print(fill(sentence, room(), initial_indent="- ", subsequent_indent="  "))
    if not said:
        print("no trained row was scored: there is nothing to conclude")
    for path in paths:
        print(f"wrote {path}")
    return 0


def _written(source: Source, arguments: argparse.Namespace) -> list[Path]:
    paths = write_suite(source.summary, source.rows, source.folder, source.selection, source.board)
    if arguments.format == "html":
        from bench.reporting.page import write_page

        made = origin(source.summary, source.selection, source.board)
        paths.append(write_page(source.summary, source.rows, source.folder, made))
    if arguments.into is not None:
        put_verdict(source.summary, arguments.into)
        paths.append(arguments.into)
    return paths
