"""Scores that come from the model itself, sealed beside its reports: alignment, image information.

No report is read for them, so they have a pseudo-treatment, and no choice of metrics leaves them
out: a run has them or not.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.data.text import clean, normalise
from bench.metrics import attention, image_attribution, image_information, registry
from bench.metrics.clinical.observations import POSITIVE
from bench.metrics.clinical.rules import labeler
from bench.metrics.scoring import Score, Scored, texts_digest
from bench.runs.information import LIKELIHOODS
from bench.runs.prediction import ALIGNMENT
from bench.runs.representations import REPRESENTATIONS
from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.store import RunFolder, damaged, read_arrays, sealed

FEATURES = "features"  # the pseudo-treatment of scores that do not read text
SMALLEST_PART = 10  # studies; an interval over fewer says nothing
INFORMATION, WITHIN = image_information.ImageInformation.name, image_information.WithinLabels.name
ATTRIBUTION = image_attribution.ImageAttribution.name
BOX = attention.AttentionBox.name


def families(folder: RunFolder) -> tuple[str, ...]:
    """Those whose version decides whether the run is to be scored again."""
    read = (INFORMATION, WITHIN, ATTRIBUTION) if (folder / LIKELIHOODS).exists() else ()
    return (*read, BOX) if (folder / REPRESENTATIONS).exists() else read


def added(scored: Scored, spec: RunSpec, work: Workspace, folder: RunFolder) -> Scored:
    """The scores with those that the run's model gave."""
    found = _tables(spec, work, folder)
    digest = texts_digest(scored.ids, scored.section)
    rows = [row for family, table in found.items() for row in _scores(family, table, digest)]
    tables = {(FEATURES, family): table for family, table in found.items()}
    statistics = {**scored.statistics, **tables}
    return replace(scored, scores=(*scored.scores, *rows), statistics=statistics)


def _tables(spec: RunSpec, work: Workspace, folder: RunFolder) -> dict[str, np.ndarray]:
    """Family -> statistics per study, in manifest order."""
    found = {}
    if (folder / ALIGNMENT).exists():
        columns = _columns(folder / ALIGNMENT)
        found["alignment"] = columns[:, :1]
        if columns.shape[1] > 1:  # runs from before the control have the marks alone
            found["alignment-control"] = columns[:, 1:]
    if (folder / LIKELIHOODS).exists():
        arrays = read_arrays(folder / LIKELIHOODS)
        found |= image_information.tables(arrays)
        found[ATTRIBUTION] = _attribution(arrays["own"] - arrays["mean"], spec, work)
    if (folder / REPRESENTATIONS).exists():
        count = len(work.open(spec).dataset.split("test"))
        arrays = read_arrays(folder / REPRESENTATIONS)
        if "shares" in arrays:
            found[BOX] = attention.table(arrays["shares"], arrays["study"], count)
    few = [x for x in (WITHIN, BOX) if x in found and _count(x, found[x]) < SMALLEST_PART]
    return {family: table for family, table in found.items() if family not in few}


def _columns(path: Path) -> np.ndarray:
    """(n, 1 or 2): the marks of studies, and those of their control."""
    try:
        return np.loadtxt(sealed(path), ndmin=2)
    except ValueError as error:
        raise damaged(path, str(error)) from error


def _scores(family: str, table: np.ndarray, digest: str) -> list[Score]:
    metric, n = registry.load(family), _count(family, table)
    return [
        Score(FEATURES, name, value, n, 0, metric.signature(name, FEATURES, n, digest))
        for name, value in metric.corpus(table).items()
    ]


def _count(family: str, table: np.ndarray) -> int:
    """Studies that take part."""
    part = {WITHIN: image_information.taking, BOX: attention.taking}.get(family, len)
    return part(table)


def _attribution(gaps: np.ndarray, spec: RunSpec, work: Workspace) -> np.ndarray:
    """By the classes of the reports' words, and by what the rules read in the reports."""
    dataset, vocabulary = work.open(spec).dataset, work.open(spec).vocabulary
    reports = [study.report for study in dataset.split("test")]
    cleaned = (normalise(clean(report, dataset.cleaning)) for report in reports)
    ids = [vocabulary.encode(text, spec.data.max_length)[1:] for text in cleaned]
    names = (image_attribution.END, *vocabulary.words)
    words = [[names[i] for i in row] for row in ids]
    shown = (labeler()(reports) == POSITIVE).astype(np.float64)
    return image_attribution.statistics(gaps[:, 1:], words, shown)
