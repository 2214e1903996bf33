"""Reading anyone's predictions: a CSV with the columns `study_id` and `report`."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bench.errors import BenchError, DataError, some
from bench.files import refuse_pipe

COLUMNS = ("study_id", "report")
_FORMAT = "a UTF-8 CSV file with the columns study_id,report, reports with commas in double quotes"


def read(path: Path) -> dict[str, str]:
    """Study id -> report, in file order.

    A byte order mark, CRLF, quoted line breaks, further columns and empty lines are accepted.
    DataError, naming the file and the line, for anything else; doubled ids are named.
    """
    reports: dict[str, str] = {}
    lines: dict[str, int] = {}
    doubled: list[str] = []
    for line, study, report in _rows(path):
        if study in reports:
            doubled.append(f"{study} (lines {lines[study]} and {line})")
            continue
        reports[study], lines[study] = report, line
    if doubled:
        raise DataError(
            f"{path}: {_count(doubled, 'study id')} given twice: {some(doubled)}",
            "keep one report per study",
        )
    return reports


def _rows(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line on which the row ends, study id, report)."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    csv.field_size_limit(2**31 - 1)
    try:
        header = [name.strip() for name in next(reader, [])]
        absent = [name for name in COLUMNS if header.count(name) != 1]
        if absent:
            found = ", ".join(header) or "nothing"
            raise DataError(
                f"{path}, line 1: no single column {' and no '.join(absent)}; found: {found}",
                f"give {_FORMAT}",
            )
        study, report = (header.index(name) for name in COLUMNS)
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"{path}, line {reader.line_num}: {len(row)} fields instead of {len(header)}",
                    f"give {_FORMAT}",
                )
            yield reader.line_num, row[study].strip(), row[report]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}", f"give {_FORMAT}") from None


def _text(path: Path) -> str:
    try:
        refuse_pipe(path)
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", f"give {_FORMAT}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8", f"give {_FORMAT}") from None


def align(
    reports: Mapping[str, str], ids: Sequence[str], missing: str = "error", source: str = ""
) -> tuple[list[str], list[str]]:
    """The reports of `ids` in that order, and the ids that had none.

    Unknown ids are refused, always. Ids without a report are refused, or scored as empty reports
    with `missing` "empty".
    """
    if missing not in ("error", "empty"):
        raise BenchError(f"missing={missing!r}", 'choose "error" or "empty"')
    known = set(ids)
    where = source or "the predictions"
    strange = [study for study in reports if study not in known]
    if strange:
        raise DataError(
            f"{where}: {_count(strange, 'study id')} not in this split: {some(strange)}",
            _nearest(strange, ids) if ids else "the split is empty",
        )
    absent = [study for study in ids if study not in reports]
    if absent and missing == "error":
        raise DataError(
            f"{where}: {_count(absent, 'study')} of {len(ids)} without a report: {some(absent)}",
            "add them, or score them as empty reports (--missing empty)",
        )
    return [reports.get(study, "") for study in ids], absent


# How ids of one study come to differ -> what takes the difference away.
_DIFFERENCES: Mapping[str, Callable[[str], str]] = {
    "capitals": str.lower,
    "leading zeros, which a spreadsheet drops (pandas: dtype=str)": lambda i: i.lstrip("0"),
    "the .0 of a number": lambda i: i.removesuffix(".0"),
    "the letter in front": lambda i: i[1:] if i[:1] in "psPS" and i[1:].isdigit() else i,
    "the ending of a file's name": lambda i: re.sub(r"\.(?:png|jpe?g|dcm|txt)$", "", i),
    "the folder": lambda i: i.rpartition("/")[2],
    "the image's name behind the study's": lambda i: i.partition("/")[0],
}


def _nearest(strange: Sequence[str], ids: Sequence[str]) -> str:
    """What to do about unknown ids: how they differ, where one difference explains them all."""
    for what, without in _DIFFERENCES.items():
        known = {without(study): study for study in ids}
        if all(without(study) in known for study in strange):
            mine, theirs = strange[0], known[without(strange[0])]
            return f"they differ by {what}: {mine!r}, and here {theirs!r}; write them alike"
    return (
        f"ids here look like {ids[0]!r}; of another dataset? name it: dataset=NAME, such as "
        "dataset=iu_xray"
    )


def _count(items: Sequence[str], what: str) -> str:
    plural = "studies" if what == "study" else f"{what}s"
    return f"{len(items)} {what if len(items) == 1 else plural}"


PREDICTIONS = "predictions.csv"
