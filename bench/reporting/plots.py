"""Figures, as SVG and PNG; byte-identical when drawn again from the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import pyplot, save
from bench.metrics import registry
from bench.spec import TREATMENT
from bench.suites.suite import floor_title

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

# Of floors, in turn: a coarser one over a finer one leaves both to be seen.
DASHES = ("-", (0, (6, 3)), (0, (3, 3)), (0, (1, 2)), (0, (6, 2, 1, 2)))


def ladder(suite: Summary, folder: Path) -> list[Path]:
    """One panel a metric: every row with its interval, floors as lines across."""
    import pandas as pd
    import seaborn as sns

    plt = pyplot()
    rows = suite.trained
    metrics = [m for m in registry.compared() if suite.has(m, TREATMENT, [*rows, *suite.floors])]
    if not rows or not metrics:
        return []
    data = pd.DataFrame(
        [
            {"row": r, "metric": m, "value": f.value, "low": f.low, "high": f.high}
            for m in metrics
            for r in rows
            for f in [suite.figure(r, m, TREATMENT)]
        ]
    )
    floors = coinciding(suite, metrics)
    palette = sns.color_palette("colorblind", len(floors))
    # Floors may coincide in one metric: different dashes let both be seen.
    styles = dict(zip(floors, zip(palette, cycle(DASHES), strict=False), strict=True))
    size = (3.1 * len(metrics), 0.32 * len(rows) + 1.7)
    figure, [axes] = plt.subplots(1, len(metrics), figsize=size, sharey=True, squeeze=False)
    for axis, metric in zip(axes, metrics, strict=True):
        part = data[data["metric"] == metric]
        sns.pointplot(
            part, x="value", y="row", order=rows, errorbar=None, linestyle="none", ax=axis,
            color="black", markersize=4,
        )  # fmt: skip
        axis.hlines(range(len(rows)), part["low"], part["high"], color="black", linewidth=1.2)
        for names, (colour, dashes) in styles.items():
            axis.axvline(
                suite.figure(names[0], metric, TREATMENT).value, color=colour, linewidth=1.2,
                linestyle=dashes, label=" = ".join(floor_title(n) for n in names), zorder=0,
            )  # fmt: skip
        axis.set(title=metric, xlabel="", ylabel="")
        sns.despine(ax=axis, left=True)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(styles), frameon=False)
    figure.suptitle(
        f"{suite.suite.title}: {suite.dataset}, {TREATMENT}, 95 % intervals", fontsize=10
    )
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    return save(figure, folder / "ladder")


def coinciding(suite: Summary, metrics: Sequence[str]) -> list[tuple[str, ...]]:
    """Floors with the same value in every metric, together: they share one line."""
    groups: dict[tuple[float, ...], list[str]] = {}
    for floor in suite.floors:
        values = tuple(suite.figure(floor, m, TREATMENT).value for m in metrics)
        groups.setdefault(values, []).append(floor)
    return [tuple(names) for names in groups.values()]
