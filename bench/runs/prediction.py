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

# Of models with a common image-report space: per study 1 or 0, and the figures of its control.
ALIGNMENT = "alignment.txt"
PREDICT_BATCH = 64


def predict(spec: RunSpec, model: Any, work: Workspace, folder: RunFolder) -> None:
    """Test reports, and what the model's own features say of them."""
    split = open_split(spec, image_spec(model), work, "test", train=False)
    if hasattr(model, "features"):
        write_atomic(folder / ALIGNMENT, _alignment(model, split, work))
    write_predictions(folder / PREDICTIONS, split.studies, write_reports(spec, model, split, work))


def _alignment(model: Any, split: Split, work: Workspace) -> str:
    """A line a study: whether image and report are aligned, by the model's own features, and
    what that is to be held against."""
    from bench.metrics.alignment import aligned, control

    pairs = [model.features(b) for b in split.batches(PREDICT_BATCH, work.device)]
    images, reports = (np.concatenate([x[i].float().cpu().numpy() for x in pairs]) for i in (0, 1))
    marks, others = aligned(images, reports), control(images, reports)
    rows = zip(marks[:, 0], others, strict=True)
    return "".join(f"{int(m)} {' '.join(f'{x:.9g}' for x in row)}\n" for m, row in rows)


def write_reports(spec: RunSpec, model: Any, split: Split, work: Workspace) -> list[str]:
    """One decoded report per study of the split, in manifest order."""
    from bench.engine.decode import generate, lay_out

    lay_out(model)
    vocabulary, seed = work.vocabulary(spec.data), spec.derived_seed("decode")
    reports: list[str] = []
    for batch in split.batches(PREDICT_BATCH, work.device):
        ids = generate(model, batch.images, spec.decode, seed + len(reports))
        reports += [vocabulary.decode(x) for x in ids]
    return reports
