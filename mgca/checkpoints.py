"""Weights of image encoders out of the files in which they come, without running foreign code.

Known layouts: MGCA's Lightning checkpoints (`state_dict`, prefix `img_encoder_q.model.`), weights
that this package's own pretraining sealed (prefix `image_encoder.model.`), DeiT's file (`model`),
and bare torchvision or DeiT state dicts; as safetensors or as torch files.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

OFFICIAL = "img_encoder_q.model."
OWN = "image_encoder.model."
CLASSIFIER = ("fc.", "head.")
CONTAINERS = ("state_dict", "model")

NOTE = (
    "MGCA's released checkpoints were selected on the images and reports of MIMIC-CXR's official "
    "validation and test splits (no gradients): say so beside scores on MIMIC-CXR's test split."
)


def image_state(path: Path) -> dict[str, Tensor]:
    """State dict of the image encoder in `path`, classifier and prefix removed.

    ValueError when the file holds no image encoder or asks for code to be run.
    """
    content: dict[str, Any] = load_file(path) if path.suffix == ".safetensors" else _read(path)
    for container in CONTAINERS:
        if isinstance(content.get(container), dict):
            content = content[container]
            break
    state = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    for prefix in (OFFICIAL, OWN):
        inside = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if inside:
            state = inside
            break
    state = {k: v for k, v in state.items() if not k.startswith(CLASSIFIER)}
    architecture(state, path)
    return state


def import_checkpoint(kind: str, source: Path, target: Path) -> None:
    """Write the image encoder of a released checkpoint as safetensors; `kind` is "mgca"."""
    from safetensors.torch import save_file

    state = {name: value.contiguous() for name, value in image_state(source).items()}
    save_file(state, target, metadata={"note": NOTE})


def architecture(state: dict[str, Tensor], path: Path) -> str:
    """ "resnet" or "vit", by the names in a state dict."""
    if "conv1.weight" in state and "layer4.0.conv1.weight" in state:
        return "resnet"
    if "patch_embed.proj.weight" in state and "pos_embed" in state:
        return "vit"
    roots = sorted({".".join(key.split(".")[:2]) for key in state})
    raise ValueError(
        f"{path} holds no ResNet or ViT image encoder (expected keys under {OFFICIAL!r}, "
        f"{OWN!r} or bare); found: {', '.join(roots[:8]) or 'no tensors'}"
    )


class Inert:
    """Stands in for a foreign class in a checkpoint: takes its content, does nothing.

    An instance is an ordered dict, the one mapping whose items and attributes torch's restricted
    unpickler is willing to fill.
    """

    def __new__(cls, *content: Any) -> Any:
        return OrderedDict()


def _read(path: Path) -> dict[str, Any]:
    """Content of a torch file by torch's restricted unpickler.

    Lightning pickles hyper-parameters of classes that are not here. Each name outside torch's
    own list is read as `Inert`, so that nothing is imported or called on the file's behalf;
    names in torch's block list (os, sys) are refused.
    """
    try:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        stand_ins: list[Any] = [(_stand_in(name), name) for name in foreign]
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # foreign bytes make an unpickler fail in almost any way
        raise ValueError(f"{path} cannot be read as plain weights: {_reason(error)}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a state dict")
    return content


def _reason(error: Exception) -> str:
    """The unpickler's own words, without torch's advice to switch its protection off."""
    words = str(error).rpartition("WeightsUnpickler error:")[2].split("\n\nCheck the doc")[0]
    return " ".join(words.split()) or type(error).__name__


def _stand_in(name: str) -> type[Inert]:
    return type(name.rpartition(".")[2], (Inert,), {})
