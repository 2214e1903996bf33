"""CSV tables of the release, gzipped or not: whole columns, or an error that says what is wrong."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from bench.errors import DataError, unknown

SOURCES = "physionet.org: MIMIC-CXR-JPG for images and tables, MIMIC-CXR for the reports"
SPLITS = {
    "train": "train", "training": "train",
    "validate": "val", "validation": "val", "valid": "val", "val": "val", "dev": "val",
    "test": "test",
}  # fmt: skip
LONGEST = 2**20  # characters of a line or a field: no row of the release is near it


def rows(path: Path, *columns: str) -> Iterator[list[str]]:
    """The values of these columns, row by row; other columns are not looked at.

    A byte order mark and blanks around names are accepted. DataError for a file that cannot be
    read, lacks a column or has a row that ends early: it names file, line and column.
    """
    csv.field_size_limit(LONGEST)
    try:
        with _opened(path) as file:
            reader = csv.reader(_lines(file))
            places = _places(path, next(reader, []), columns)
            longest = max(places)
            for row in reader:
                if len(row) > longest:
                    yield [row[i] for i in places]
                elif row:
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(row)} fields, too few for "
                        f"{', '.join(columns)}",
                        f"get it again: {SOURCES}",
                    )
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}", f"get it again: {SOURCES}") from error


def _lines(file: IO[str]) -> Iterator[str]:
    """Lines one by one, none of which fills the memory: gzip packs gigabytes into megabytes."""
    while line := file.readline(LONGEST + 1):
        if len(line) > LONGEST:
            raise csv.Error(f"a line of more than {LONGEST} characters")
        yield line


def _opened(path: Path):  # type: ignore[no-untyped-def]
    """As text, by content: a `.gz` that a browser has unpacked is plain."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    opener = gzip.open if packed else open
    return opener(path, "rt", encoding="utf-8-sig", newline="")


def _places(path: Path, header: Sequence[str], columns: Sequence[str]) -> list[int]:
    names = [name.strip() for name in header]
    absent = [c for c in columns if c not in names]
    if absent:
        found = ", ".join(names) or "nothing"
        raise DataError(
            f"{path} has no column {' and no '.join(absent)}; found: {found}",
            f"get it again: {SOURCES}",
        )
    return [names.index(c) for c in columns]


def split_of(name: str, place: object) -> str:
    """ "train", "val" or "test" of any name that releases and their copies use."""
    try:
        return SPLITS[name.strip().lower()]
    except (KeyError, AttributeError):
        error = unknown("split", str(name), SPLITS)
        raise DataError(f"{place}: {error.message}", error.hint) from None
