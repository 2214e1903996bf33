"""What an image tokenizer's codes keep: a linear probe per finding of films and of their codes.

LSU reads the codes and never the film, so a finding that is gone from them cannot enter a report.
Films are read as grey pixels; codes as what a look-up table could give a linear reader: which code
stands at which place. Ridge regression in its dual form needs inner products alone, and that of two
films' codes is the number of places where they agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.errors import MissingError
from bench.metrics.clinical.observations import OBSERVATIONS
from bench.metrics.clinical.truth import observations, source
from bench.pretraining import probe
from bench.pretraining.frozen import MEAN, draws, ends
from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.store import WEIGHTS, RunFolder, sealed

FILMS, CODES = "films", "codes"
BATCH = 64
PENALTIES = tuple(10.0**k for k in range(-2, 4))  # times the mean eigenvalue of the products


def probed(spec: RunSpec, work: Workspace, folder: RunFolder) -> dict[str, Any]:
    """AUROC per finding on the test split; a dataset without labels gives the reason instead."""
    try:
        seen, labels, counts = _seen(spec, work, folder)
    except MissingError as error:
        return {"unavailable": error.message}
    rows, drawn = [], {}
    for name, features in seen.items():
        product = _agreement if name == CODES else _inner
        products = {part: product(x, features["train"]) for part, x in features.items()}
        scores = dual_ridge(products, labels["train"], labels["val"])
        drawn[name] = probe.resampled_auroc([scores], labels["test"], counts)
        rows += _rows(name, drawn[name], labels)
    gap = (drawn[CODES] - drawn[FILMS])[:, -1]
    return {
        "labels": source(spec.data.name),
        "seeds": [0],
        "rows": rows,
        "differences": [{"fraction": 1.0, "over": FILMS, **ends(*probe.spread(gap))}],
    }


def _rows(name: str, values: np.ndarray, labels: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    positives = [*labels["test"].sum(axis=0).astype(int).tolist(), None]
    common = {"weights": name, "fraction": 1.0, "labels": len(labels["train"])}
    return [
        {**common, "finding": finding, "positives": count, "n": len(labels["test"]),
         **ends(*probe.spread(column))}
        for finding, count, column in zip((*OBSERVATIONS, MEAN), positives, values.T, strict=True)
        if np.isfinite(column[0])
    ]  # fmt: skip


def _seen(
    spec: RunSpec, work: Workspace, folder: RunFolder
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, np.ndarray], np.ndarray]:
    """Pixels (n, p) and codes (n, L) of the labelled studies by split, labels, test resamples."""
    import torch

    from bench.engine.checkpoint import load_weights
    from bench.model import image_spec
    from bench.runs.training import initial_model, open_split

    model = initial_model(spec, work).to(work.device).eval()
    load_weights(sealed(folder / WEIGHTS), model)
    seen: dict[str, dict[str, np.ndarray]] = {FILMS: {}, CODES: {}}
    labels, counts = {}, np.zeros(0)
    for name in ("train", "val", "test"):
        split = open_split(spec, image_spec(model), work, name, train=False)
        known, values = observations(spec.data.name, split.studies)
        parts: dict[str, list[Any]] = {FILMS: [], CODES: []}
        with torch.inference_mode():
            for batch in split.batches(BATCH, work.device):
                films, count = batch.images.flatten(0, 1), len(batch.lengths)
                parts[FILMS].append(films.mean(1).reshape(count, -1).float().cpu())
                parts[CODES].append(model.codes(films).reshape(count, -1).cpu())
        for kind, found in parts.items():
            seen[kind][name] = torch.cat(found).numpy()[known]
        labels[name] = values[known]
        if name == "test":
            counts = draws(split, np.flatnonzero(known))
    return seen, labels, counts


def _inner(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a.astype(np.float64) @ b.astype(np.float64).T


def _agreement(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) places at which codes (n, L) and (m, L) are the same: products of one-hot codes."""
    total = np.zeros((len(a), len(b)))
    for one, other in zip(a.T, b.T, strict=True):
        total += one[:, None] == other[None, :]
    return total


def dual_ridge(products: dict[str, np.ndarray], train: np.ndarray, val: np.ndarray) -> np.ndarray:
    """Scores (n, findings) of the test split; the penalty has the best mean AUROC on validation.

    `products`: inner products of each split's samples with the train split's. Labels (n, findings).
    """
    means = products["train"].mean(axis=0)
    centred = {
        k: p - p.mean(axis=1, keepdims=True) - means + means.mean() for k, p in products.items()
    }
    spectrum, axes = np.linalg.eigh(centred["train"])
    inside = axes.T @ (train - train.mean(axis=0))
    best, best_value = np.zeros(0), -np.inf
    for penalty in PENALTIES:
        weights = axes @ (inside / (spectrum + penalty * spectrum.mean())[:, None])
        value = np.nan_to_num(probe.mean_auroc(centred["val"] @ weights, val), nan=0.5)
        if value > best_value:
            best, best_value = centred["test"] @ weights, value
    return best
