"""What a report says of image information: figures of each row, and where in the texts it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.data.pairings import OTHERS, others
from bench.data.registry import EMBEDDED
from bench.metrics import image_attribution
from bench.metrics.clinical.observations import OBSERVATIONS
from bench.metrics.image_information import bound, rank
from bench.runs.features import FEATURES
from bench.terminal import interval, number

if TYPE_CHECKING:
    from bench.data.study import Dataset
    from bench.reporting.summary import Summary

COLUMNS = {
    "image-information-rank": "rank",
    "image-information-bound": "bound",
    "image-information-within-rank": "same labels: rank",
    "image-information-within-bound": "same labels: bound",
    "image-information-gap": "gap",
    "image-information-temperature": "temperature",
}
CLASSES = {f"image-attribution-{name}": name for name in image_attribution.CLASSES}
FINDINGS = {f"image-attribution-in-{name.lower().replace(' ', '-')}": name for name in OBSERVATIONS}


def section(suite: Summary) -> str:
    """Tables and notes; "" where no row's model scores reports."""
    rows = [r for r in suite.trained if suite.has("image-information-rank", FEATURES, [r])]
    if not rows:
        return ""
    synthetic = suite.dataset == EMBEDDED
    lines = ["### Image information: is a report likelier given its own images?\n"]
    lines += [_table(suite, rows, COLUMNS), *_notes()]
    if synthetic:
        lines += _ceiling(suite, rows)
    lines += ["\nBy class of word, nats a token (own images less the mean of others):\n"]
    lines += [_table(suite, rows, CLASSES)]
    lines += ["By what the reference states, nats a report:\n", _table(suite, rows, FINDINGS)]
    return "\n".join(lines)


def _table(suite: Summary, rows: Sequence[str], columns: dict[str, str]) -> str:
    """One line a row; a column that no row has, or that is 0 in all, is left out."""
    cells = {(r, c): _cell(suite, r, c) for r in rows for c in columns}
    shown = [c for c in columns if any(cells[r, c] for r in rows)]
    head = f"| row | {' | '.join(columns[c] for c in shown)} |\n|{'---|' * (len(shown) + 1)}\n"
    body = (f"| {r} | {' | '.join(cells[r, c] or '–' for c in shown)} |" for r in rows)
    return head + "\n".join(body) + "\n"


def _cell(suite: Summary, row: str, score: str) -> str:
    if not suite.has(score, FEATURES, [row]):
        return ""
    figure = suite.figure(row, score, FEATURES)
    value, low, high = (number(x) for x in (figure.value, figure.low, figure.high))
    if low == high:  # the same whatever the studies: a temperature, or nothing to divide by
        return value if figure.value else ""
    return f"{value} {interval(figure.low, figure.high)}"


def _notes() -> list[str]:
    return [
        f"- Each test report is scored, word by word and without decoding, given its own images "
        f"and those of {OTHERS} studies of other patients, the same for every row.",
        "- Rank: share of them under which the report is likelier than under its own (0 best, .5 "
        "chance). Bound: a lower bound on the information about reports that the model reads from "
        f"images, in nats, at most {number(math.log(1 + OTHERS))}; 0 or less shows none. It is "
        "taken at the temperature that is best on validation: above 1, the model is overconfident.",
        "- Same labels: only images of studies with the same labels. Gap: own less mean of "
        "others, nats a report; it grows with overconfidence, and is for attribution only.",
    ]


def _ceiling(suite: Summary, rows: Sequence[str]) -> list[str]:
    """What can be read from the embedded data, and how much of it is."""
    from bench.data.synthetic.information import ceiling

    position, most = ideal(suite.data)
    bounds = {r: suite.figure(r, "image-information-bound", FEATURES).value for r in rows}
    shares = ", ".join(f"{row} {100 * value / most:.0f} %" for row, value in bounds.items())
    return [
        f"- Someone who knew findings, reader and the generator's probabilities would have rank "
        f"{number(position)} and bound {number(most)} on these studies. Share of that bound which "
        f"the rows read: {shares}. In all, the films say {number(ceiling())} nats of the reports, "
        f"more than {1 + OTHERS} candidates can show."
    ]


def ideal(dataset: Dataset) -> tuple[float, float]:
    """Rank and bound on the embedded test split of the generator's own likelihoods."""
    from bench.data.synthetic.information import log_likelihoods

    studies = dataset.split("test")
    pairs = np.column_stack([np.arange(len(studies)), others(studies)])
    found = log_likelihoods([study.id for study in studies], pairs)
    return float(rank(found).mean()), float(bound(found, 1.0).mean())
