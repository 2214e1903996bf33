"""Image encoders against the released code's outputs, their weights files, and backbones."""

from __future__ import annotations

import argparse
import json
import os
import pickle
from pathlib import Path
from typing import Any

import golden_mgca as recipe
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mgca.backbone import Backbone
from mgca.checkpoints import image_state
from mgca.image import ENCODERS, image_encoder, resized_positions, resnet50

GOLDEN = json.loads(recipe.GOLDEN.read_text())
VIT = {"name": "vit", "size": 32, "patch": 8, "width": 24, "depth": 2, "heads": 3}
SMALL = {"name": "resnet_small", "width": 4}


def near(ours: Tensor, golden: dict) -> None:
    found = recipe.sketch(ours)
    assert found["norm"] == pytest.approx(golden["norm"], rel=1e-5)
    assert found["entries"] == pytest.approx(golden["entries"], rel=1e-4, abs=1e-5)


def test_released_resnet() -> None:
    encoder = resnet50(upsample=299).eval()
    recipe.fill(encoder.model, 0)
    with torch.no_grad():
        found = encoder(recipe.images(64))
    assert list(found.tokens.shape) == GOLDEN["resnet"]["shape"] == [2, 361, 1024]
    near(found.pooled, GOLDEN["resnet"]["pooled"])
    near(found.tokens, GOLDEN["resnet"]["tokens"])
    assert found.attention is None


def test_released_vit() -> None:
    encoder = image_encoder(VIT).eval()
    recipe.fill(encoder.model, 0)
    with torch.no_grad():
        found = encoder(recipe.images(32))
    near(torch.cat([found.pooled[:, None], found.tokens], 1), GOLDEN["vit"]["tokens"])
    near(found.attention, GOLDEN["vit"]["attention"])


@pytest.mark.parametrize(("name", "count"), [("resnet50", 23508032), ("resnet18", 11176512)])
def test_parameters_of_published_networks(name: str, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in ENCODERS[name]().parameters()) == count


def test_vit_is_deit_base() -> None:
    with torch.device("meta"):
        encoder = image_encoder({"name": "vit"})
    # DeiT-base has 86,567,656 parameters, of which 769,000 are its classifier's.
    assert sum(p.numel() for p in encoder.parameters()) == 86567656 - 769000
    names = set(encoder.model.state_dict())
    assert {"cls_token", "pos_embed", "patch_embed.proj.weight", "norm.bias"} <= names
    assert {"blocks.11.attn.qkv.weight", "blocks.11.mlp.fc2.bias", "blocks.0.norm1.bias"} <= names


def test_positions_keep_the_class_token_and_a_smooth_grid() -> None:
    ramp = torch.linspace(0, 1, 16).view(1, 1, 16).expand(1, 16, 16).reshape(1, 256, 1)
    positions = torch.cat([torch.full((1, 1, 1), 7.0), ramp], 1)
    resized = resized_positions(positions, 8)
    assert resized.shape == (1, 65, 1)
    assert resized[0, 0, 0] == 7
    rows = resized[0, 1:, 0].view(8, 8)
    assert torch.allclose(rows, rows[:1].expand(8, 8))
    assert (rows[0].diff() > 0).all()
    assert resized_positions(positions, 16) is positions


# --- files ----------------------------------------------------------------------------------------


class Foreign(dict):
    """Stands for Lightning's AttributeDict."""


class Trap:
    """A pickle that would run a command."""

    def __init__(self, action: Any, *arguments: Any) -> None:
        self.call = (action, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def lightning(path: Path, config: dict[str, Any], hyper: Any) -> dict[str, Tensor]:
    """A file in the released checkpoints' layout; returns its image encoder's tensors."""
    encoder = image_encoder(config)
    recipe.fill(encoder.model, 1)
    image = encoder.model.state_dict()
    state = {f"img_encoder_q.model.{k}": v for k, v in image.items()}
    state["img_encoder_q.global_embed.head.0.weight"] = torch.zeros(2, 2)
    state["text_encoder_q.model.embeddings.word_embeddings.weight"] = torch.zeros(3, 2)
    torch.save({"state_dict": state, "hyper_parameters": hyper, "epoch": 3}, path)
    return image


@pytest.mark.parametrize("config", [SMALL, VIT], ids=lambda c: c["name"])
def test_official_layout(tmp_path: Path, config: dict[str, Any]) -> None:
    hyper = Foreign(gpus=2, opt=argparse.Namespace(lr=2e-5), path=Path("/data"))
    image = lightning(tmp_path / "x.ckpt", config, hyper)
    found = image_state(tmp_path / "x.ckpt")
    assert found.keys() == image.keys()
    assert all(torch.equal(found[k], image[k]) for k in image)
    images = recipe.images(32)
    direct = image_encoder(config, tmp_path / "x.ckpt").eval()
    other = image_encoder(config).eval()
    other.model.load_state_dict(image)
    assert torch.equal(direct(images).pooled, other(images).pooled)


def test_foreign_code_does_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    lightning(tmp_path / "a.ckpt", SMALL, Trap(exec, f"open({str(mark)!r}, 'w')"))
    assert image_state(tmp_path / "a.ckpt")  # `exec` was read as an inert name
    lightning(tmp_path / "b.ckpt", SMALL, Trap(os.system, f"touch {mark}"))
    with pytest.raises(ValueError, match=r"b\.ckpt cannot be read as plain weights: .*posix"):
        image_state(tmp_path / "b.ckpt")
    (tmp_path / "c.ckpt").write_bytes(pickle.dumps(Trap(exec, f"open({str(mark)!r}, 'w')")))
    with pytest.raises(ValueError, match=r"c\.ckpt cannot be read"):
        image_state(tmp_path / "c.ckpt")
    assert not mark.exists()


def test_files_of_other_layouts(tmp_path: Path) -> None:
    state = image_encoder(SMALL).model.state_dict()
    save_file(
        {f"image_encoder.model.{k}": v for k, v in state.items()}, tmp_path / "own.safetensors"
    )
    torch.save({**state, "fc.weight": torch.zeros(1)}, tmp_path / "bare.pth")
    torch.save({"model": state}, tmp_path / "deit.pth")
    for name in ("own.safetensors", "bare.pth", "deit.pth"):
        assert image_state(tmp_path / name).keys() == state.keys()


def test_files_that_hold_no_encoder(tmp_path: Path) -> None:
    torch.save({"state_dict": {"decoder.0.weight": torch.zeros(1)}}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"no ResNet or ViT image encoder.*decoder\.0"):
        image_state(tmp_path / "x.ckpt")
    lightning(tmp_path / "y.ckpt", SMALL, None)
    with pytest.raises(ValueError, match=r"y\.ckpt does not fit this image encoder"):
        image_encoder({"name": "resnet18"}, tmp_path / "y.ckpt")


# --- backbones ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "shape"),
    [
        ({"encoder": "resnet50"}, (2048, 7, 7)),
        ({"encoder": "resnet50", "layer": "layer3"}, (1024, 14, 14)),
        ({"encoder": "resnet50", "layer": "layer3", "upsample": 299}, (1024, 19, 19)),
        ({"encoder": "vit"}, (768, 14, 14)),
        ({"encoder": "vit", "class_token": True}, (768, 197)),
    ],
    ids=lambda p: "-".join(map(str, p.values())) if isinstance(p, dict) else "",
)
def test_backbone_maps(params: dict[str, Any], shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        backbone = Backbone(**params)
        assert backbone(torch.zeros(2, 3, 224, 224)).shape == (2, *shape)
    assert backbone.channels == shape[0]


def test_backbone_takes_weights_and_trains_every_parameter(tmp_path: Path) -> None:
    lightning(tmp_path / "x.ckpt", SMALL, None)
    backbone = Backbone(tmp_path / "x.ckpt", encoder="resnet_small", width=4, layer="layer3")
    backbone(recipe.images(32)).sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_vit_tokens_keep_the_image_layout() -> None:
    config = {k: v for k, v in VIT.items() if k != "name"}
    backbone = Backbone(encoder="vit", **config).eval()
    images = recipe.images(32)
    tokens = backbone.encoder.model(images)[0][:, 1:]
    assert torch.equal(backbone(images).flatten(2).transpose(1, 2), tokens)
    with pytest.raises(ValueError, match="4 x 4"):
        backbone(recipe.images(40))


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="resnet50"):
        image_encoder({"name": "resnet51"})
    with pytest.raises(ValueError, match="layer3"):
        Backbone(encoder="resnet_small", layer="layer5")
