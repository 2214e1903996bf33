"""Scores on studies whose cleaned report also stands in train, and on the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.figures import BLUE, INK, TWO, pyplot
from bench.metrics.registry import BRIEF
from bench.reporting.figures import Drawn
from bench.reporting.figures.parts import dot_handle, dots, labels, row_axis
from bench.reporting.tables import Figure
from bench.runs.features import SMALLEST_PART
from bench.runs.strata import strata
from bench.spec import TREATMENT

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

PARTS = {"seen": BLUE, "unseen": INK}


def draw(suite: Summary) -> Drawn | None:
    """A panel a score: two intervals a row, over the studies of either part and over seeds."""
    known = strata(suite.data, "test")
    parts = {p: tuple(known[p]) for p in PARTS if len(known.get(p, ())) >= SMALLEST_PART}
    rows = [r for r in (*suite.trained, *suite.floors) if suite.has(BRIEF[0], TREATMENT, [r])]
    metrics = [m for m in BRIEF if all(suite.has(m, TREATMENT, [r]) for r in rows)]
    if len(parts) < len(PARTS) or not rows or suite.folds > 1:
        return None
    found = {
        (row, metric, part): Figure(
            *suite.contrasts.interval(suite.keys[row], metric, TREATMENT, ids)
        )
        for row in rows for metric in metrics for part, ids in parts.items()
    }  # fmt: skip
    height = 0.2 * len(rows) + 1.1
    figure, axes = pyplot().subplots(
        1, len(metrics), figsize=(TWO, height), squeeze=False, gridspec_kw={"wspace": 0.06}
    )
    for axis, metric in zip(axes[0], metrics, strict=True):
        for place, (part, colour) in enumerate(PARTS.items()):
            shift = 0.28 * place - 0.14
            dots(axis, [found[r, metric, part] for r in rows], [colour] * len(rows), shift)
        row_axis(axis, labels(suite, rows), named=axis is axes[0][0])
        axis.set_xlabel(f"{metric}, 95 % intervals")
    handles = [dot_handle(f"{p} in train (n = {len(parts[p])})", c) for p, c in PARTS.items()]
    figure.legend(handles=handles, loc="lower center", ncols=2)
    higher = sum(found[r, BRIEF[0], "seen"].low > found[r, BRIEF[0], "unseen"].high for r in rows)
    figure.suptitle(
        f"{higher} of {len(rows)} rows and floors score clearly higher in {BRIEF[0]} on reports "
        "that also stand in train",
        x=0.01, y=1 - 0.06 / height, ha="left", va="top",
    )  # fmt: skip
    figure.subplots_adjust(left=0.185, right=0.985, top=1 - 0.32 / height, bottom=0.62 / height)
    data = [{"row": r, "score": m, "part": p, "value": f.value, "low": f.low, "high": f.high}
            for (r, m, p), f in found.items()]  # fmt: skip
    return Drawn(figure, data)
