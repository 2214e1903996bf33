"""Scores that come from the model itself, sealed beside its reports: alignment, image information.

No report is read for them, so they have a pseudo-treatment, and no choice of metrics leaves them
out: a run has them or not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.metrics import image_information, registry
from bench.metrics.scoring import Score, Scored, ids_digest
from bench.runs.information import LIKELIHOODS
from bench.runs.prediction import ALIGNMENT
from bench.store import RunFolder

PROTOCOL = "features"
SMALLEST_PART = 10  # studies; an interval over fewer says nothing
INFORMATION, WITHIN = image_information.ImageInformation.name, image_information.WithinLabels.name


def families(folder: RunFolder) -> tuple[str, ...]:
    """Those whose version decides whether the run is to be scored again."""
    return (INFORMATION, WITHIN) if (folder / LIKELIHOODS).exists() else ()


def added(scored: Scored, folder: RunFolder) -> Scored:
    """The scores with those that the run's model gave."""
    found = _tables(folder)
    rows = [row for family, table in found.items() for row in _scores(family, table, scored.ids)]
    tables = {(PROTOCOL, family): table for family, table in found.items()}
    statistics = {**scored.statistics, **tables}
    return replace(scored, scores=(*scored.scores, *rows), statistics=statistics)


def _tables(folder: RunFolder) -> dict[str, np.ndarray]:
    """Family -> statistics per study, in manifest order."""
    found = {}
    if (folder / ALIGNMENT).exists():
        found["alignment"] = np.loadtxt(folder / ALIGNMENT, ndmin=2)
    if (folder / LIKELIHOODS).exists():
        with np.load(folder / LIKELIHOODS, allow_pickle=False) as arrays:
            found |= image_information.tables(arrays)
    if WITHIN in found and _count(WITHIN, found[WITHIN]) < SMALLEST_PART:
        del found[WITHIN]
    return found


def _scores(family: str, table: np.ndarray, ids: tuple[str, ...]) -> list[Score]:
    metric, digest, n = registry.load(family), ids_digest(ids), _count(family, table)
    return [
        Score(PROTOCOL, name, value, n, 0, metric.signature(name, PROTOCOL, n, digest))
        for name, value in metric.corpus(table).items()
    ]


def _count(family: str, table: np.ndarray) -> int:
    """Studies that take part."""
    return image_information.taking(table) if family == WITHIN else len(table)
