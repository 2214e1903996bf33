"""What figures share: names of rows, dots with intervals, floors as bands."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from bench.figures import BLUE, GREEN, INK, PINK, SKY
from bench.reporting.tables import SHORT
from bench.suites.suite import floor_title

if TYPE_CHECKING:
    from bench.reporting.summary import Summary
    from bench.reporting.tables import Figure

# Those that figures show; of equal ones the first.
FLOORS = {"constant": BLUE, "constant_cider": SKY, "nearest": GREEN, "frequent": PINK}
DASHES: dict[str, Any] = {
    "constant": "-", "constant_cider": (0, (6, 1.2, 1, 1.2)), "nearest": (0, (4, 2)),
    "frequent": (0, (1, 1.2)),
}  # fmt: skip
LEGEND_LINE = 0.15  # inches
SPELLED = 2  # parts of a row that are named one by one


def label(suite: Summary, row: str) -> str:
    """`a: LSU`, `e: d + LSU`, or the name where it says enough."""
    ticks = {r.name: frozenset(r.ticks) for r in suite.suite.rows}
    own = ticks.get(row, frozenset())
    if len(row) > 1 or not own:
        return floor_title(row)
    if len(own) <= SPELLED:
        named = next(r.ticks for r in suite.suite.rows if r.name == row)
        return f"{row}: {' + '.join(SHORT.get(t, t) for t in named)}"
    smaller = [r for r, t in ticks.items() if len(r) == 1 and t < own and len(own - t) == 1]
    [added] = own - ticks[smaller[-1]] if smaller else [""]
    return f"{row}: {smaller[-1]} + {SHORT.get(added, added)}" if smaller else row


def labels(suite: Summary, rows: Sequence[str]) -> list[str]:
    return [label(suite, row) for row in rows]


def dots(
    axis: Any, figures: Sequence[Figure | None], colours: Sequence[str], shift: float = 0
) -> None:
    """A dot and its interval a row, from the top."""
    for i, (found, colour) in enumerate(zip(figures, colours, strict=True)):
        if found is not None:
            axis.hlines(i + shift, found.low, found.high, color=colour, linewidth=1.1)
            axis.plot(found.value, i + shift, "o", color=colour, markersize=3.4)


def row_axis(axis: Any, names: Sequence[str], named: bool = True) -> None:
    axis.set_yticks(range(len(names)), names if named else [""] * len(names))
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)


def bands(axis: Any, suite: Summary, score: str, text: str) -> list[str]:
    """Floors as lines with their intervals as bands; the names of those drawn."""
    drawn: dict[str, float] = {}
    for name, colour in FLOORS.items():
        if name in suite.floors and suite.has(score, text, [name]):
            found = suite.figure(name, score, text)
            if found.value in drawn.values():
                continue
            axis.axvspan(found.low, found.high, color=colour, alpha=0.13, linewidth=0)
            axis.axvline(found.value, color=colour, linewidth=1.0, linestyle=DASHES[name])
            drawn[name] = found.value
    return list(drawn)


def bands_across(axis: Any, suite: Summary, score: str, text: str) -> list[str]:
    """`bands` for a score that is drawn upwards."""

    class Turned:
        axvspan = staticmethod(axis.axhspan)
        axvline = staticmethod(axis.axhline)

    return bands(Turned, suite, score, text)


def floor_handles(names: Sequence[str]) -> list[Any]:
    """For a legend: a line each, in the colour and dashes of `bands`."""
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=FLOORS[n], linewidth=1.0, linestyle=DASHES[n], label=floor_title(n))
        for n in dict.fromkeys(names)
    ]


def legend_height(names: int, across: int) -> float:
    """Inches that a legend's lines take, `across` names a line."""
    return LEGEND_LINE * ceil(names / across)


def dot_handle(text: str, colour: str = INK, hollow: bool = False, marker: str = "o") -> Any:
    from matplotlib.lines import Line2D

    face = "white" if hollow else colour
    return Line2D([], [], marker=marker, linestyle="none", color=colour, markerfacecolor=face,
                  markersize=4, label=text)  # fmt: skip


def letters_on(colour: Sequence[float]) -> str:
    """Black or white, whichever contrasts more with a colour (red, green, blue from 0 to 1)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    light = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "black" if (light + 0.05) ** 2 > 0.05 * 1.05 else "white"


def plain_numbers(axis: Any, most: int = 4) -> None:
    """Ticks of a logarithmic axis as numbers: exponents would be smaller than other letters."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

    axis.set_major_locator(MaxNLocator(most))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
