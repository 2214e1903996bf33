"""Which findings a row names better than the nearest image's report does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.figures import DIVERGING, TWO, pyplot
from bench.metrics.clinical.f1 import findings
from bench.metrics.clinical.observations import NO_FINDING, OBSERVATIONS
from bench.reporting.figures import Drawn
from bench.reporting.figures.parts import labels, letters_on
from bench.suites.suite import floor_title
from bench.terminal import number

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

FAMILY, TEXT, FLOOR = "chexpert-rules", "raw", "nearest"
WIDE = 0.82 * TWO * 72  # pt across the map
FLAT, TALL = 0.8, 1.25  # inches above the map for names that lie, and for slanted ones
FEWEST = 3  # references with a finding that is shown


@dataclass(frozen=True)
class Scores:
    """F1 (14,) of a row, the mean over trainings, and how many references have each finding."""

    f1: np.ndarray
    support: np.ndarray


def scores(suite: Summary, row: str) -> Scores | None:
    if not suite.contrasts.has(suite.keys[row], FAMILY, TEXT):
        return None
    tables = [findings(t) for t in suite.contrasts.statistics(suite.keys[row], FAMILY, TEXT)]
    f1 = np.array([[f.f1 for f in seed] for seed in tables]).mean(axis=0)
    return Scores(f1, np.array([f.support for f in tables[0]]))


def draw(suite: Summary) -> Drawn | None:
    """F1 of each row and finding, less the floor's; above, the floor's own and the support."""
    if FLOOR not in suite.floors or (floor := scores(suite, FLOOR)) is None:
        return None
    found = {row: s for row in suite.trained if (s := scores(suite, row)) is not None}
    chosen = [i for i in np.argsort(-floor.support, kind="stable") if floor.support[i] >= FEWEST]
    if not found or not chosen:
        return None
    gaps = np.array([s.f1[chosen] - floor.f1[chosen] for s in found.values()])
    height = 0.185 * len(found) + 1.2 + (TALL - FLAT if _slanted(chosen) else 0)
    figure, axis = pyplot().subplots(figsize=(TWO, height))
    reach = max(float(np.abs(gaps).max()), 0.05)
    drawn = axis.imshow(gaps, cmap=DIVERGING, vmin=-reach, vmax=reach, aspect="auto")
    for (i, j), gap in np.ndenumerate(gaps):
        text = ("+" if gap > 0 else "") + number(gap, 2)
        axis.text(j, i, text, ha="center", va="center", color=letters_on(drawn.to_rgba(gap)))
    top = _heads(axis, suite, list(found), chosen, floor)
    figure.suptitle(
        _title(list(found), chosen, gaps),
        x=0.01, y=1 - 0.06 / height, ha="left", va="top",
    )  # fmt: skip
    axis.set_xlabel(
        f"F1 by finding ({FAMILY}), less the F1 of the {floor_title(FLOOR)}; not tested"
    )
    figure.subplots_adjust(
        left=0.125,
        right=0.94 if _slanted(chosen) else 0.985,
        top=1 - top / height,
        bottom=0.32 / height,
    )
    data = [
        {"row": row, "finding": OBSERVATIONS[i], "F1": s.f1[i], "floor F1": floor.f1[i],
         "difference": s.f1[i] - floor.f1[i], "references": int(s.support[i])}
        for row, s in found.items() for i in chosen
    ]  # fmt: skip
    return Drawn(figure, data)


def _title(rows: list[str], chosen: list[int], gaps: np.ndarray) -> str:
    """How many rows name an abnormality better than the floor, and the largest gain."""
    ill = [j for j, i in enumerate(chosen) if i != NO_FINDING]
    better = int((gaps[:, ill] > 0).any(axis=1).sum())
    text = f"{better} of {len(rows)} rows name an abnormality better than the {floor_title(FLOOR)}"
    if not better:
        return text
    i, j = np.unravel_index(np.argmax(gaps[:, ill]), (len(rows), len(ill)))
    name = OBSERVATIONS[chosen[ill[j]]]
    return f"{text}; most: {rows[i]}, {name}, +{number(float(gaps[i, ill[j]]), 2)}"


def _slanted(chosen: list[int]) -> bool:
    """Whether the longest word is wider than a column."""
    longest = max(len(word) for i in chosen for word in OBSERVATIONS[i].split())
    return 3.9 * longest > WIDE / len(chosen)


def _heads(axis: Any, suite: Summary, rows: list[str], chosen: list[int], floor: Scores) -> float:
    """Names of findings with the floor's F1 and the support; the inches that they take."""
    slanted = _slanted(chosen)
    facts = [(number(floor.f1[i], 2), f"n {int(floor.support[i])}") for i in chosen]
    axis.xaxis.tick_top()
    if slanted:
        axis.set_xticks(range(len(chosen)), [OBSERVATIONS[i] for i in chosen],
                        rotation=30, ha="left", rotation_mode="anchor")  # fmt: skip
        axis.tick_params(axis="x", pad=19)
        for j, fact in enumerate(facts):
            axis.annotate("\n".join(fact), (j, -0.5), (0, 2), textcoords="offset points",
                          ha="center", va="bottom", linespacing=1.1)  # fmt: skip
    else:
        names = [f"{OBSERVATIONS[i].replace(' ', chr(10), 1)}\n{' · '.join(fact)}"
                 for i, fact in zip(chosen, facts, strict=True)]  # fmt: skip
        axis.set_xticks(range(len(chosen)), names, linespacing=1.15)
    axis.set_yticks(range(len(rows)), labels(suite, rows))
    axis.tick_params(length=0)
    axis.xaxis.set_label_position("bottom")
    for side in axis.spines.values():
        side.set_visible(False)
    return TALL if slanted else FLAT
