"""Figures, as SVG and PNG; byte-identical when drawn again from the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.store import write_atomic
from bench.tables import FLOOR_NAMES

if TYPE_CHECKING:
    from bench.report import Summary

METRICS = ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
TEXT = "r2gen@1"


def ladder(suite: Summary, folder: Path) -> list[Path]:
    """One panel a metric: every row with its interval, floors as lines across."""
    import pandas as pd
    import seaborn as sns

    plt = _pyplot()
    rows = suite.trained
    metrics = [m for m in METRICS if suite.has(m, TEXT, [*rows, *suite.floors])]
    if not rows or not metrics:
        return []
    data = pd.DataFrame(
        [
            {"row": r, "metric": m, "value": f.value, "low": f.low, "high": f.high}
            for m in metrics
            for r in rows
            for f in [suite.figure(r, m, TEXT)]
        ]
    )
    palette = sns.color_palette("colorblind", 4)
    # Floors may coincide: different dashes let both be seen.
    styles = dict(
        zip(suite.floors, zip(palette, ("-", "--", ":", "-."), strict=True), strict=False)
    )
    size = (3.1 * len(metrics), 0.32 * len(rows) + 1.7)
    figure, [axes] = plt.subplots(1, len(metrics), figsize=size, sharey=True, squeeze=False)
    for axis, metric in zip(axes, metrics, strict=True):
        part = data[data["metric"] == metric]
        sns.pointplot(
            part, x="value", y="row", order=rows, errorbar=None, linestyle="none", ax=axis,
            color="black", markersize=4,
        )  # fmt: skip
        axis.hlines(range(len(rows)), part["low"], part["high"], color="black", linewidth=1.2)
        for floor, (colour, dashes) in styles.items():
            axis.axvline(
                suite.figure(floor, metric, TEXT).value, color=colour, linewidth=1.2,
                linestyle=dashes, label=FLOOR_NAMES[floor], zorder=0,
            )  # fmt: skip
        axis.set(title=metric, xlabel="", ylabel="")
        sns.despine(ax=axis, left=True)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(styles), frameon=False)
    figure.suptitle(f"{suite.suite.title}: {suite.dataset}, {TEXT}, 95 % intervals", fontsize=10)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    return save(figure, folder / "ladder")


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "rrg-bench", "font.size": 8, "axes.titlesize": 9})
    import matplotlib.pyplot as plt

    return plt


def save(figure: Any, stem: Path) -> list[Path]:
    """stem.svg and stem.png without dates inside; returns the PNG."""
    import io

    for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        data = io.BytesIO()
        figure.savefig(data, format=suffix, dpi=150, metadata=metadata)
        write_atomic(stem.with_suffix(f".{suffix}"), data.getvalue())
    _pyplot().close(figure)
    return [stem.with_suffix(".png")]
