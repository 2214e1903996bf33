"""The dVAE that the harness trains: its loss, its learning, its codes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.model import Batch, ImageSpec
from uar.dvae import DVAE, k_means

SMALL = {"codebook_size": 32, "width": 8}


def films(count: int, seed: int = 0, side: int = 32) -> Tensor:
    """Bright ellipses on a dark ground, (count, 1, side, side) in [0, 1]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    images = np.zeros((count, 1, side, side), np.float32)
    for image in images[:, 0]:
        for _ in range(2):
            cx, cy, rx, ry = rng.uniform(0.2, 0.8, 4) * (1, 1, 0.4, 0.4)
            image[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1] = rng.uniform(0.4, 1)
    return torch.from_numpy(images)


def batch_of(images: Tensor, progress: float = 0.5) -> Batch:
    empty = torch.zeros(0, dtype=torch.long)
    return Batch(images.unsqueeze(1), empty, empty, progress=progress)


def test_image_declaration_is_grey_pixels_as_they_are() -> None:
    spec = ImageSpec(**DVAE(image={"size": 64, "resize": 72}, **SMALL).image)
    assert (spec.kind, spec.channels, spec.mean, spec.std) == ("pixels", 1, (0.0,), (1.0,))
    assert (spec.size, spec.resize, spec.flip) == (64, 72, 0.0)


def test_codes_are_row_major_and_the_same_for_any_number_of_channels() -> None:
    torch.manual_seed(0)
    model = DVAE(**SMALL)
    images = torch.rand(3, 1, 16, 24)
    codes = model.codes(images)
    assert codes.shape == (3, 6)
    assert codes.dtype == torch.int64
    assert model.factor == 8
    grid = model.encoder(images * 2 - 1).argmax(1)
    assert codes[0, 4] == grid[0, 1, 1]
    assert torch.equal(model.codes(images.expand(-1, 3, -1, -1)), codes)
    assert model.reconstruct(images).shape == (3, 1, 16, 24)


def test_divergence_equals_a_loop() -> None:
    torch.manual_seed(0)
    model = DVAE(kl_weight=0.3, usage_weight=0.7, kl_ramp=0.5, **SMALL)
    logits = torch.randn(2, 32, 2, 3)
    q = logits.movedim(1, -1).reshape(12, 32).softmax(-1).tolist()
    mean = [sum(row[k] for row in q) / 12 for k in range(32)]
    each = sum(sum(p * math.log(p * 32) for p in row) for row in q) / 12
    used = sum(p * math.log(p * 32) for p in mean)
    expected = 0.3 * 0.5 * each + 0.7 * used  # half of the ramp
    assert model._divergence(logits, 0.25).item() == pytest.approx(expected, rel=1e-4)


def test_samples_follow_the_posterior_and_harden() -> None:
    torch.manual_seed(0)
    model = DVAE(**SMALL)
    logits = torch.zeros(4000, 32, 1, 1)
    logits[:, 5] = 3.0
    cold = model._sample(logits, 1.0)
    torch.testing.assert_close(cold.sum(1), torch.ones(4000, 1, 1))
    share = (cold.argmax(1) == 5).float().mean().item()
    assert share == pytest.approx(math.exp(3) / (math.exp(3) + 31), abs=0.03)
    assert cold.amax(1).mean() > 0.95 > model._sample(logits, 0.0).amax(1).mean()


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    model = DVAE(**SMALL).train()
    groups = model.groups()
    assert list(groups) == ["rest"]
    assert len(groups["rest"]) == len(list(model.parameters()))
    terms = model.loss(batch_of(films(4)))
    assert set(terms) == {"reconstruction", "kl"}
    sum(terms.values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in groups["rest"])


def test_learns_to_reconstruct_without_collapse() -> None:
    """Sixty steps: better than the mean of each patch of four codes, most codes in use."""
    torch.manual_seed(0)
    model = DVAE(**SMALL).train()
    steps, images, held = 60, films(64), films(32, seed=1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(steps):
        part = images[torch.randperm(64)[:32]]
        loss = sum(model.loss(batch_of(part, step / steps)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    error = (model.reconstruct(held) - held).square().mean()
    assert error < 0.5 * held.var()
    figures = model.diagnose(batch_of(held))
    assert figures["dvae/psnr"] == pytest.approx(-10 * math.log10(error), abs=1e-3)
    assert figures["dvae/used"] > 16
    assert figures["dvae/perplexity"] > 8


def test_starts_as_the_nearest_centre_of_patches() -> None:
    torch.manual_seed(0)
    images = films(64)
    model = DVAE(**SMALL).eval()
    model.see(images)
    patches = (images * 2 - 1).unfold(2, 8, 8).unfold(3, 8, 8).reshape(-1, 64)
    centres = model.decoder.patch[0].weight[:, :, 0, 0].T  # a code paints its centre
    nearest = torch.cdist(patches, centres).argmin(1)
    assert torch.equal(model.codes(images).flatten(), nearest)
    painted = centres[nearest].clamp(-1, 1).view(64, 4, 4, 8, 8).transpose(2, 3).reshape(64, 32, 32)
    torch.testing.assert_close(model.reconstruct(images)[:, 0], (painted + 1) / 2)


def test_k_means_beats_random_centres_and_needs_enough_points() -> None:
    torch.manual_seed(0)
    points = torch.randn(500, 4) + 6 * torch.eye(4)[torch.randint(4, (500,))]

    def error(centres: Tensor) -> float:
        return float(torch.cdist(points, centres).amin(1).square().mean())

    assert error(k_means(points, 8)) < 0.8 * error(points[:8])
    with pytest.raises(ValueError, match="500 patches are too few for 501 codes"):
        k_means(points, 501)


def test_evaluation_has_no_noise() -> None:
    torch.manual_seed(0)
    model, batch = DVAE(**SMALL).eval(), batch_of(films(4))
    one, two = model.loss(batch), model.loss(batch)
    assert torch.equal(one["reconstruction"], two["reconstruction"])
    expected = (
        ((model.decoder(model._hard(model.encoder(films(4) * 2 - 1)))) - (films(4) * 2 - 1))
        .square()
        .mean()
    )
    torch.testing.assert_close(one["reconstruction"], expected)


def test_a_finished_training_is_a_tokenizer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = DVAE(**SMALL)
    save_file(model.state_dict(), tmp_path / "dvae.safetensors")
    tokenizer = DVAE(weights={"dvae": tmp_path / "dvae.safetensors"}, **SMALL)
    assert torch.equal(tokenizer.codes(films(4)), model.codes(films(4)))
    with pytest.raises(ValueError, match=r"dvae\.safetensors does not hold DVAE"):
        DVAE(weights={"dvae": tmp_path / "dvae.safetensors"}, codebook_size=16, width=8)


def test_bfloat16_losses_are_float32() -> None:
    torch.manual_seed(0)
    model = DVAE(**SMALL).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = model.loss(batch_of(films(2)))
        sum(terms.values()).backward()
    assert all(value.dtype == torch.float32 for value in terms.values())
