"""Figures of clinical efficacy, by finding; drawn like those of `plots`, byte-identical again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.figures import pyplot, save
from bench.metrics.clinical.f1 import findings
from bench.metrics.clinical.observations import NO_FINDING, OBSERVATIONS
from bench.suites.suite import floor_title
from bench.terminal import number

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

LABELERS = ("chexpert-rules", "chexbert")
TEXT = "raw"
PANELS = 4  # at most, side by side in the precision-recall figure
ISO = (0.2, 0.4, 0.6, 0.8)
COLOURS = 10  # of findings; then the next marker begins
WRAP = 34  # letters of a panel's title


@dataclass(frozen=True)
class Row:
    """Precision, recall and F1 (3, 14) of a row, means over its seeds.

    `said`: how often its reports assert each finding, over all seeds.
    """

    name: str
    floor: bool
    scores: np.ndarray
    said: np.ndarray


def clinical(suite: Summary, folder: Path) -> list[Path]:
    """Heat map and precision-recall figure of every labeler that all rows were scored with."""
    drawn = []
    for family in LABELERS:
        rows, support = _rows(suite, family)
        if any(not row.floor for row in rows):
            title = f"{suite.suite.title}: {suite.dataset}, {family}"
            drawn += heat_map(rows, support, title, folder / f"findings-{family}")
            drawn += precision_recall(rows, support, title, folder / f"precision-recall-{family}")
    return drawn


def _rows(suite: Summary, family: str) -> tuple[list[Row], np.ndarray]:
    """The suite's rows, then its floors, and how many references have each finding."""
    rows, support = [], np.zeros(len(OBSERVATIONS), int)
    for name in (*suite.trained, *suite.floors):
        if not suite.contrasts.has(suite.keys[name], family, TEXT):
            continue
        tables = [findings(t) for t in suite.contrasts.statistics(suite.keys[name], family, TEXT)]
        scores = np.array([[[f.precision, f.recall, f.f1] for f in seed] for seed in tables])
        said = np.array([[f.predicted for f in seed] for seed in tables]).sum(axis=0)
        support = np.array([f.support for f in tables[0]])
        floor = name in suite.floors
        shown = floor_title(name) if floor else name
        rows.append(Row(shown, floor, scores.mean(axis=0).T, said))
    return rows, support


def heat_map(rows: Sequence[Row], support: np.ndarray, title: str, stem: Path) -> list[Path]:
    """F1 of every row and finding, above it how many references have the finding."""
    import seaborn as sns

    plt = pyplot()
    groups = [g for g in ([r for r in rows if not r.floor], [r for r in rows if r.floor]) if g]
    heights = [2.6, *(len(g) for g in groups)]
    figure, axes = plt.subplots(
        len(heights), 1, figsize=(9.2, 0.27 * sum(heights) + 1.75), sharex=True,
        height_ratios=heights, layout="constrained",
    )  # fmt: skip
    figure.get_layout_engine().set(hspace=0.0, h_pad=0.025)
    _support_bars(axes[0], support)
    colours = sns.color_palette("mako_r", as_cmap=True)
    for axis, group in zip(axes[1:], groups, strict=True):
        image = _heat(axis, group, support, colours)
    bar = figure.colorbar(image, ax=list(axes[1:]), fraction=0.025, pad=0.012, aspect=28)
    bar.outline.set_visible(False)
    bar.set_label("F1")
    axes[-1].set_xticks(range(len(OBSERVATIONS)), OBSERVATIONS, rotation=38, ha="right",
                        rotation_mode="anchor")  # fmt: skip
    figure.suptitle(f"{title}, F1 by finding", fontsize=10)
    return save(figure, stem)


def _support_bars(axis: Any, support: np.ndarray) -> None:
    axis.bar(range(len(support)), support, width=0.72, color="0.72")
    for i, count in enumerate(support):
        axis.annotate(
            f"{count:,}", (i, count), (0, 1.5), textcoords="offset points", ha="center",
            va="bottom", fontsize=7, color="0.25" if count else "0.6",
        )  # fmt: skip
    axis.set_ylim(0, 1.25 * max(support.max(), 1))
    axis.set_ylabel("references", fontsize=7, rotation=0, ha="right", va="center")
    _bare(axis)
    axis.set_yticks([])


def _heat(axis: Any, rows: Sequence[Row], support: np.ndarray, colours: Any) -> Any:
    values = np.array([row.scores[2] for row in rows])
    shown = np.ma.masked_array(values, np.broadcast_to(support == 0, values.shape))
    axis.set_facecolor("0.95")
    image = axis.imshow(shown, cmap=colours, vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        known = support[j] > 0
        colour = "0.6" if not (known and value) else "white" if value > 0.45 else "0.15"
        axis.text(j, i, number(value, 2) if known else "–", ha="center", va="center",
                  fontsize=6.5, color=colour)  # fmt: skip
    axis.set_yticks(range(len(rows)), [row.name for row in rows])
    axis.set_xticks(np.arange(len(support) + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axis.grid(which="minor", color="white", linewidth=1.2)
    _bare(axis)
    return image


def _bare(axis: Any) -> None:
    axis.tick_params(which="both", length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)


def precision_recall(
    rows: Sequence[Row], support: np.ndarray, title: str, stem: Path
) -> list[Path]:
    """A panel a row: each finding's precision over recall, on lines of equal F1.

    Rows whose reports earn the same precision and recall everywhere share a panel.
    """
    plt = pyplot()
    groups = coinciding(rows)
    down = -(-len(groups) // PANELS)
    across = -(-len(groups) // down)
    figure, axes = plt.subplots(
        down, across, figsize=(2.45 * across + 0.4, 2.75 * down + 1.0), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    styles = _styles(support)
    for i, axis in enumerate(axes.flat):
        if i < len(groups):
            _panel(axis, groups[i], support, styles)
            axis.set_ylabel("precision" if i % across == 0 else "")
            axis.set_xlabel("recall" if i + across >= len(groups) else "")
        else:
            axis.set_visible(False)
    marks = [
        plt.Line2D([], [], linestyle="none", markeredgecolor="white", markeredgewidth=0.4, **style,
                   markersize=9 if style["marker"] == "*" else 6.5,
                   label=f"{OBSERVATIONS[i]} ({support[i]:,})")
        for i, style in styles.items()
    ]  # fmt: skip
    if marks:
        figure.legend(handles=marks, loc="outside lower center", frameon=False, fontsize=7.5,
                      ncols=min(across + 1, len(marks)))  # fmt: skip
    figure.suptitle(f"{title}\nprecision and recall by finding (references with it)", fontsize=10)
    return save(figure, stem)


def coinciding(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows with the same figures, together, each group where its first row stands."""
    groups: dict[bytes, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.scores.tobytes() + (row.said > 0).tobytes(), []).append(row)
    return list(groups.values())


def _styles(support: np.ndarray) -> dict[int, dict[str, Any]]:
    """Finding -> colour and marker, the same in every figure; only findings that references have.

    "No Finding" is a black star: it is the one that a reader who never looks gets right.
    """
    import seaborn as sns

    palette = sns.color_palette("colorblind", COLOURS)
    found: dict[int, dict[str, Any]] = {
        i: {"color": palette[i % COLOURS], "marker": "oD"[i // COLOURS]}
        for i in range(len(OBSERVATIONS))
    }
    found[NO_FINDING] = {"color": "black", "marker": "*"}
    return {i: style for i, style in found.items() if support[i]}


def _panel(
    axis: Any, rows: Sequence[Row], support: np.ndarray, styles: dict[int, dict[str, Any]]
) -> None:
    row = rows[0]
    precision, recall, _ = row.scores
    _iso_lines(axis)
    for i, style in styles.items():
        if row.said[i]:
            size = 22 + 70 * np.sqrt(support[i] / support.max())
            axis.scatter(recall[i], precision[i], s=size * (1.7 if style["marker"] == "*" else 1),
                         edgecolor="white", linewidth=0.5, alpha=0.9, zorder=3, clip_on=False,
                         **style)  # fmt: skip
    unsaid = sum(not row.said[i] for i in styles)
    if unsaid:
        axis.text(0.97, 0.96, f"{unsaid} of {len(styles)} findings\nnever reported", fontsize=6.5,
                  color="0.4", ha="right", va="top", zorder=2,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # fmt: skip
    axis.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), aspect="equal")
    names = fill(", ".join(r.name for r in rows), WRAP)
    floors = "italic" if all(r.floor for r in rows) else "normal"
    axis.set_title(names, fontsize=8.5 if len(rows) == 1 else 7.5, style=floors)
    axis.tick_params(length=2, color="0.6", labelsize=7)
    for spine in axis.spines.values():
        spine.set_color("0.75")


def _iso_lines(axis: Any) -> None:
    """precision = F r / (2 r - F) for each F1 of `ISO`, named where both are F."""
    for value in ISO:
        recall = np.linspace(value / (2 - value), 1, 200)
        axis.plot(recall, value * recall / (2 * recall - value), color="0.85", linewidth=0.7,
                  zorder=1)  # fmt: skip
        axis.text(value, value, f"F1 {number(value, 1)}", fontsize=5.5, color="0.55", ha="center",
                  va="center", zorder=2,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip
