"""Write reports/<suite>/ again from the published runs of a board: same rows, same bytes.

With `--out FOLDER` the sealed runs of that folder are taken instead (settings as given to
`bench run`), and the report is written beside them, in FOLDER/reports. `--format html` adds
report.html: one file with tables, figures, comparisons and provenance, which needs nothing
beside it.
"""

from __future__ import annotations

import argparse

from bench.reporting.folder import write_suite
from bench.reporting.source import add_source, chosen

FORMS = ("md", "html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    parser.add_argument("--format", choices=FORMS, default="md", help="html: report.html as well")


def run(arguments: argparse.Namespace) -> int:
    source = chosen(arguments)
    paths = write_suite(source.summary, source.rows, source.folder, source.selection)
    if arguments.format == "html":
        from bench.reporting.page import write_page

        paths.append(write_page(source.summary, source.rows, source.folder))
    for path in paths:
        print(f"wrote {path}")
    return 0
