"""UAR's Figure 4 with its control: cosines of all films and reports, own pairs against others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.figures import BLUE, GREY, INK, PALE, SEQUENTIAL, TWO, pyplot
from bench.metrics.alignment import THRESHOLD
from bench.reporting.figures import Drawn
from bench.reporting.figures.parts import dot_handle, label
from bench.reporting.figures.sealed import OF_EACH, OURS, PAPER_ROWS, by_finding, cosines, shown
from bench.terminal import number

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

SHOWN = (*PAPER_ROWS[:2], OURS, PAPER_ROWS[2])
BINS = 40


def draw(suite: Summary) -> Drawn | None:
    """A heat map and two histograms a row, of its first training."""
    found = shown(suite, "images", SHOWN)
    if not found:
        return None
    order, normal = by_finding(suite)
    figure, axes = pyplot().subplots(
        2, len(found), figsize=(TWO, 3.6), squeeze=False,
        gridspec_kw={"height_ratios": (1.35, 1), "wspace": 0.12, "hspace": 0.2},
    )  # fmt: skip
    data, areas = [], {}
    for (top, below), (row, arrays) in zip(axes.T, found.items(), strict=True):
        similar = cosines(arrays)
        scaled = (similar - similar.min()) / max(float(np.ptp(similar)), 1e-12)
        _map(top, scaled[np.ix_(order, order)], normal)
        top.set_title(label(suite, row), pad=3)
        own, other = np.diag(scaled), scaled[~np.eye(len(scaled), dtype=bool)]
        shares = [100 * float((x > THRESHOLD).mean()) for x in (own, other)]
        areas[row] = float(
            (own[:, None] > np.sort(other)[None, :: max(1, len(other) // 2000)]).mean()
        )
        edges = np.linspace(0, 1, BINS + 1)
        for values, options in (
            (other, {"color": PALE}),
            (own, {"histtype": "step", "color": BLUE}),
        ):
            below.hist(values, edges, density=True, **options)
        below.axvline(THRESHOLD, color=INK, linewidth=0.7, linestyle=(0, (4, 2)))
        below.set_yticks([])
        below.spines["left"].set_visible(False)
        below.set_xlabel(
            f"scaled cosine; above .5: own\n{shares[0]:.0f} %, others {shares[1]:.0f} %"
        )
        for kind, values in (("own", own), ("other", other)):
            counts = np.histogram(values, edges)[0]
            data += [{"row": row, "pairs": kind, "from": edges[i], "to": edges[i + 1],
                      "count": int(n)} for i, n in enumerate(counts)]  # fmt: skip
    axes[0][0].set_ylabel("film (normal first, by finding)")
    figure.legend(
        handles=[dot_handle("film and its own report", BLUE, marker="s"),
                 dot_handle("film and another report", PALE, marker="s")],
        loc="lower center", ncols=2,
    )  # fmt: skip
    figure.text(0.99, 0.012, OF_EACH, ha="right", color=GREY)
    figure.suptitle(_title(areas), x=0.01, y=0.985, ha="left", va="top")
    figure.subplots_adjust(left=0.035, right=0.99, top=0.875, bottom=0.225)
    return Drawn(figure, data)


def _title(areas: dict[str, float]) -> str:
    best, least = (chosen(areas, key=lambda r: areas[r]) for chosen in (max, min))
    told = f"AUC {number(areas[best], 2)}, chance .50"
    if best == least:
        return f"{best} tells own pairs from others with {told}"
    return (
        f"Own pairs are told from others best by {best} ({told}), least by {least} "
        f"({number(areas[least], 2)})"
    )


def _map(axis: Any, values: np.ndarray, normal: int) -> None:
    axis.imshow(values, cmap=SEQUENTIAL, vmin=0, vmax=1, interpolation="nearest")
    for line in (axis.axhline, axis.axvline):
        line(normal - 0.5, color="white", linewidth=0.8)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_xlabel("report", labelpad=2)
