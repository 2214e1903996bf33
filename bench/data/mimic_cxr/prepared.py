"""Sections of all reports in one file, so that 227,835 files need not be opened again.

`sections-<rules>-<version>.csv.gz` holds, beside a report's sections, the stamp that the report had
(size and time of its file, or its checksum in the zip). A report whose stamp has changed is read
again; a file of other rules, of another version or of reports elsewhere (`dataset.reports`) has
another name. A damaged file is not read: the reports are.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bench.data.mimic_cxr import mit_lcp
from bench.data.mimic_cxr.choices import Choices
from bench.data.mimic_cxr.layout import Layout
from bench.data.mimic_cxr.reports import (
    PARSERS,
    UNPACK,
    Parser,
    Reports,
    no_reports,
    sectioned,
    source_of,
)
from bench.data.mimic_cxr.tables import rows
from bench.errors import BenchError, DataError
from bench.files import replacing

Pair = tuple[str, str]  # (patient, study), numbers as in the tables
Texts = Callable[[str, str], Mapping[str, str] | None]  # of a pair; None: no report
Known = Mapping[str, tuple[str, Mapping[str, str]]]  # study -> stamp, sections


def texts(layout: Layout, pairs: Sequence[Pair]) -> Texts:
    """The sections of each study, from what was prepared where that still holds."""
    parser = PARSERS[layout.choices.sections]
    if not pairs:  # all are left out, for a reason that is counted
        return lambda patient, study: None
    known = read(layout)
    reports = source_of(layout, pairs)
    if reports is not None:
        return _fresh(reports, parser, known or {})
    if known:  # the reports themselves need not be kept
        return lambda patient, study: known.get(study, (None, None))[1]
    path = layout.sectioned()
    if path is None and known is None:
        raise DataError(
            f"{place(layout, parser)} is damaged, and the reports that it was made of are not here",
            f"{UNPACK}; then `{command(layout)}` makes it anew",
        )
    if path is None or layout.choices.sections != mit_lcp.NAME:
        raise no_reports(layout)
    found = sectioned(path)
    return lambda patient, study: found.get(f"s{study}")


def _fresh(reports: Reports, parser: Parser, known: Known) -> Texts:
    def of(patient: str, study: str) -> Mapping[str, str] | None:
        stamp = reports.stamp(patient, study)
        if stamp is None:
            return None
        before, sections = known.get(study, ("", {}))
        if before == stamp:
            return sections
        return parser.divide(reports.read(patient, study), f"s{study}")

    return of


def place(layout: Layout, parser: Parser) -> Path:
    named = layout.named_reports
    elsewhere = f"-{hashlib.sha256(bytes(named.resolve())).hexdigest()[:8]}" if named else ""
    return layout.folder / f"sections-{parser.tag}{elsewhere}.csv.gz"


def command(layout: Layout) -> str:
    """What prepares these choices."""
    defaults = Choices()
    given = [
        f"dataset.{name}={value}"
        for name in ("sections", "source", "reports")
        if (value := getattr(layout.choices, name)) != getattr(defaults, name)
    ]
    return " ".join(["bench data prepare mimic_cxr", *given])


def read(layout: Layout) -> Known | None:
    """What was prepared: {} where nothing was, None where the file is damaged."""
    parser = PARSERS[layout.choices.sections]
    path = place(layout, parser)
    if not path.exists():
        return {}
    found = {}
    try:
        for study, stamp, *parts in rows(path, "study_id", "stamp", *parser.names):
            pairs = zip(parser.names, parts, strict=True)
            found[study] = (stamp, {name: text for name, text in pairs if text})
    except DataError:
        return None
    return found


def write(layout: Layout, pairs: Sequence[Pair]) -> Path:
    """Write the file; BenchError where there are no reports, or the folder refuses it."""
    parser = PARSERS[layout.choices.sections]
    path, reports = place(layout, parser), source_of(layout, pairs)
    if reports is None:
        raise no_reports(layout)
    try:
        with (
            replacing(path) as part,
            gzip.open(part, "wt", encoding="utf-8", newline="", compresslevel=6) as file,
        ):
            writer = csv.writer(file)
            writer.writerow(["study_id", "stamp", *parser.names])
            writer.writerows(_lines(reports, parser, pairs))
    except OSError as error:
        raise BenchError(
            f"cannot write {path}: {error.strerror}",
            "free some space, or make the folder writable; it also works without: reports are "
            "then read one by one each time",
        ) from error
    return path


def _lines(reports: Reports, parser: Parser, pairs: Sequence[Pair]) -> Iterator[list[str]]:
    for patient, study in dict.fromkeys(pairs):
        stamp = reports.stamp(patient, study)
        if stamp is not None:
            found = parser.divide(reports.read(patient, study), f"s{study}")
            yield [study, stamp, *(found.get(name, "") for name in parser.names)]
