"""Test reports of a trained model, and what its own features say of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.metrics.predictions import PREDICTIONS, write_predictions
from bench.model import image_spec
from bench.runs.training import open_split
from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.store import RunFolder, write_atomic

if TYPE_CHECKING:
    from bench.data.batches import Split

ALIGNMENT = "alignment.txt"  # per study 1 or 0, of models with a common image-report space
PREDICT_BATCH = 64


def predict(spec: RunSpec, model: Any, work: Workspace, folder: RunFolder) -> None:
    """Test reports, and what the model's own features say of them."""
    split = open_split(spec, image_spec(model), work, "test", train=False)
    if hasattr(model, "features"):
        marks = _alignment(model, split, work)
        write_atomic(folder / ALIGNMENT, "".join(f"{int(mark)}\n" for mark in marks[:, 0]))
    write_predictions(folder / PREDICTIONS, split.studies, write_reports(spec, model, split, work))


def _alignment(model: Any, split: Split, work: Workspace) -> np.ndarray:
    """Which studies' images and reports are aligned, by the model's own features."""
    from bench.metrics.alignment import aligned

    pairs = [model.features(b) for b in split.batches(PREDICT_BATCH, work.device)]
    images, reports = (np.concatenate([x[i].float().cpu().numpy() for x in pairs]) for i in (0, 1))
    return aligned(images, reports)


def write_reports(spec: RunSpec, model: Any, split: Split, work: Workspace) -> list[str]:
    """One decoded report per study of the split, in manifest order."""
    from bench.engine.decode import generate, lay_out

    lay_out(model)
    vocabulary, seed = work.open(spec).vocabulary, spec.derived_seed("decode")
    reports: list[str] = []
    for batch in split.batches(PREDICT_BATCH, work.device):
        ids = generate(model, batch.images, spec.decode, seed + len(reports))
        reports += [vocabulary.decode(x) for x in ids]
    return reports
