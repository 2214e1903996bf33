"""Any file of reports as rows of named fields: CSV, TSV, JSON, JSON Lines, plain lines.

What a field means is not decided here (`bench.formats.roles`), only what the file's form is. A file
that is none of these is refused with the nearest form that would do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import DataError, unknown
from bench.formats.names import SPLIT

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validate": "val",
               "validation": "val", "test": "test"}  # fmt: skip
ALL = "*"  # every split of an annotation, each entry with its own


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

    @property
    def splits(self) -> list[str]:
        """The splits that rows say they are of, in order of appearance."""
        said = (str(row.fields.get(SPLIT) or "").strip() for row in self.rows)
        return list(dict.fromkeys(SPLIT_NAMES.get(name.lower(), name) for name in said if name))


def of_split(rows: Rows, split: str) -> Rows:
    """The rows of one split, where rows have splits; "" asks for it if there are several.

    ALL keeps every row. Rows without any split are all kept: `Rows.splits` tells them apart.
    """
    found = rows.splits
    if split == ALL or not found:
        return rows
    if not split and len(found) > 1:
        raise DataError(
            f"{rows.path} has {len(found)} splits: {', '.join(found)}", "say which one: split=test"
        )
    chosen = SPLIT_NAMES.get(split, split) or found[0]
    if chosen not in found:
        raise unknown(f"split of {rows.path}", split, found)
    kept = tuple(row for row in rows.rows if _split_of(row) == chosen)
    return replace(rows, form=f"{rows.form}, its {chosen} split", rows=kept)


def _split_of(row: Row) -> str:
    said = str(row.fields.get(SPLIT) or "").strip()
    return SPLIT_NAMES.get(said.lower(), said)


def refuse_split(rows: Rows, split: str) -> None:
    """A split was asked for of a file that knows none."""
    if split and not rows.splits:
        raise DataError(
            f"split={split}: {rows.path} ({rows.form}) has no splits",
            "leave split= out; an annotation has them as its keys, or each entry as a field split",
        )
