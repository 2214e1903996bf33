"""Label any file of reports: CheXpert's 14 observations, as the CheXpert labeler writes them.

A CSV file with study_id and one column an observation: 1 present, 0 absent, -1 uncertain, blank not
mentioned. `--why` prints the phrases that decided instead, one row a mention. Files may be of any
form that `bench score` reads.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.data.registry import split_overrides
from bench.errors import BenchError, some, unknown
from bench.files import write_atomic
from bench.formats.reports import read_reports
from bench.formats.roles import Columns
from bench.metrics.clinical.labeler import labels_of
from bench.metrics.clinical.why import as_csv, why_as_csv

RULES = "chexpert-rules"
LABELERS = (RULES, "chexbert")
SETTINGS = ("section", "split")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reports", type=Path, help="file of reports")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value",
        help="section=findings|impression|both, split=NAME of an annotation",
    )  # fmt: skip
    parser.add_argument("--labeler", choices=LABELERS, default=RULES)
    parser.add_argument("--why", action="store_true", help="print the phrases that decided")
    parser.add_argument("--id-column", default="", help="field of the study ids")
    parser.add_argument("--report-column", default="", help="field of the reports")
    parser.add_argument("--out", type=Path, help="write to a file instead of standard output")


def run(arguments: argparse.Namespace) -> int:
    settings = split_overrides(arguments.settings)
    for key in settings:
        if key not in SETTINGS:
            raise unknown("setting", key, SETTINGS)
    if arguments.why and arguments.labeler != RULES:
        raise BenchError(
            f"{arguments.labeler} is a network: it has no phrases to show",
            f"leave --why out, or take --labeler {RULES}",
        )
    section = settings.get("section", "")
    if section and arguments.report_column:
        raise BenchError(
            f"section={section} beside --report-column {arguments.report_column}",
            "say one of them: a section is the fields findings and impression",
        )
    columns = Columns(arguments.id_column, arguments.report_column, "", section)
    found = read_reports(arguments.reports, columns, settings.get("split", ""))
    print(found.said, file=sys.stderr)
    if found.left_out:
        names = some(found.left_out)
        print(f"{len(found.left_out)} studies without text left out: {names}", file=sys.stderr)
    reports = found.by_id()
    text = (
        why_as_csv(reports)
        if arguments.why
        else as_csv(list(reports), labels_of(arguments.labeler, list(reports.values())))
    )
    if arguments.out is None:
        print(text, end="")
        return 0
    write_atomic(arguments.out, text)
    print(f"wrote {arguments.out}: {len(reports)} reports", file=sys.stderr)
    return 0
