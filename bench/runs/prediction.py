"""Test reports of a trained model, and what its own features say of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.metrics.predictions import PREDICTIONS
from bench.model import image_spec
from bench.runs.information import LIKELIHOODS, likelihoods
from bench.runs.reports import write_predictions
from bench.runs.training import open_split, trained_model
from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.store import RunFolder, write_atomic

if TYPE_CHECKING:
    from bench.data.batches import Split
    from bench.data.study import Dataset

# Of models with a common image-report space: per study 1 or 0, and the figures of its control.
ALIGNMENT = "alignment.txt"
PREDICT_BATCH = 64


def train_and_predict(
    spec: RunSpec,
    work: Workspace,
    folder: RunFolder,
    groups: Callable[[Dataset, str], Sequence[Hashable]],
) -> None:
    """Train, where that is not done, and write the test reports, where those are not there.

    groups: per study of a split what it shows, for others that show the same.
    """
    model = trained_model(spec, work, folder)
    if spec.kind == "train" and not (folder / PREDICTIONS).exists():
        predict(spec, model, work, folder, groups(work.open(spec).dataset, "test"))


def predict(
    spec: RunSpec, model: Any, work: Workspace, folder: RunFolder, groups: Sequence[Hashable]
) -> None:
    """Test reports, and what the model's own features and likelihoods say of them.

    groups: per test study what it shows, for others that show the same.
    """
    split = open_split(spec, image_spec(model), work, "test", train=False)
    if hasattr(model, "features"):
        write_atomic(folder / ALIGNMENT, _alignment(model, split, work))
    reports = write_reports(spec, model, split, work)
    if hasattr(model, "log_probs"):
        val = open_split(spec, image_spec(model), work, "val", train=False)
        _write_arrays(folder / LIKELIHOODS, likelihoods(model, val, split, groups, work.device))
    write_predictions(folder / PREDICTIONS, split.studies, reports)


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)  # type: ignore[arg-type]
    write_atomic(path, data.getvalue())


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
    vocabulary, seed = work.open(spec).vocabulary, spec.derived_seed("decode")
    reports: list[str] = []
    for batch in split.batches(PREDICT_BATCH, work.device):
        ids = generate(model, batch.images, spec.decode, seed + len(reports))
        reports += [vocabulary.decode(x) for x in ids]
    return reports
