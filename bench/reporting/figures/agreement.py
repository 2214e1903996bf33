"""How alike metrics order the rows: whether one may stand for another."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from bench.figures import DIVERGING, ONE, pyplot
from bench.reporting.conclusions import DISTINCT, F1, RAW
from bench.reporting.figures import Drawn
from bench.reporting.figures.parts import letters_on
from bench.runs.features import FEATURES
from bench.spec import TREATMENT
from bench.terminal import number

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

SCORES = {
    "BLEU-4": ("BLEU-4", TREATMENT),
    "METEOR": ("METEOR", TREATMENT),
    "ROUGE-L": ("ROUGE-L", TREATMENT),
    "CIDEr": ("CIDEr", TREATMENT),
    "findings F1": (F1, RAW),
    "distinct": (DISTINCT, TREATMENT),
    "image bound": ("image-information-bound", FEATURES),
}
FEWEST = 4  # rows from which an order says something


def draw(suite: Summary) -> Drawn | None:
    """Spearman's correlation of each two scores over the means of the trained rows."""
    from scipy.stats import spearmanr

    names = [n for n, s in SCORES.items() if all(suite.has(*s, [r]) for r in suite.trained)]
    if len(suite.trained) < FEWEST or len(names) < 2:
        return None
    means = np.array([[suite.per_run(r, *SCORES[n]).mean() for r in suite.trained] for n in names])
    count = len(names)
    found = np.eye(count)
    for i, j in combinations(range(count), 2):
        found[i, j] = found[j, i] = np.nan_to_num(spearmanr(means[i], means[j]).statistic)
    figure, axis = pyplot().subplots(figsize=(ONE, 3.0))
    drawn = axis.imshow(found, cmap=DIVERGING, vmin=-1, vmax=1)
    for (i, j), value in np.ndenumerate(found):
        if i != j:
            colour = letters_on(drawn.to_rgba(value))
            axis.text(j, i, number(value, 2), ha="center", va="center", color=colour)
    axis.set_xticks(range(count), names, rotation=40, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(count), names)
    axis.tick_params(length=0)
    for side in axis.spines.values():
        side.set_visible(False)
    figure.suptitle(_title(names, found), x=0.02, y=0.985, ha="left", va="top")
    figure.subplots_adjust(left=0.235, right=0.985, top=0.865, bottom=0.2)
    pairs = [(i, j) for i in range(count) for j in range(count) if i < j]
    data = [{"a": names[i], "b": names[j], "spearman": found[i, j], "rows": len(suite.trained)}
            for i, j in pairs]  # fmt: skip
    return Drawn(figure, data)


def _title(names: list[str], found: np.ndarray) -> str:
    i, j = np.unravel_index(np.argmin(found), found.shape)
    return (
        f"{names[i]} and {names[j]} agree least\non the order of rows "
        f"(ρ = {number(float(found[i, j]), 2)})"
    )
