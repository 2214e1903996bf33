"""The paper's claims beside our intervals: a forest, coloured by verdict."""

from __future__ import annotations

from collections import Counter
from math import exp
from typing import TYPE_CHECKING, Any

from bench.figures import BLUE, GREY, INK, ORANGE, SKY, TWO, pyplot
from bench.reporting.claims import Entry, ledger
from bench.reporting.figures import Drawn
from bench.reporting.figures.parts import dot_handle, legend_height, row_axis
from bench.stats.verdicts import (
    CONFIRMED,
    EXCLUDED,
    LEVEL,
    NO_EFFECT,
    ONE_TRAINING,
    REVERSED,
    UNRESOLVED,
)

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

STYLES = {  # of a verdict: colour, marker, filled
    CONFIRMED: (BLUE, "o", True),
    REVERSED: (ORANGE, "v", True),
    EXCLUDED: (INK, "s", True),
    NO_EFFECT: (SKY, "s", False),
    UNRESOLVED: (GREY, "o", False),
    ONE_TRAINING: (GREY, "x", True),
}
TITLES = {"alignment": "alignment score", "attention-box-gain": "attention in boxes"}
NAMES_A_LINE = 6  # of the legend
PANELS = ("BLEU-4", "CIDEr", "alignment", "attention-box-gain")


def draw(suite: Summary) -> Drawn | None:
    """One panel a metric, one line a contrast; per cent where sizes are held as ratios."""
    entries = [
        e for e in ledger(suite) if e.metric in PANELS and e.effect is not None and e.effect.defined
    ]
    if not entries:
        return None
    metrics = [m for m in PANELS if any(e.metric == m for e in entries)]
    rows = list(dict.fromkeys(e.claim.rows for e in entries))
    kinds = Counter(e.verdict.kind for e in entries)
    below = 0.51 + legend_height(1 + len(kinds), NAMES_A_LINE)
    height = 0.165 * len(rows) + 0.58 + below
    figure, axes = pyplot().subplots(
        1, len(metrics), figsize=(TWO, height), squeeze=False, gridspec_kw={"wspace": 0.08}
    )
    for axis, metric in zip(axes[0], metrics, strict=True):
        _panel(axis, [e for e in entries if e.metric == metric], rows)
        row_axis(axis, [_short(r) for r in rows], named=axis is axes[0][0])
        axis.set_title(TITLES.get(metric, metric))
    handles = [dot_handle("paper, one run", GREY, True, "D")]
    handles += [
        dot_handle(f"{kind} ({kinds[kind]})", colour, not filled, marker)
        for kind, (colour, marker, filled) in STYLES.items()
        if kinds[kind]
    ]
    figure.legend(handles=handles, loc="lower center", ncols=NAMES_A_LINE, columnspacing=1.0,
                  handletextpad=0.2)  # fmt: skip
    figure.suptitle(_title(kinds), x=0.01, y=1 - 0.06 / height, ha="left", va="top")
    figure.subplots_adjust(left=0.215, right=0.985, top=1 - 0.45 / height, bottom=below / height)
    return Drawn(figure, [_record(e) for e in entries])


def _title(counts: Counter[str]) -> str:
    tested = sum(counts.values())
    return (
        f"{counts[CONFIRMED]} of {tested} claimed differences confirmed, {counts[REVERSED]} "
        f"reversed, {counts[EXCLUDED] + counts[NO_EFFECT]} smaller than claimed"
    )


def _short(rows: str) -> str:
    """a − BASE, or of a mean of two: a − BASE, e − d (mean)."""
    inner = rows.removeprefix("(").removesuffix(") / 2").replace(" + ", ", ").replace(" - ", " − ")
    return f"{inner} (mean)" if rows.startswith("(") else inner


def _panel(axis: Any, entries: list[Entry], rows: list[str]) -> None:
    axis.axvline(0, color=INK, linewidth=0.6)
    for entry in entries:
        place = rows.index(entry.claim.rows)
        colour, marker, filled = STYLES[entry.verdict.kind]
        value, low, high = _scaled(entry)
        axis.hlines(place, low, high, color=colour, linewidth=1.1)
        axis.plot(value, place, marker, color=colour, markersize=3.6,
                  markerfacecolor=colour if filled else "white")  # fmt: skip
        if entry.claimed is not None:
            axis.plot(_points(entry, entry.claimed), place, "D", color=GREY, markersize=3.2,
                      markerfacecolor="white", markeredgewidth=0.8)  # fmt: skip
    axis.locator_params(axis="x", nbins=3)
    axis.set_xlabel("change, %" if entries[0].ratio else "change, points")


def _scaled(entry: Entry) -> tuple[float, float, float]:
    assert entry.effect is not None
    ends = (entry.effect.value, *entry.effect.interval(LEVEL))
    value, low, high = (_points(entry, x) for x in ends)
    return value, low, high


def _points(entry: Entry, value: float) -> float:
    return 100 * (exp(value) - 1) if entry.ratio else value


def _record(entry: Entry) -> dict[str, object]:
    value, low, high = _scaled(entry)
    claimed = None if entry.claimed is None else _points(entry, entry.claimed)
    return {
        "claim": entry.claim.text, "rows": entry.claim.rows, "metric": entry.metric,
        "scale": "per cent" if entry.ratio else "points", "paper": claimed, "ours": value,
        "low": low, "high": high, "verdict": entry.verdict.kind, "after Holm": int(entry.star),
    }  # fmt: skip
