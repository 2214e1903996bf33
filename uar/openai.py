"""OpenAI's dVAE encoder (package `dall_e`) as the image tokenizer of LSU.

The released `encoder.pkl` is a pickled module, which `uar.pickled` reads without running anything
in it. `convert` writes what was read as safetensors, which is what should be kept and used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from uar.pickled import read_pickle

CHUNK = 8  # images encoded at once: the first layers keep 256 channels of every pixel


def read_state(path: Path | str) -> dict[str, Tensor]:
    """The encoder's state dict from .safetensors, or from the released pickle."""
    if Path(path).suffix != ".safetensors":
        return read_pickle(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from None


def convert(source: Path | str, target: Path | str) -> dict[str, int]:
    """Write the pickled encoder `source` as safetensors `target`; returns its shape."""
    state = read_pickle(source)
    shape = encoder_shape(state, source)
    build(state, source)
    save_file(state, target, metadata={"dall_e.Encoder": json.dumps(shape)})
    return shape


def import_checkpoint(kind: str, source: Path, target: Path) -> None:
    """`convert`, as `bench weights import openai-dvae` calls it; `kind` is that name."""
    convert(source, target)


def encoder_shape(state: Mapping[str, Tensor], path: Path | str) -> dict[str, int]:
    """Constructor arguments of the encoder that the state dict belongs to."""
    try:
        first, last = state["blocks.input.w"], state["blocks.output.conv.w"]
    except KeyError as error:
        raise ValueError(f"{path} is not a dall_e Encoder: it has no tensor {error}") from None
    blocks = {name.split(".")[2] for name in state if name.startswith("blocks.group_1.block_")}
    return {
        "n_hid": first.shape[0],
        "n_blk_per_group": len(blocks),
        "input_channels": first.shape[1],
        "vocab_size": last.shape[0],
    }


def build(state: Mapping[str, Tensor], path: Path | str) -> torch.nn.Module:
    """The package's Encoder with these weights, frozen, in evaluation mode."""
    from dall_e import Encoder

    encoder = Encoder(**encoder_shape(state, path))
    try:
        encoder.load_state_dict(dict(state))
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit dall_e's Encoder: {error}") from None
    return encoder.requires_grad_(False).eval()


class OpenAI(torch.nn.Module):
    """The released encoder: 53.8 M parameters, 8192 codes, 8 x 8 pixels a code.

    weights["dvae"]: the converted safetensors, or encoder.pkl itself. On CUDA its convolutions run
    in float16, on a CPU in float32, so that codes of the two may differ: do not mix them.
    """

    factor = 8

    def __init__(self, weights: Mapping[str, Path | None]) -> None:
        super().__init__()
        path = weights.get("dvae")
        if path is None:
            raise ValueError(
                "OpenAI's dVAE needs its weights: give encoder.pkl or its conversion as `dvae`"
            )
        self.encoder = build(read_state(path), path)
        self.codebook_size = int(getattr(self.encoder, "vocab_size"))  # noqa: B009

    @torch.no_grad()
    def codes(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) float32 in [0, 1] -> (N, H * W / 64) int64, row-major."""
        from dall_e import map_pixels

        parts = [self.encoder(map_pixels(part)).argmax(1) for part in images.split(CHUNK)]
        return torch.cat(parts).flatten(1)
