"""Validation scores along the trainings: whether the budget was enough, row by row."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np

from bench.figures import BLUE, PALE, TWO, pyplot
from bench.reporting.figures import Drawn
from bench.reporting.figures.parts import label
from bench.store import RunFolder, load_spec

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

ACROSS = 4  # panels side by side
RISING = 0.01  # gain over the last part of a training that says that it was not at its end
LAST = 0.25  # that part
SINCE = ("in the last quarter of training", "between the first look and the last")
Curve = tuple[np.ndarray, np.ndarray]  # thousands of examples, validation score


def curves(suite: Summary, row: str) -> list[Curve]:
    """One a training; none where a board keeps no curve of it."""
    found = []
    for run_id in suite.keys[row]:
        path = RunFolder(suite.contrasts.out, run_id) / "curve.csv"
        if not path.exists():
            continue
        with path.open(encoding="utf-8", newline="") as file:
            lines = [x for x in csv.DictReader(file) if x.get("selection")]
        points = [(float(x["examples"]) / 1000, float(x["selection"])) for x in lines]
        if points:
            examples, scores = np.array(points).T
            found.append((examples, scores))
    return found


def draw(suite: Summary) -> Drawn | None:
    """A panel a row: each training, and behind it those of all other rows."""
    rows = [group[0] for group in suite.of_one_training(suite.trained)]
    known = {row: found for row in rows if (found := curves(suite, row))}
    if not known:
        return None
    count = -(-len(known) // ACROSS)
    height = 0.95 * count + 0.75
    figure, axes = pyplot().subplots(
        count, min(ACROSS, len(known)), figsize=(TWO, height), sharex=True, sharey=True,
        squeeze=False, gridspec_kw={"wspace": 0.08, "hspace": 0.34},
    )  # fmt: skip
    every = [curve for found in known.values() for curve in found]
    for axis, (row, found) in zip(axes.ravel(), known.items(), strict=False):
        for examples, scores in every:
            axis.plot(examples, scores, color=PALE, linewidth=0.4, zorder=0)
        for examples, scores in found:
            axis.plot(examples, scores, color=BLUE, linewidth=0.9, marker=".", markersize=2)
        axis.set_title(label(suite, row), pad=2)
    for axis in axes.ravel()[len(known) :]:
        axis.set_visible(False)
    late = any(not _before(examples).any() for examples, _ in every)
    rising = [r for r, found in known.items() if np.mean([_gain(c, late) for c in found]) > RISING]
    said = f"{len(rising)} of {len(known)} rows" if rising else "No row"
    figure.suptitle(
        f"{said} still gained more than {RISING:g} {SINCE[late]}",
        x=0.01, y=1 - 0.06 / height, ha="left", va="top",
    )  # fmt: skip
    figure.supxlabel("thousands of examples seen", y=0.08 / height, va="bottom", fontsize=7)
    figure.supylabel(_selected(suite, next(iter(known))), x=0.01, fontsize=7)
    figure.subplots_adjust(left=0.075, right=0.985, top=1 - 0.48 / height, bottom=0.42 / height)
    return Drawn(figure, _records(known))


def _gain(curve: Curve, late: bool) -> float:
    """What the last part of a training has brought, from what the part before had reached; from the
    first look on (`late`) where one is looked at only in its last part (`selection.share`)."""
    examples, scores = curve
    before = scores[:1] if late else scores[_before(examples)]
    return float(scores[-1] - before.max())


def _before(examples: np.ndarray) -> np.ndarray:
    """Which looks lie before the last part."""
    return np.asarray(examples <= (1 - LAST) * examples[-1])


def _selected(suite: Summary, row: str) -> str:
    selection = load_spec(RunFolder(suite.contrasts.out, suite.keys[row][0])).selection
    negated = ", negated" if selection.metric == "loss" else ""
    return f"validation {selection.metric}{negated}"


def _records(known: dict[str, list[Curve]]) -> list[dict[str, object]]:
    return [
        {"row": row, "training": number, "examples": 1000 * x, "score": y}
        for row, found in known.items()
        for number, (examples, scores) in enumerate(found)
        for x, y in zip(examples.tolist(), scores.tolist(), strict=True)
    ]
