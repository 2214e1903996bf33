"""Linear probes of frozen features: AUROC of each finding with its resamples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.metrics.clinical.observations import OBSERVATIONS
from bench.pretraining import probe
from bench.stats import Plan

if TYPE_CHECKING:
    from bench.data.batches import Split

RESAMPLES = 2000
MEAN = "mean"


@dataclass(frozen=True)
class Frozen:
    """Features and labels of the labelled studies of each split, and the test split's resamples."""

    features: dict[str, np.ndarray]  # (n, d)
    labels: dict[str, np.ndarray]  # (n, 14)
    counts: np.ndarray  # (R, n)


def probe_rows(runs: Sequence[Frozen], fraction: float) -> tuple[list[dict[str, Any]], np.ndarray]:
    """AUROC of each finding and their mean, over seeds; and its resamples (1 + R, findings + 1).

    `runs`: one a seed. A finding that the test split lacks, or nothing but has, has no AUROC.
    """
    probes = [
        probe.linear_probe(*_parts(run), run.features["test"], fraction, seed)
        for run, seed in zip(runs, probe.SEEDS, strict=True)
    ]
    truth = runs[0].labels["test"]
    values = probe.resampled_auroc([p.scores for p in probes], truth, runs[0].counts)
    positives = [*truth.sum(axis=0).astype(int).tolist(), None]
    rows = [
        {
            "fraction": fraction,
            "labels": probes[0].labels,
            "finding": name,
            "positives": count,
            "n": len(truth),
            **ends(*probe.spread(column)),
        }
        for name, count, column in zip((*OBSERVATIONS, MEAN), positives, values.T, strict=True)
        if np.isfinite(column[0])
    ]
    return rows, values


def _parts(run: Frozen) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    return (run.features["train"], run.labels["train"]), (run.features["val"], run.labels["val"])


def draws(split: Split, rows: np.ndarray) -> np.ndarray:
    studies = [split.studies[i] for i in rows]
    ids, patients = (tuple(getattr(s, k) for s in studies) for k in ("id", "patient"))
    return Plan(ids, patients, RESAMPLES).counts()


def ends(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "ci_low": low, "ci_high": high}
