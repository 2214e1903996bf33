"""Figure of image information: rank and bound of each row, beside chance and what can be read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data.pairings import OTHERS
from bench.data.registry import EMBEDDED
from bench.figures import pyplot, save
from bench.reporting.image_information import ideal
from bench.runs.features import FEATURES

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

# Score -> (title, chance)
PANELS = {
    "rank": ("rank of the own images (0 best)", 0.5),
    "bound": (f"bound, nats (at most {math.log(1 + OTHERS):.2f})", 0.0),
}
DRAWN = {"image-information": ("black", "all studies"),
         "image-information-within": ("tab:blue", "studies of the same labels")}  # fmt: skip


def image_information(suite: Summary, folder: Path) -> list[Path]:
    """One panel for rank, one for the bound; drawn where a row's model scores reports."""
    rows = [r for r in suite.trained if suite.has("image-information-rank", FEATURES, [r])]
    if not rows:
        return []
    plt = pyplot()
    size = (8.2, 0.36 * len(rows) + 1.7)
    figure, axes = plt.subplots(1, len(PANELS), figsize=size, sharey=True)
    best = ideal(suite.data) if suite.dataset == EMBEDDED else ()
    for i, (axis, (score, (title, chance))) in enumerate(zip(axes, PANELS.items(), strict=True)):
        axis.axvline(chance, color="grey", linestyle=(0, (3, 3)), label="chance", zorder=0)
        if best:
            label = "who knows the generator (all studies)"
            axis.axvline(best[i], color="tab:green", label=label, zorder=0)
        for place, (family, (colour, name)) in enumerate(DRAWN.items()):
            _points(axis, suite, rows, f"{family}-{score}", colour, name, 0.18 * (2 * place - 1))
        axis.set(title=title, yticks=range(len(rows)), yticklabels=rows)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.title.set_fontsize(10)
    axes[0].invert_yaxis()
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="lower center", ncols=4, fontsize=9, frameon=False
    )
    figure.suptitle(f"{suite.suite.title}: {suite.dataset}, 95 % intervals", fontsize=10)
    figure.tight_layout(rect=(0, 0.5 / size[1], 1, 1))
    return save(figure, folder / "image-information")


def _points(
    axis: Any, suite: Summary, rows: list[str], score: str, colour: str, name: str, shift: float
) -> None:
    places = [i for i, row in enumerate(rows) if suite.has(score, FEATURES, [row])]
    found = [suite.figure(rows[i], score, FEATURES) for i in places]
    heights = [i + shift for i in places]
    axis.plot([f.value for f in found], heights, "o", color=colour, markersize=4, label=name)
    axis.hlines(heights, [f.low for f in found], [f.high for f in found], color=colour)
