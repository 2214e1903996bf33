"""CSV, TSV and plain lines as rows; what another delimiter separates is shown as it should be."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from bench.errors import DataError, some
from bench.formats.names import TEXT, is_known
from bench.formats.rows import Row, Rows

Line = tuple[int, list[str]]  # the line on which a record ends, and its cells

TAB = "\t"
_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "pipes"}
_SUFFIXES = {",": ".csv", TAB: ".tsv"}
_SEPARATOR = re.compile(r'"?sep=."?', re.IGNORECASE)
_NUMBERED = re.compile(r"\s*([\w./-]*\d[\w./-]*)\s*([;|\t,])")
_SHOWN = 60  # characters of an example
# Words of a header that no report of so few words ends without a period with.
_HEADER = frozenset({
    "report", "reports", "prediction", "predictions", "predicted", "generated", "generation",
    "hypothesis", "hypotheses", "reference", "references", "truth", "output", "outputs", "text",
    "texts", "caption", "captions", "candidate", "model",
})  # fmt: skip
_WORDS = 5  # that a header has at most


def read(path: Path, text: str, delimiter: str) -> Rows:
    """The rows of a table with a header; of R2GenCMN's single column, too, which has none."""
    form = "TSV" if delimiter == "\t" else "CSV"
    _refuse_other_delimiter(path, text, delimiter)
    lines = _filled(_cells(path, text, delimiter))
    if not lines:
        raise DataError(f"{path} is empty", "give a header, such as study_id,report, and rows")
    if {len(row) for _, row in lines} == {1} and _is_report(lines[0][1][0]):
        # R2GenCMN's res.csv and gts.csv: pandas wrote them without header and ids.
        cells = [row[0] for _, row in lines]
        _refuse_table(path, cells)
        _refuse_header(path, cells)
        bare = (Row(f"line {line}", {TEXT: row[0]}) for line, row in lines)
        return Rows(path, f"{form} of one column without a header", tuple(bare))
    return Rows(path, form, tuple(_named(path, lines, form)))


def _is_report(cell: str) -> bool:
    """Whether the first cell of a single column may be a report, and no header."""
    return not is_known(cell) and (" " in cell.strip() or cell.strip().endswith("."))


def read_lines(path: Path, text: str) -> Rows:
    """One report a line; an empty line is an empty report."""
    whole = text.replace("\r\n", "\n")
    whole = whole if "\n" in whole else whole.replace("\r", "\n")
    lines = whole.removesuffix("\n").split("\n") if whole else []
    if lines:
        _refuse_table(path, lines)
        _refuse_header(path, lines)
    rows = (Row(f"line {i}", {TEXT: line}) for i, line in enumerate(lines, start=1))
    return Rows(path, "plain lines", tuple(rows))


def _cells(path: Path, text: str, delimiter: str) -> list[Line]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: {error}",
            "put reports with commas or line breaks in double quotes, quotes doubled: "
            '1,"the so-called ""scar"", unchanged"',
        ) from None


def _filled(rows: list[Line]) -> list[Line]:
    """Without blank lines, which in a single column are empty reports, but for those at the end.

    Nor without the empty rows and columns with which Excel fills a sheet.
    """
    if not any(len(row) > 1 for _, row in rows):
        last = max((i for i, (_, row) in enumerate(rows) if row), default=-1)
        return [(line, row or [""]) for line, row in rows[: last + 1]]
    last = max((i for i, (_, row) in enumerate(rows) if any(c.strip() for c in row)), default=-1)
    used = [(line, row) for line, row in rows[: last + 1] if row]
    if not used:
        return []
    width = len(used[0][1])
    while width > 1 and all(len(r) >= width and not r[width - 1].strip() for _, r in used):
        used = [(line, row[: width - 1] + row[width:]) for line, row in used]
        width -= 1
    return used


def _named(path: Path, lines: list[Line], form: str) -> list[Row]:
    header = [name.strip() for name in lines[0][1]]
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise DataError(f"{path}, line 1: two columns {some(doubled)}", "rename one of them")
    for line, row in lines[1:]:
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {line}: {len(row)} fields instead of {len(header)}",
                "put reports with commas or line breaks in double quotes"
                + (f": {_right(row, header)}" if form == "CSV" and len(row) > len(header) else ""),
            )
    return [Row(f"line {line}", dict(zip(header, row, strict=True))) for line, row in lines[1:]]


def _right(row: Sequence[str], header: Sequence[str]) -> str:
    """The nearest right line: what is too much belongs to the last column, in quotes."""
    kept = [*row[: len(header) - 1], ",".join(row[len(header) - 1 :])]
    return _quoted(kept)


def _quoted(cells: Sequence[str]) -> str:
    """One line of CSV; long cells cut."""
    out = io.StringIO()
    short = [c if len(c) <= _SHOWN else f"{c[:_SHOWN]}..." for c in cells]
    csv.writer(out, lineterminator="").writerow(short)
    return out.getvalue()


def _refuse_other_delimiter(path: Path, text: str, delimiter: str) -> None:
    """A header that another character separates into several names, and this one does not."""
    first = text.partition("\n")[0].strip("\r")
    if _SEPARATOR.fullmatch(first):
        raise DataError(f"{path}, line 1: {first!r} is Excel's word", "delete that line")
    other = None if delimiter in first else _delimiter(first)
    if other is None:
        return
    shown = f"{path}, line 1: separated by {_DELIMITERS[other]}, not {_DELIMITERS[delimiter]}"
    if other in _SUFFIXES:
        raise DataError(shown, f"name the file {_SUFFIXES[other]}")
    rows = [row for _, row in _cells(path, "\n".join(text.splitlines()[:2]), other)]
    right = " and then ".join(_quoted(row) for row in rows)
    raise DataError(shown, f"separate columns by commas: {right}")


def _delimiter(line: str) -> str | None:
    """The character that makes a header of a line: of short names, of which one is known."""
    for mark in _DELIMITERS:
        names = line.split(mark)
        short = all(len(n.split()) <= _WORDS and not n.strip().endswith(".") for n in names)
        if len(names) > 1 and short and any(map(is_known, names)):
            return mark
    return None


# --- headers where none belong, or may be --------------------------------------------------------


def _refuse_table(path: Path, lines: Sequence[str]) -> None:
    """Plain lines that are a table: a header of several names, or a tab in each line."""
    mark = _delimiter(lines[0])
    bare = None if mark else _numbered(lines)
    if mark is None and bare is None:
        return
    said = f"{path}: a table with {_DELIMITERS[mark or bare or TAB]}, not one report a line"
    if mark is None:
        raise DataError(said, 'give a CSV file with a header: study_id,report and then 1,"..."')
    if mark in _SUFFIXES:
        raise DataError(said, f"name the file {_SUFFIXES[mark]}")
    right = _quoted(lines[0].split(mark))
    raise DataError(said, f"separate columns by commas, in a file named .csv: {right}")


def _numbered(lines: Sequence[str]) -> str | None:
    """What separates an id from a report in each line, where each begins with one of its own."""
    found = [_NUMBERED.match(line) for line in lines if line.strip()]
    matches = [match for match in found if match]
    marks, ids = {match[2] for match in matches}, {match[1] for match in matches}
    alike = len(found) > 1 and len(matches) == len(found) == len(ids) and len(marks) == 1
    return marks.pop() if alike else None


def _refuse_header(path: Path, lines: Sequence[str]) -> None:
    """A first line that reads as the name of a column: it would be scored as a report."""
    if _is_header(lines[0], lines[1:]):
        raise DataError(
            f"{path}, line 1: {lines[0].strip()!r} may be a header or a report",
            "a header: leave it out, or write `report` in a file named .csv; a report: put a "
            "line `report` above it, in a file named .csv",
        )


def _is_header(first: str, rest: Sequence[str]) -> bool:
    words = first.strip().lower().replace("_", " ").strip("\"'").split()
    if not words or len(words) > _WORDS or words[-1].endswith((".", "!", "?")):
        return False
    if is_known(first) or any(word.strip("():") in _HEADER for word in words):
        return True
    said = [line.strip() for line in rest if line.strip()]
    ended = sum(line.endswith((".", "!", "?", '"')) for line in said)
    return len(said) > 1 and ended == len(said)  # all others are sentences
