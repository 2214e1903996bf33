"""What an image tokenizer's codes keep of a film: validation films above their reconstructions."""

from __future__ import annotations

import numpy as np

from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.store import RunFolder

FIGURE = "figures/reconstructions"
FILMS = 8


def draw(spec: RunSpec, work: Workspace, folder: RunFolder) -> dict[str, float]:
    """figures/reconstructions.svg and .png of a sealed tokenizer; returns the model's figures."""
    import torch

    from bench.engine.checkpoint import load_weights
    from bench.engine.validation import EVALUATION_BATCH
    from bench.figures import pyplot, save
    from bench.model import image_spec
    from bench.runs.training import initial_model, open_split

    model = initial_model(spec, work).to(work.device).eval()
    load_weights(folder / "weights.safetensors", model)
    split = open_split(spec, image_spec(model), work, "val", train=False)
    batch = next(split.batches(EVALUATION_BATCH, work.device))
    with torch.inference_mode():
        films = batch.images.flatten(0, 1)[:FILMS]
        painted = model.reconstruct(films)
        figures: dict[str, float] = model.diagnose(batch)
    plt = pyplot()
    figure, axes = plt.subplots(2, len(films), figsize=(1.1 * len(films), 2.6), squeeze=False)
    for row, (name, images) in enumerate((("film", films), ("codes", painted))):
        for axis, image in zip(axes[row], images.mean(1).cpu().numpy(), strict=True):
            axis.imshow(np.asarray(image), cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(name)
    values = ", ".join(f"{name.rpartition('/')[2]} {value:.4g}" for name, value in figures.items())
    figure.suptitle(f"{len(split.studies)} validation studies: {values}", fontsize=8)
    figure.tight_layout(pad=0.3)
    save(figure, folder / FIGURE)
    return figures
