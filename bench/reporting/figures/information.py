"""What is read from the images: by row, and by the class of a word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.data.registry import EMBEDDED
from bench.figures import BLUE, GREEN, GREY, INK, SEQUENTIAL, TWO, pyplot
from bench.reporting.figures import Drawn
from bench.reporting.figures.parts import dot_handle, dots, labels, letters_on, row_axis
from bench.reporting.image_information import CLASSES, ideal
from bench.runs.features import FEATURES
from bench.terminal import number

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

BOUND, WITHIN = "image-information-bound", "image-information-within-bound"


def draw(suite: Summary) -> Drawn | None:
    """The bound of each row beside what can be read; nats a token of each class of word."""
    rows = [r for r in suite.trained if suite.has(BOUND, FEATURES, [r])]
    if not rows:
        return None
    height = 0.19 * len(rows) + 1.45
    figure, axes = pyplot().subplots(
        1, 2, figsize=(TWO, height), gridspec_kw={"width_ratios": (1, 1.25), "wspace": 0.06}
    )
    best = ideal(suite.data)[1] if suite.dataset == EMBEDDED else None
    _bounds(axes[0], suite, rows, best)
    data = [{"row": r, "score": s, "value": f.value, "low": f.low, "high": f.high}
            for r in rows for s in (BOUND, WITHIN) if suite.has(s, FEATURES, [r])
            for f in [suite.figure(r, s, FEATURES)]]  # fmt: skip
    data += _words(axes[1], suite, rows)
    handles = [dot_handle("all studies"), dot_handle("studies of the same labels", BLUE)]
    if best is not None:
        handles.append(dot_handle("most that can be read", GREEN, marker="|"))
    figure.legend(handles=handles, loc="lower left", ncols=3, handletextpad=0.2)
    figure.suptitle(_title(suite, rows, best), x=0.01, y=1 - 0.06 / height, ha="left", va="top")
    figure.subplots_adjust(left=0.125, right=0.985, top=1 - 0.72 / height, bottom=0.62 / height)
    return Drawn(figure, data)


def _title(suite: Summary, rows: list[str], best: float | None) -> str:
    top = max(rows, key=lambda r: suite.figure(r, BOUND, FEATURES).value)
    value = suite.figure(top, BOUND, FEATURES).value
    share = f", {100 * value / best:.0f} % of what can be read" if best else ""
    return f"Largest bound on what is read: {top}, {number(value, 2)} nats a report{share}"


def _bounds(axis: Any, suite: Summary, rows: list[str], best: float | None) -> None:
    axis.axvline(0, color=GREY, linewidth=0.7)
    if best is not None:
        axis.axvline(best, color=GREEN, linewidth=1.0, linestyle=(0, (4, 2)))
    for score, colour, shift in ((BOUND, INK, -0.14), (WITHIN, BLUE, 0.14)):
        found = [
            suite.figure(r, score, FEATURES) if suite.has(score, FEATURES, [r]) else None
            for r in rows
        ]
        dots(axis, found, [colour] * len(rows), shift)
    row_axis(axis, labels(suite, rows))
    axis.set_ylim(len(rows) - 0.5, -0.5)  # as the map beside it
    axis.set_xlabel("read from images (lower bound), nats a report")


def _words(axis: Any, suite: Summary, rows: list[str]) -> list[dict[str, object]]:
    scores = [s for s in CLASSES if all(suite.has(s, FEATURES, [r]) for r in rows)]
    if not scores:
        axis.set_visible(False)
        return []
    values = np.array([[suite.figure(r, s, FEATURES).value for s in scores] for r in rows])
    drawn = axis.imshow(values, cmap=SEQUENTIAL, aspect="auto", vmin=0)
    for (i, j), value in np.ndenumerate(values):
        colour = letters_on(drawn.to_rgba(value))
        axis.text(j, i, number(value, 2), ha="center", va="center", color=colour)
    axis.xaxis.tick_top()
    axis.set_xticks(range(len(scores)), [CLASSES[s] for s in scores])
    axis.set_yticks([])
    axis.set_xlabel("nats a word: own images less the mean of others\n(grows with overconfidence)")
    axis.tick_params(length=0)
    for side in axis.spines.values():
        side.set_visible(False)
    return [{"row": r, "score": s, "value": values[i, j]}
            for i, r in enumerate(rows) for j, s in enumerate(scores)]  # fmt: skip
