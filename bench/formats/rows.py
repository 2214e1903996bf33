"""Any file of reports as rows of named fields: CSV, TSV, JSON, JSON Lines, plain lines.

What a field means is not decided here (`bench.formats.roles`), only what the file's form is. A file
that is none of these is refused with the nearest form that would do.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import DataError, some, unknown
from bench.files import refuse_pipe

KEY, TEXT = "(key)", "(text)"  # what a map's key, and a bare text, are called as fields
SPLITS = ("train", "val", "test")
ALL = "*"  # every split of an annotation, each entry with its own
ANNOTATION = "R2Gen's annotation"
# First bytes of files that are no text at all -> what to do with them.
_BINARY = {
    b"PK\x03\x04": "this is a zip archive or an Excel file: save the table as CSV",
    b"PAR1": "this is a Parquet file: `pandas.read_parquet(FILE).to_csv(OTHER, index=False)`",
    b"\x80\x04": "this is a Python pickle: save a CSV file with the columns study_id,report",
    b"\x80\x05": "this is a Python pickle: save a CSV file with the columns study_id,report",
    b"\x1f\x8b": "this is gzip: unpack it first",
}
_SUFFIXES = {".csv": "CSV", ".tsv": "TSV", ".tab": "TSV", ".json": "JSON", ".jsonl": "JSONL",
             ".ndjson": "JSONL", ".txt": "TEXT"}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One report's fields as the file gives them, and where in the file it stands."""

    place: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Rows:
    """A file's rows in order, and what the file was taken for ("CSV", "a JSON map of ids", ...)."""

    path: Path
    form: str
    rows: tuple[Row, ...]

    @property
    def names(self) -> list[str]:
        """The fields that any row has, in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row.fields))


def read(path: Path, split: str = "") -> Rows:
    """The rows of a file. `split`: which one of an annotation with several; "" asks for it, ALL
    gives all, with the split as a field.

    DataError where the file cannot be read: names the place and the nearest form that would do.
    """
    text = _text(path)
    form = _SUFFIXES.get(path.suffix.lower()) or _form(text)
    if form == "JSON":
        return _json(path, text, split)
    if form == "JSONL":
        return Rows(path, "JSON Lines", tuple(_json_lines(path, text)))
    if form == "TEXT":
        return _lines(path, text)
    return _table(path, text, "\t" if form == "TSV" else ",")


def _text(path: Path) -> str:
    try:
        refuse_pipe(path)
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", "give a file of reports") from None
    for start, advice in _BINARY.items():
        if data.startswith(start):
            raise DataError(f"{path} is no text file", advice)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8", "save the file as UTF-8") from None


def _form(text: str) -> str:
    """What a file without a telling name is, by its beginning."""
    start = text.lstrip()[:1]
    if start in ("{", "["):
        return "JSON"
    first = text.partition("\n")[0]
    if "\t" in first:
        return "TSV"
    return "CSV" if "," in first and " " not in first.strip() else "TEXT"


def _lines(path: Path, text: str) -> Rows:
    """One report a line; an empty line is an empty report."""
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n") if text else []
    rows = (Row(f"line {i}", {TEXT: line}) for i, line in enumerate(lines, start=1))
    return Rows(path, "plain lines", tuple(rows))


def _table(path: Path, text: str, delimiter: str) -> Rows:
    form = "TSV" if delimiter == "\t" else "CSV"
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = _filled([(reader.line_num, row) for row in reader])
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: {error}",
            "put reports with commas or line breaks in double quotes, quotes doubled",
        ) from None
    if rows and {len(row) for _, row in rows} == {1} and " " in rows[0][1][0].strip():
        # R2GenCMN's res.csv and gts.csv: pandas wrote them without header and ids.
        bare = (Row(f"line {line}", {TEXT: row[0]}) for line, row in rows)
        return Rows(path, f"{form} of one column without a header", tuple(bare))
    return Rows(path, form, tuple(_named(path, rows, form)))


def _filled(rows: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Without blank lines; in a single column a blank line before the end is an empty report."""
    last = max((i for i, (_, row) in enumerate(rows) if row), default=-1)
    if any(len(row) > 1 for _, row in rows):
        return [(line, row) for line, row in rows if row]
    return [(line, row or [""]) for line, row in rows[: last + 1]]


def _named(path: Path, rows: list[tuple[int, list[str]]], form: str) -> Iterator[Row]:
    if not rows:
        raise DataError(f"{path} is empty", "give a header, such as study_id,report, and rows")
    header = [name.strip() for name in rows[0][1]]
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise DataError(f"{path}, line 1: two columns {some(doubled)}", "rename one of them")
    for line, row in rows[1:]:
        if len(row) != len(header):
            other = "a TSV file is named .tsv" if form == "CSV" and "\t" in "".join(header) else (
                "put reports with commas or line breaks in double quotes"
            )  # fmt: skip
            raise DataError(
                f"{path}, line {line}: {len(row)} fields instead of {len(header)}", other
            )
        yield Row(f"line {line}", dict(zip(header, row, strict=True)))


# --- JSON ---------------------------------------------------------------------------------------


def _json(path: Path, text: str, split: str) -> Rows:
    try:
        found = json.loads(text, object_pairs_hook=lambda pairs: _map(path, pairs))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and len(text.strip().split("\n")) > 1:
            return Rows(path, "JSON Lines", tuple(_json_lines(path, text)))
        raise DataError(f"{path}, line {error.lineno}: {error.msg}", "mend the JSON") from None
    if isinstance(found, list):
        return Rows(path, "a JSON list", tuple(_listed(path, found)))
    if not isinstance(found, dict):
        raise DataError(
            f"{path} holds one {type(found).__name__}", 'give {"study id": "report", ...}'
        )
    return _mapped(path, found, split)


def _map(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; one key twice is refused, where `json` would keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        doubled = [key for key in found if keys.count(key) > 1]
        raise DataError(f"{path}: keys given twice: {some(doubled)}", "keep one entry per study")
    return found


def _json_lines(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line, object_pairs_hook=lambda pairs: _map(path, pairs))
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}, line {number}: {error.msg}", "JSON Lines hold one JSON object a line"
            ) from None
        yield _entry(path, f"line {number}", entry)


def _listed(path: Path, entries: list[Any]) -> Iterator[Row]:
    for number, entry in enumerate(entries, start=1):
        yield _entry(path, f"entry {number}", entry)


def _entry(path: Path, place: str, entry: Any) -> Row:
    if isinstance(entry, dict):
        return Row(place, entry)
    if isinstance(entry, str) or entry is None:
        return Row(place, {TEXT: entry})
    raise DataError(
        f"{path}, {place}: a {type(entry).__name__}, neither a report nor an object",
        'give [{"study_id": "1", "report": "..."}, ...]',
    )


def _mapped(path: Path, found: dict[str, Any], split: str) -> Rows:
    lists = {key: value for key, value in found.items() if isinstance(value, list)}
    if lists and set(found) <= set(SPLITS) and _are_entries(lists):
        return _annotation(path, lists, split)
    if lists and len(lists) == len(found) and not _are_wrapped(lists):
        return _columns(path, lists)
    if len(found) <= len(lists) + 3 and (inner := lists.get("annotations")):  # COCO's captions
        return Rows(path, "COCO's annotations", tuple(_listed(path, inner)))
    return Rows(path, "a JSON map of ids", tuple(_keyed(path, found)))


def _are_entries(lists: Mapping[str, list[Any]]) -> bool:
    return all(isinstance(entry, dict) for values in lists.values() for entry in values)


def _are_wrapped(lists: Mapping[str, list[Any]]) -> bool:
    """A map of ids whose reports are lists of one, as the COCO scorers take them."""
    return all(len(values) == 1 for values in lists.values()) and len(lists) > 2


def _annotation(path: Path, splits: Mapping[str, list[Any]], split: str) -> Rows:
    if split == ALL:
        entries = [{**e, "split": name} for name, found in splits.items() for e in found]
        return Rows(path, ANNOTATION, tuple(_listed(path, entries)))
    full = [name for name, entries in splits.items() if entries]
    if not split and len(full) > 1:
        raise DataError(
            f"{path} has {len(full)} splits: {', '.join(full)}",
            "say which one: split=test",
        )
    chosen = split or full[0] if full else split
    if chosen not in splits:
        raise unknown("split of the file", chosen, splits)
    form = f"{ANNOTATION}, its {chosen} split"
    return Rows(path, form, tuple(_listed(path, splits[chosen])))


def _columns(path: Path, lists: Mapping[str, list[Any]]) -> Rows:
    """{"references": [...], "hypotheses": [...]}: entry i of each list is of report i."""
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise DataError(f"{path}: lists of different lengths: {said}", "give one entry per study")
    rows = zip(*lists.values(), strict=True)
    named = (dict(zip(lists, values, strict=True)) for values in rows)
    entries = (Row(f"entry {i}", fields) for i, fields in enumerate(named, start=1))
    return Rows(path, f"JSON lists {' and '.join(lists)}", tuple(entries))


def _keyed(path: Path, found: Mapping[str, Any]) -> Iterator[Row]:
    for key, value in found.items():
        row = _entry(path, f"key {key!r}", value[0] if _is_one(value) else value)
        yield Row(row.place, {KEY: key, **row.fields})


def _is_one(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 1
