"""A pretraining's curves: its losses, and the figures that the model gives of itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import pyplot, save
from bench.store import RunFolder

if TYPE_CHECKING:
    import pandas as pd

FIGURE = "figures/curves"


def draw(folder: RunFolder, pairs: int) -> list[Path]:
    """figures/curves.svg and .png of a run's curve.csv; returns the PNG.

    `pairs`: how many the model's precision was taken among, which is what chance depends on.
    """
    import pandas as pd
    import seaborn as sns
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    curve = pd.read_csv(folder / "curve.csv")
    precisions = [name for name in curve if str(name).startswith("precision@")]
    skipped = {"step", "examples", "stage", "selection", *precisions}
    losses = curve.drop(columns=[name for name in curve if name in skipped])
    plt = pyplot()
    figure, axes = plt.subplots(1, 1 + bool(precisions), figsize=(7.2, 3.0), squeeze=False)
    colours = sns.color_palette("colorblind", 8)
    _lines(axes[0, 0], curve["examples"], losses, colours)
    axes[0, 0].plot(
        curve["examples"], -curve["selection"], "o--", color="black", markersize=3,
        label="loss on validation",
    )  # fmt: skip
    axes[0, 0].set(title="training losses, means between points", ylim=(0, None))
    if precisions:
        _lines(axes[0, 1], curve["examples"], curve[precisions], colours)
        for colour, name in zip(colours, precisions, strict=False):
            chance = int(str(name).partition("@")[2]) / pairs
            axes[0, 1].axhline(chance, color=colour, linestyle=":", linewidth=1, zorder=0)
        title = f"retrieval among {pairs} validation pairs (dotted: chance)"
        axes[0, 1].set(title=title, ylim=(0, None))
    for axis in axes[0]:
        axis.set_xlabel("examples")
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axis.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.22))
        sns.despine(ax=axis)
    figure.tight_layout()
    return save(figure, folder / FIGURE)


def _lines(axis: object, at: pd.Series, columns: pd.DataFrame, colours: list[object]) -> None:
    for colour, name in zip(colours, columns, strict=False):
        axis.plot(at, columns[name], "o-", color=colour, markersize=3, label=name)  # type: ignore[attr-defined]
