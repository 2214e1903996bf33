"""Quality against what a row costs: FLOPs of its training and pretraining, and parameters."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Any

from bench.figures import BLUE, INK, TWO, pyplot
from bench.reporting.conclusions import F1, FINDINGS, RAW, WORDED, readings
from bench.reporting.costs import costs
from bench.reporting.figures import Drawn
from bench.reporting.figures.parts import bands_across, dot_handle, floor_handles, plain_numbers
from bench.spec import TREATMENT
from bench.store import RunFolder, read_json

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

SCORES = {WORDED: TREATMENT, F1: RAW}
SIDES = (  # of a dot, where its name may stand: alignment, and points away
    ("left", "center", 4, 0), ("right", "center", -4, 0), ("center", "bottom", 0, 4),
    ("center", "top", 0, -4), ("left", "bottom", 3, 2), ("right", "bottom", -3, 2),
    ("left", "top", 3, -2), ("right", "top", -3, -2),
)  # fmt: skip
NAMES = {WORDED: WORDED, F1: "findings F1"}


def draw(suite: Summary) -> Drawn | None:
    """Four panels: two scores against FLOPs and against parameters."""
    spent = {c.row: c for c in costs(suite)}
    rows = [r for r in suite.trained if all(suite.has(s, t, [r]) for s, t in SCORES.items())]
    if not rows:
        return None
    flops = {
        r: spent[r].training.flops + (p.flops if (p := spent[r].pretraining) else 0.0) for r in rows
    }
    sizes = {r: _parameters(suite, r) for r in rows}
    axes_of = {
        "FLOPs, 10⁹, pretraining counted": {r: x / 1e9 for r, x in flops.items()},
        "parameters, thousands": {r: x / 1e3 for r, x in sizes.items()},
    }
    figure, axes = pyplot().subplots(
        2, 2, figsize=(TWO, 4.1), sharey="row", sharex="col",
        gridspec_kw={"wspace": 0.06, "hspace": 0.1},
    )  # fmt: skip
    kinds = {r: x.kind for r, x in readings(suite).items()}
    shown: list[str] = []
    for line, (score, text) in zip(axes, SCORES.items(), strict=True):
        for axis, (name, values) in zip(line, axes_of.items(), strict=True):
            shown += _panel(axis, suite, rows, values, score, text, kinds)
            if score == F1:
                axis.set_xlabel(name)
        line[0].set_ylabel(NAMES[score])
    figure.legend(
        handles=[dot_handle("names findings beyond every floor", BLUE), dot_handle("others"),
                 *floor_handles(shown)],
        loc="lower center", ncols=3,
    )  # fmt: skip
    figure.suptitle(_title(flops, kinds), x=0.01, y=0.985, ha="left", va="top")
    figure.subplots_adjust(left=0.075, right=0.985, top=0.925, bottom=0.2)
    for line, (score, text) in zip(axes, SCORES.items(), strict=True):
        heights = {r: suite.figure(r, score, text).value for r in rows}
        for axis, values in zip(line, axes_of.values(), strict=True):
            _names(axis, {r: (values[r], heights[r]) for r in rows})
    data = [
        {"row": r, "FLOPs": flops[r], "parameters": sizes[r],
         **{NAMES[s]: suite.figure(r, s, t).value for s, t in SCORES.items()}}
        for r in rows
    ]  # fmt: skip
    return Drawn(figure, data)


def _title(flops: Mapping[str, float], kinds: Mapping[str, str]) -> str:
    dear = max(flops, key=lambda r: flops[r])
    readers = [r for r in flops if kinds.get(r) == FINDINGS]
    if not readers:
        return "No row names findings beyond every floor, whatever it costs"
    cheap = min(readers, key=lambda r: flops[r])
    share = 100 * flops[cheap] / flops[dear]
    return f"{cheap} names findings for {share:.0f} % of the FLOPs of the dearest row, {dear}"


def _parameters(suite: Summary, row: str) -> float:
    folders = (RunFolder(suite.contrasts.out, run_id) for run_id in suite.keys[row])
    return fmean(float(read_json(folder / "train.json")["parameters"]) for folder in folders)


def _panel(
    axis: Any,
    suite: Summary,
    rows: list[str],
    values: Mapping[str, float],
    score: str,
    text: str,
    kinds: Mapping[str, str],
) -> list[str]:
    shown = []
    for name in bands_across(axis, suite, score, text):
        shown.append(name)
    for row in rows:
        found = suite.figure(row, score, text)
        colour = BLUE if kinds.get(row) == FINDINGS else INK
        axis.vlines(values[row], found.low, found.high, color=colour, linewidth=0.5, alpha=0.5)
        axis.plot(values[row], found.value, "o", color=colour, markersize=3.2)
    axis.set_xscale("log")
    plain_numbers(axis.xaxis)
    low, high = min(values.values()), max(values.values())
    apart = max((high / low) ** 0.12, 1.1)  # also of one row alone
    axis.set_xlim(low / apart, high * apart)
    return shown


def _names(axis: Any, places: Mapping[str, tuple[float, float]]) -> None:
    """Names beside the dots, on the first side where they lie on no dot and no other name."""
    axis.autoscale_view()
    points = {r: axis.transData.transform(p) * 72 / axis.figure.dpi for r, p in places.items()}
    frame = [x * 72 / axis.figure.dpi for x in axis.bbox.extents]
    taken = [(x - 2, y - 2, x + 2, y + 2) for x, y in points.values()]
    for row, (x, y) in points.items():
        wide = 4.9 * len(row)
        for ha, va, dx, dy in SIDES:
            left = x + dx - {"left": 0.0, "right": wide, "center": wide / 2}[ha]
            low = y + dy - {"bottom": 0.0, "top": 7.0, "center": 3.5}[va]
            box = (left, low, left + wide, low + 7)
            inside = frame[0] <= box[0] and box[2] <= frame[2] + 6
            if inside and not any(_overlap(box, other) for other in taken):
                axis.annotate(row, places[row], (dx, dy), ha=ha, va=va, textcoords="offset points")
                taken.append(box)
                break


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether two boxes (left, bottom, right, top) share a place."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
