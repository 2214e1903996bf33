"""Which form a file has, by its name or its beginning; and its rows."""

from __future__ import annotations

from pathlib import Path

from bench.formats import objects, tables
from bench.formats.rows import ALL, Rows, of_split
from bench.formats.text import read_text

__all__ = ["ALL", "read"]

_SUFFIXES = {".csv": "CSV", ".tsv": "TSV", ".tab": "TSV", ".json": "JSON", ".jsonl": "JSONL",
             ".ndjson": "JSONL", ".txt": "TEXT"}  # fmt: skip


def read(path: Path, split: str = "") -> Rows:
    """The rows of a file. `split`: which one of a file with several; "" asks for it, ALL gives all.

    DataError where the file cannot be read: names the place and the nearest form that would do.
    """
    text = read_text(path)
    form = _SUFFIXES.get(path.suffix.lower()) or _form(text)
    return of_split(_rows(path, text, form), split)


def _rows(path: Path, text: str, form: str) -> Rows:
    if form == "JSON":
        return objects.read(path, text)
    if form == "JSONL":
        return objects.read_lines(path, text)
    if form == "TEXT":
        return tables.read_lines(path, text)
    return tables.read(path, text, "\t" if form == "TSV" else ",")


def _form(text: str) -> str:
    """What a file without a telling name is, by its beginning."""
    start = text.lstrip()[:1]
    if start in ("{", "["):
        return "JSON"
    first = text.partition("\n")[0]
    if "\t" in first:
        return "TSV"
    return "CSV" if "," in first and " " not in first.strip() else "TEXT"
