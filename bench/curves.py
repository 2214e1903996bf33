"""A pretraining's curves: its losses, and the figures that the model gives of itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.plots import pyplot, save
from bench.store import RunFolder

if TYPE_CHECKING:
    import pandas as pd

FIGURE = "figures/curves"
PAIRS = 64  # of the validation split in `diagnose`: the first evaluation batch


def draw(folder: RunFolder) -> list[Path]:
    """figures/curves.svg and .png of a run's curve.csv; returns the PNG."""
    import pandas as pd
    import seaborn as sns

    curve = pd.read_csv(folder / "curve.csv")
    precisions = [name for name in curve if str(name).startswith("precision@")]
    skipped = {"step", "examples", "stage", "selection", *precisions}
    losses = curve.drop(columns=[name for name in curve if name in skipped])
    plt = pyplot()
    figure, axes = plt.subplots(1, 1 + bool(precisions), figsize=(7.2, 2.8), squeeze=False)
    colours = sns.color_palette("colorblind", 8)
    _lines(axes[0, 0], curve["examples"], losses, colours)
    axes[0, 0].plot(
        curve["examples"], -curve["selection"], "o--", color="black", label="loss, validation"
    )
    axes[0, 0].set(title="loss, mean since the last point", xlabel="examples", ylim=(0, None))
    if precisions:
        _lines(axes[0, 1], curve["examples"], curve[precisions], colours)
        for colour, name in zip(colours, precisions, strict=False):
            chance = int(str(name).partition("@")[2]) / PAIRS
            axes[0, 1].axhline(chance, color=colour, linestyle=":", linewidth=1, zorder=0)
        title = f"retrieval among {PAIRS} validation pairs (dotted: chance)"
        axes[0, 1].set(title=title, xlabel="examples", ylim=(0, None))
    for axis in axes[0]:
        axis.legend(frameon=False)
        sns.despine(ax=axis)
    figure.tight_layout()
    return save(figure, folder / FIGURE)


def _lines(axis: object, at: pd.Series, columns: pd.DataFrame, colours: list[object]) -> None:
    for colour, name in zip(colours, columns, strict=False):
        axis.plot(at, columns[name], "o-", color=colour, markersize=3, label=name)  # type: ignore[attr-defined]
