"""Features of a frozen network: what the cache holds, and generators that read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy import load

from baselines.frozen import Extractor, Features
from bench.config import compose, tokenizer_name
from bench.data.batches import Codes, views_of
from bench.data.codes import open_codes
from bench.data.images import open_store
from bench.model import Batch, ImageSpec, image_spec
from bench.reporting.summary import _seen
from bench.runs.workspace import Workspace
from bench.spec import BudgetSpec, DataSpec, PartSpec, RunSpec
from bench.suites.composer import Composer
from bench.suites.suite import Row
from bench.targets import resolve

SPEC = ImageSpec(size=8, resize=8, filter="bilinear", kind="features", views=2)
DATASET = load(train=5)
DATA = DataSpec("made", "toy.load", "made")
SMALL = {"d": 16, "heads": 2, "d_ff": 16, "layers": 1}
GENERATORS: dict[str, dict[str, Any]] = {
    "baselines.base.Base": SMALL,
    "baselines.r2gen.R2Gen": SMALL,
    "baselines.r2gencmn.R2GenCMN": {**SMALL, "rows": 8, "topk": 4},
    "baselines.show_tell.ShowTell": {"d": 16},
    "baselines.topdown.TopDown": {"d": 16},
    "uar.model.UAR": {**SMALL, "lsu": False, "cra": {"size": 8, "heads": 2}},
}


def extractor(**options: Any) -> Extractor:
    torch.manual_seed(0)
    net = Extractor(name="convnet", backbone_params={"width": 4}, grid=2, **options)
    for module in net.modules():  # batch norm that has seen something
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
    return net


def opened(cache: Path, net: Extractor, spec: ImageSpec = SPEC, crops: int = 3) -> Codes:
    studies = DATASET.split("train")
    return open_codes(DATASET, studies, spec, net, "n1", crops, True, cache, "cpu")


def test_features_are_what_the_network_says_of_the_normalised_image(tmp_path: Path) -> None:
    net = extractor()
    kept = opened(tmp_path, net)
    assert kept.evaluation.shape == (10, 4, 32)
    images = views_of(DATASET.split("train"), 2)
    pixels = open_store(DATASET, images, SPEC, training=False, cache=tmp_path).array
    grey = torch.from_numpy(pixels.copy())[:, None].float() / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        maps = net.backbone((grey.expand(-1, 3, -1, -1) - mean) / std)  # 1 x 1 at this size
    expected = maps.flatten(2).mT.expand(-1, 4, -1)
    drawn = kept.fixed(np.arange(5))
    assert drawn.dtype == torch.float32
    assert drawn.std() > 0.01
    torch.testing.assert_close(drawn.flatten(0, 1), expected, rtol=1e-3, atol=1e-5)


def test_without_room_for_crops_one_is_kept(tmp_path: Path) -> None:
    kept = opened(tmp_path, extractor())
    assert kept.training is not None
    assert kept.training.shape == (10, 1, 4, 32)
    larger = ImageSpec(size=8, resize=12, filter="bilinear", kind="features", views=2)
    several = opened(tmp_path, extractor(), larger)
    assert several.training is not None
    assert several.training.shape == (10, 3, 4, 32)
    rows = np.array([3, 1])
    image = several.draw(rows, np.random.default_rng(0))
    assert torch.equal(image, several.draw(rows, np.random.default_rng(0)))
    assert image.shape == (2, 2, 4, 32)


def test_it_is_frozen() -> None:
    net = extractor()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    first = net.features(torch.rand(2, 3, 32, 32))
    assert not first.requires_grad
    assert not any(p.requires_grad for p in net.parameters())
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_channels_are_standardised_by_train_images() -> None:
    reader = Features((4, 3), 8)
    seen = torch.randn(50, 4, 3) * torch.tensor([2.0, 0.5, 0.0]) + torch.tensor([1.0, -1.0, 3.0])
    reader.see(seen)
    x = reader.patches(seen.view(25, 2, 4, 3))
    assert x.shape == (25, 8, 3)
    torch.testing.assert_close(x.mean((0, 1)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std((0, 1)), torch.tensor([1.0, 1.0, 0.0]), atol=1e-2, rtol=0)
    assert {"mean", "std"} <= set(reader.state_dict())


@pytest.mark.parametrize("target", GENERATORS)
def test_any_generator_reads_features(target: str) -> None:
    torch.manual_seed(0)
    model = resolve(target)(vocab_size=9, max_length=7, feature_shape=(4, 6), **GENERATORS[target])
    assert image_spec(model).kind == "features"
    assert "visual" not in model.groups()
    images = torch.randn(3, 2, 4, 6)
    model.see(images.flatten(0, 1))
    tokens = torch.randint(1, 9, (3, 7))
    tokens[:, 0] = tokens[:, -1] = 0
    terms = model.train().loss(Batch(images, tokens, torch.full((3,), 7)))
    sum(terms.values()).backward()
    assert model.visual.project.weight.grad.abs().sum() > 0
    model.eval()
    state = model.encode(images)
    logits, _ = model.step(tokens[:, 0], state)
    assert logits.shape == (3, 9)
    other, _ = model.step(tokens[:, 0], model.encode(images.roll(1, 0)))
    assert not torch.allclose(logits, other)


def test_the_encoder_is_a_choice_of_any_row(tmp_path: Path) -> None:
    for name in ("base", "r2gen", "r2gencmn", "st"):
        config = compose([f"model={name}", "encoder=efficientnet_lite0_frozen"])
        assert tokenizer_name(config) == "efficientnet_lite0"
        assert config["model"]["params"]["image"]["size"] == 224
    composer = Composer(Workspace(tmp_path, tmp_path), None, ["encoder=efficientnet_lite0_frozen"])
    codes = composer._of(Row("UAR", "uar"))["model"]["params"]["image"]
    assert codes == compose(["model=uar"])["model"]["params"]["image"]  # as its tokenizer saw them
    lsu = compose(["model=uar", "encoder=efficientnet_lite0_frozen"])
    assert tokenizer_name(lsu) == "harness"
    assert tokenizer_name(compose(["model=base"])) is None


def test_a_table_says_what_each_row_reads_of_the_images() -> None:
    pixels = RunSpec(
        "train",
        DATA,
        PartSpec("a.B", {"image": {"size": 64}}),
        code="",
        budget=BudgetSpec("steps", 1.0),
    )
    features = PartSpec("a.Extractor", {"name": "efficientnet_lite0"})
    large = replace(pixels, model=PartSpec("a.B", {"image": {"size": 224}}), tokenizer=features)
    assert _seen(pixels) == "64 x 64 pixels"
    assert _seen(large) == "what efficientnet_lite0 makes of 224 x 224 pixels"
    assert _seen(replace(pixels, tokenizer=PartSpec("uar.dvae.DVAE"))).startswith("what DVAE makes")
    assert _seen(replace(pixels, model=PartSpec("a.Floor"))) == ""
