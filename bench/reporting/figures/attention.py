"""UAR's Figure 6: do words look where their finding lies, with and without TIR?

Above, phrases of one study on its film with the truth's boxes; below, over all studies, the share
of attention inside the boxes beside what an attention would have inside that knew only the words'
positions (`bench.metrics.attention`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.figures import GREEN, GREY, INK, ORANGE, SKY, TWO, pyplot
from bench.metrics.attention import SHARES, AttentionBox
from bench.reporting.figures import Drawn
from bench.reporting.figures.parts import dot_handle, dots, label, labels, row_axis
from bench.reporting.figures.sealed import Arrays, film, holding
from bench.runs.features import FEATURES
from bench.terminal import interval, number

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

OWN, GAIN, *OTHERS = AttentionBox.scores
POSITION, FINDING, AREA, FREE = OTHERS
SHOWN = ("BASE", "d", "e", "UAR")  # rows on films


def draw(suite: Summary) -> Drawn | None:
    """Films of one study's phrases, and the shares of every row that has them."""
    rows = [r for r in suite.trained if suite.has(OWN, FEATURES, [r])]
    found = holding(suite, "shares", tuple(r for r in SHOWN if r in rows))
    if not rows or not found or not suite.shows_data:
        return None
    maps: list[tuple[str, str]] = [
        (row, kind) for row, a in found.items() for kind in ("attention", "free") if kind in a
    ]
    height = 2.75 + 0.2 * len(rows)
    figure = pyplot().figure(figsize=(TWO, height))
    first = 0.62 / height
    for left, width, shown in ((0.125, 0.54, _shares), (0.7, 0.285, _gains)):
        shown(figure.add_axes((left, first, width, 0.2 * len(rows) / height)), suite, rows)
    phrase = _films(figure, suite, found, maps, height)
    figure.legend(
        handles=[dot_handle("attention"), dot_handle("without the mask", ORANGE, True),
                 dot_handle("position alone", SKY), dot_handle("finding alone", GREEN),
                 dot_handle("area (chance)", GREY, marker="|")],
        loc="lower center", ncols=5,
    )  # fmt: skip
    figure.suptitle(_title(suite, rows), x=0.01, y=1 - 0.05 / height, ha="left", va="top")
    figure.text(0.01, 1 - 0.27 / height, phrase, ha="left", va="top", style="italic")
    data = [{"row": r, "score": s, "value": f.value, "low": f.low, "high": f.high}
            for r in rows for s in AttentionBox.scores
            for f in [suite.figure(r, s, FEATURES)]]  # fmt: skip
    return Drawn(figure, data)


def _title(suite: Summary, rows: list[str]) -> str:
    """Of rows of several trainings, where there are any: one settles nothing."""
    several = [row for row in rows if suite.trainings(row) > 1] or rows
    gains = {row: suite.figure(row, GAIN, FEATURES) for row in several}
    beyond = {row: gain for row, gain in gains.items() if gain.low > 0}
    shown = beyond or gains
    top = max(shown, key=lambda row: shown[row].value)
    said = f"{top}, {number(shown[top].value, 4)} {interval(shown[top].low, shown[top].high, 4)}"
    if not beyond:
        return (
            f"No row's words look at the boxes more than their position alone would (most: {said})"
        )
    most = "most: " if len(beyond) > 1 else ""
    return (
        f"{len(beyond)} of {len(several)} rows look at the boxes beyond position, before any "
        f"correction ({most}{said})"
    )


def _shares(axis: Any, suite: Summary, rows: list[str]) -> None:
    styles = ((POSITION, SKY), (FINDING, GREEN), (OWN, INK))
    for place, (score, colour) in enumerate(styles):
        values = [suite.figure(r, score, FEATURES) for r in rows]
        dots(axis, values, [colour] * len(rows), 0.22 * (place - 1))
    for i, row in enumerate(rows):
        area, free, own = (suite.figure(row, s, FEATURES).value for s in (AREA, FREE, OWN))
        axis.plot(area, i, "|", color=GREY, markersize=9)
        if abs(free - own) > 1e-9:
            axis.plot(free, i + 0.22, "o", color=ORANGE, markerfacecolor="white", markersize=3.6)
    row_axis(axis, labels(suite, rows))
    axis.set_xlabel("share of a phrase's attention inside the boxes of its finding")


def _gains(axis: Any, suite: Summary, rows: list[str]) -> None:
    """What is beyond position, paired by study: its interval is the claim's."""
    axis.axvline(0, color=SKY, linewidth=1.0)
    gains = [suite.figure(r, GAIN, FEATURES) for r in rows]
    dots(axis, gains, [INK if g.low > 0 else GREY for g in gains])
    row_axis(axis, rows, named=False)
    axis.locator_params(axis="x", nbins=4)
    axis.set_xlabel("attention less position alone, 95 %")


def _films(
    figure: Any,
    suite: Summary,
    found: dict[str, Arrays],
    maps: list[tuple[str, str]],
    height: float,
) -> str:
    """One film a row, and one more without the mask; the phrase that all of them show."""
    one = next(iter(found.values()))
    study, region = _example(suite, one)
    shown = suite.data.split("test")[study]
    named = suite.data.regions(shown)[region]
    across = min(1.0 / (len(maps) + 1), 1.32 / TWO)
    for i, (row, kind) in enumerate([("", "film"), *maps]):
        place = (0.01 + i * across, 1 - 1.78 / height, across - 0.012, 1.12 / height)
        axis = figure.add_axes(place)
        axis.imshow(film(suite, shown), cmap="gray", extent=(0, 1, 1, 0))
        if row:
            a = found[row]
            [at] = np.flatnonzero((a["study"] == study) & (a["region"] == region))[:1]
            grid = a[kind][at].astype(float).reshape(a["grid"])[0]
            axis.imshow(grid, cmap="inferno", alpha=0.55, extent=(0, 1, 1, 0), vmin=0)
            share = a["shares"][at][SHARES.index("own" if kind == "attention" else "free")]
            without = ", no mask" if kind == "free" else ""
            axis.set_xlabel(f"inside {number(float(share), 2)}", labelpad=2)
            axis.set_title(f"{label(suite, row).split(':')[0]}{without}", pad=2)
        else:
            axis.set_title("film, truth", pad=2)
        for x0, y0, x1, y1 in named.boxes.get(shown.images[0].view, ()):
            axis.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color=GREEN, linewidth=1.0)
        axis.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(1, 0))
    return f"“{named.phrase}” ({shown.id}, first view)"


def _example(suite: Summary, found: Arrays) -> tuple[int, int]:
    """The phrase of a small box whose gain over chance is the middle one: no showpiece."""
    own, area = (found["shares"][:, SHARES.index(k)] for k in ("own", "area"))
    small = np.flatnonzero(area <= np.quantile(area, 0.5))
    gain = (own - area)[small]
    at = small[int(np.argmin(np.abs(gain - np.median(gain))))]
    return int(found["study"][at]), int(found["region"][at])
