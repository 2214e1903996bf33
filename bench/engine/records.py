"""The figures that a training writes down."""

from __future__ import annotations

import csv
import io
from typing import Any


def finite(value: float) -> bool:
    return value - value == 0.0


def means(rows: list[dict[str, float]]) -> dict[str, float]:
    names = list(dict.fromkeys(k for row in rows for k in row))
    present = {k: [row[k] for row in rows if k in row] for k in names}
    return {k: sum(v) / len(v) for k, v in present.items()}


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV at full precision; columns in order of first appearance."""
    names = list(dict.fromkeys(k for row in rows for k in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
