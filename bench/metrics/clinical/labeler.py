"""Which metric reads the reports of a floor, and what it reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.errors import DataError, unknown
from bench.metrics import registry
from bench.metrics.clinical.f1 import ClinicalMetric
from bench.metrics.clinical.observations import NO_FINDING, POSITIVE


def signature(name: str) -> str:
    """The labeler's name, what it is made of, and its version last: part of a floor's identity."""
    metric = _labeler(name)
    return f"{name}|{metric.source()}|v:{metric.version}"


def no_finding(labeler: str, reports: Sequence[str]) -> list[bool]:
    """Which reports are No Finding to the labeler of that signature.

    DataError when the labeler is no longer the one that the signature names.
    """
    name = labeler.partition("|")[0]
    now = signature(name)
    if now != labeler:
        raise DataError(
            f"the labeler is {now}, the floor was made with {labeler}",
            "run the suite again to make a new floor with the present one",
        )
    labels = _labeler(name).label(reports)
    return [bool(label == POSITIVE) for label in labels[:, NO_FINDING]]


def labels_of(name: str, reports: Sequence[str]) -> np.ndarray:
    """Classes (n, 14) that a labeler gives the reports; MissingError without its weights."""
    return _labeler(name).label(reports)


def _labeler(name: str) -> ClinicalMetric:
    metric = registry.load(name)
    if not isinstance(metric, ClinicalMetric):
        labelers = [n for n in registry.names() if n.startswith(("chexpert", "chexbert"))]
        raise unknown("labeler", name, labelers)
    metric.require()
    return metric
