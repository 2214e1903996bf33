"""The figure that says it: wording, findings, and how many reports a row knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.figures import GREY, INK, ORANGE, PALE, TWO, pyplot
from bench.reporting import sections
from bench.reporting.conclusions import (
    F1,
    FINDINGS,
    RAW,
    WORDED,
    Reading,
    above_floors,
    higher,
    readings,
    studies,
)
from bench.reporting.figures import Drawn
from bench.reporting.figures.parts import (
    bands,
    dot_handle,
    dots,
    floor_handles,
    labels,
    row_axis,
)
from bench.runs.controls import SHUFFLED
from bench.spec import TREATMENT

if TYPE_CHECKING:
    from bench.reporting.summary import Summary


def draw(suite: Summary) -> Drawn | None:
    """CIDEr with own and with others' images, findings F1, distinct reports; floors as bands."""
    found = readings(suite)
    rows = [r for r in found if suite.has(WORDED, TREATMENT, [r])]
    if not rows:
        return None
    height = 0.185 * len(rows) + 1.3
    figure, axes = pyplot().subplots(
        1, 3, figsize=(TWO, height), gridspec_kw={"width_ratios": (1.3, 1.15, 0.5), "wspace": 0.09}
    )
    shown = _wording(axes[0], suite, rows, found)
    shown += _findings(axes[1], suite, rows, found)
    _distinct(axes[2], suite, rows, found)
    row_axis(axes[0], labels(suite, rows))
    for axis in axes[1:]:
        row_axis(axis, rows, named=False)
    handles = [dot_handle("own images"), dot_handle("images of other studies", ORANGE, True),
               *floor_handles(shown)]  # fmt: skip
    figure.legend(
        handles=handles, loc="lower center", ncols=3, handletextpad=0.4, columnspacing=1.2
    )
    widest = max(map(len, labels(suite, rows)))
    figure.subplots_adjust(
        left=max(0.125, 0.0098 * widest), right=0.985, top=1 - 0.28 / height, bottom=0.77 / height
    )
    return Drawn(figure, [_record(suite, row, found[row]) for row in rows])


def _wording(axis: Any, suite: Summary, rows: list[str], found: dict[str, Reading]) -> list[str]:
    shown = bands(axis, suite, WORDED, TREATMENT)
    for i, row in enumerate(rows):
        other = found[row].other
        if other is not None:
            axis.hlines(i, other, found[row].own, color=PALE, linewidth=0.8, zorder=0)
            axis.plot(other, i, "o", color=ORANGE, markerfacecolor="white", markersize=3.6)
    dots(axis, [suite.figure(r, WORDED, TREATMENT) for r in rows], [INK] * len(rows))
    count = sum(map(higher, above_floors(suite, WORDED, TREATMENT).values()))
    axis.set_title(f"{count} of {len(rows)} rows beat every floor in {WORDED} …")
    axis.set_xlabel(f"{WORDED}, 95 % intervals")
    return shown


def _findings(axis: Any, suite: Summary, rows: list[str], found: dict[str, Reading]) -> list[str]:
    if not any(found[row].f1 for row in rows):
        axis.set_visible(False)
        return []
    shown = bands(axis, suite, F1, RAW)
    colours = [INK if found[r].kind == FINDINGS else GREY for r in rows]
    dots(axis, [found[r].f1 for r in rows], colours)
    count = sum(found[r].kind == FINDINGS for r in rows)
    axis.set_title(f"… {count or 'none'} in findings")
    axis.set_xlabel("findings, micro-F1 (black: above every floor)")
    return shown


def _distinct(axis: Any, suite: Summary, rows: list[str], found: dict[str, Reading]) -> None:
    counts = [found[r].distinct or 0.0 for r in rows]
    axis.barh(range(len(rows)), counts, color=PALE, height=0.62)
    for i, count in enumerate(counts):
        axis.text(count + max(counts) * 0.03, i, f"{count:.0f}", va="center")
    axis.set_xlim(0, max(*counts, 1.0) * 1.25)
    axis.set_xlabel(f"distinct reports of {studies(suite)}")


def _record(suite: Summary, row: str, found: Reading) -> dict[str, object]:
    own = suite.figure(row, WORDED, TREATMENT)
    control = sections.image_gain(suite, SHUFFLED).get((row, WORDED))
    f1 = found.f1
    return {
        "row": row, WORDED: own.value, f"{WORDED} low": own.low, f"{WORDED} high": own.high,
        f"{WORDED} shuffled": "" if control is None else control.value_b,
        "findings F1": f1.value if f1 else "", "findings F1 low": f1.low if f1 else "",
        "findings F1 high": f1.high if f1 else "", "distinct reports": found.distinct,
        "reads": found.kind,
    }  # fmt: skip
