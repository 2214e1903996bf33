"""The page's one table of rows: each score with a bar of its interval, floors below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from bench.metrics.registry import BRIEF
from bench.reporting.conclusions import F1, FINDINGS, MARKS, RAW, WORDING, distinct, readings
from bench.reporting.figures.parts import label
from bench.reporting.tables import Figure, language_scores
from bench.runs.features import FEATURES
from bench.spec import TREATMENT
from bench.store import RunFolder, read_json
from bench.suites.suite import Row
from bench.terminal import number

if TYPE_CHECKING:
    from bench.reporting.summary import Summary


@dataclass(frozen=True)
class Column:
    """`first`: shown before any is chosen."""

    key: str
    head: str
    first: bool = False


# score -> (heading, what it reads); language scores come before them
SCORES = {
    F1: ("findings F1", RAW),
    "chexpert-rules-F1-macro-14": ("findings, macro-F1", RAW),
    "chexpert-rules-truth-F1-micro-14": ("findings F1, truth", RAW),
    "image-information-bound": ("image bound, nats", FEATURES),
    "alignment-control-auc": ("alignment, AUC", FEATURES),
    "attention-box-gain": ("attention in boxes, gain", FEATURES),
}
SHOWN = (*BRIEF, F1)
COUNTED = {"distinct": "distinct reports", "reads": "reads", "parameters": "parameters, M",
           "flops": "FLOPs, 10⁹"}  # fmt: skip
ORDER = {FINDINGS: 2.0, WORDING: 1.0}


def leaderboard(suite: Summary) -> dict[str, Any]:
    """`columns`, `groups` of rows with their cells, and a note."""
    rows = [*suite.trained, *suite.floors]
    columns = list(_columns(suite, rows))
    cells = {row: {} for row in rows}  # type: dict[str, dict[str, dict[str, Any]]]
    for column in columns:
        for row, cell in _column(suite, column.key, rows).items():
            cells[row][column.key] = cell
    groups = [
        {"kind": kind, "rows": [_row(suite, name, columns, cells[name]) for name in names]}
        for kind, names in (("rows", suite.trained), ("floors", suite.floors))
        if names
    ]
    note = "Reads: " + "; ".join(f"{kind}, {text}" for kind, text in MARKS.items()) + "."
    meant = [(row.name, _meant(row)) for row in suite.suite.rows if row.name in suite.keys]
    return {"columns": columns, "groups": groups, "note": note, "meant": meant}


def _meant(row: Row) -> str:
    """What a row is: the parts that the paper's table ticks, or its model and settings."""
    if row.ticks:
        return " + ".join(row.ticks)
    settings = ", ".join(setting.removeprefix("model.params.") for setting in row.overrides)
    return f"model {row.model}{' with ' if settings else ''}{settings}"


def _columns(suite: Summary, rows: Sequence[str]) -> Iterator[Column]:
    texts = dict.fromkeys(language_scores(), TREATMENT) | {s: t for s, (_, t) in SCORES.items()}
    for score, text in texts.items():
        if any(suite.has(score, text, [r]) for r in rows):
            yield Column(score, SCORES[score][0] if score in SCORES else score, score in SHOWN)
    for key, head in COUNTED.items():
        yield Column(key, head, key in ("distinct", "reads"))


def _row(
    suite: Summary, name: str, columns: Sequence[Column], cells: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    empty = {"value": None, "text": "", "bar": None}
    return {"name": label(suite, name), "cells": [(cells.get(c.key, empty), c) for c in columns]}


def _column(suite: Summary, key: str, rows: Sequence[str]) -> dict[str, dict[str, Any]]:
    if key in COUNTED:
        return _counted(suite, key, rows)
    text = SCORES[key][1] if key in SCORES else TREATMENT
    found = {r: suite.figure(r, key, text) for r in rows if suite.has(key, text, [r])}
    low = min(f.low for f in found.values())
    reach = max(f.high for f in found.values()) - low or 1.0
    return {row: _cell(figure, low, reach) for row, figure in found.items()}


def _cell(figure: Figure, low: float, reach: float) -> dict[str, Any]:
    """The bar: where the interval begins, how wide it is, and where the value lies, in per cent."""
    start, stop, at = (100 * (x - low) / reach for x in (figure.low, figure.high, figure.value))
    half = (figure.high - figure.low) / 2
    return {
        "value": round(figure.value, 6),
        "text": f"{number(figure.value)} ±{number(half)}",
        "bar": [round(x, 1) for x in (start, stop - start, at)],
    }


def _counted(suite: Summary, key: str, rows: Sequence[str]) -> dict[str, dict[str, Any]]:
    if key == "reads":
        found = {r: x.kind for r, x in readings(suite).items()}
        return {r: _plain(ORDER.get(kind, 0.0), kind) for r, kind in found.items()}
    if key == "distinct":
        counts = {r: distinct(suite, r) for r in rows}
        return {r: _plain(n, f"{n:.0f}") for r, n in counts.items() if n is not None}
    name, scale, digits = {"parameters": ("parameters", 1e6, 2), "flops": ("flops", 1e9, 0)}[key]
    facts = {r: fmean(_facts(suite, r, name)) / scale for r in suite.trained}
    return {r: _plain(x, f"{x:,.{digits}f}") for r, x in facts.items()}


def _facts(suite: Summary, row: str, name: str) -> list[float]:
    folders = (RunFolder(suite.contrasts.out, run_id) for run_id in suite.keys[row])
    return [float(read_json(folder / "train.json")[name]) for folder in folders]


def _plain(value: float, text: str) -> dict[str, Any]:
    return {"value": round(value, 6), "text": text, "bar": None}
