"""What an image tokenizer's codes keep of a film: validation films above their reconstructions."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.store import WEIGHTS, RunFolder, sealed

FIGURE = "figures/reconstructions"
FILMS = 8


def painted(
    spec: RunSpec, work: Workspace, folder: RunFolder
) -> tuple[np.ndarray, np.ndarray, dict[str, float], int]:
    """Validation films (FILMS, C, H, W), what a sealed tokenizer makes of their codes, the model's
    figures over a batch, and how many validation studies there are."""
    import torch

    from bench.engine.checkpoint import load_weights
    from bench.engine.validation import EVALUATION_BATCH
    from bench.model import image_spec
    from bench.runs.training import initial_model, open_split

    model = initial_model(spec, work).to(work.device).eval()
    load_weights(sealed(folder / WEIGHTS), model)
    split = open_split(spec, image_spec(model), work, "val", train=False)
    batch = next(split.batches(EVALUATION_BATCH, work.device))
    with torch.inference_mode():
        films = batch.images.flatten(0, 1)[:FILMS]
        again = model.reconstruct(films)
        figures: dict[str, float] = model.diagnose(batch)
    return films.cpu().numpy(), again.cpu().numpy(), figures, len(split.studies)


def draw(spec: RunSpec, work: Workspace, folder: RunFolder) -> dict[str, float]:
    """figures/reconstructions.svg and .png of a sealed tokenizer; returns the model's figures."""
    from bench.figures import TWO, pyplot, save

    films, again, figures, count = painted(spec, work, folder)
    figure, axes = pyplot().subplots(2, len(films), figsize=(TWO, 2.2), squeeze=False)
    rows(axes, films, again)
    values = ", ".join(f"{name.rpartition('/')[2]} {value:.4g}" for name, value in figures.items())
    figure.suptitle(f"{count} validation studies: {values}")
    figure.tight_layout(pad=0.3)
    save(figure, folder / FIGURE)
    return figures


def rows(axes: Any, films: np.ndarray, again: np.ndarray) -> None:
    """Films above what their codes keep of them."""
    for row, (name, images) in enumerate((("film", films), ("codes", again))):
        for axis, image in zip(axes[row], images.mean(1), strict=True):
            axis.imshow(np.asarray(image), cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(name)
