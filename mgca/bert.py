"""The BERT inside the text encoder: from scratch, or the first layers of a pretrained one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor

if TYPE_CHECKING:
    from transformers import BertModel

POSITIONS = 512  # of every published BERT; word pieces beyond them cannot be read


def scratch(
    layers: int, width: int, heads: int, pieces: int, max_pieces: int, dropout: float
) -> BertModel:
    """A BERT with random weights."""
    from transformers import BertConfig, BertModel  # seconds: only where a BERT is built

    config = BertConfig(
        vocab_size=pieces,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=min(max_pieces, POSITIONS),
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return BertModel(config, add_pooling_layer=False)


def pretrained(weights: Path, layers: int) -> tuple[BertModel, list[str]]:
    """The first `layers` of the BERT in `weights`, and its word pieces in order of their ids.

    `weights`: model.safetensors or pytorch_model.bin, with config.json and vocab.txt beside it.
    """
    from transformers import BertConfig, BertModel

    for name in ("config.json", "vocab.txt"):
        if not (weights.parent / name).is_file():
            raise FileNotFoundError(
                f"{name} is missing beside the BERT weights {weights}: config.json and vocab.txt "
                "of the same BERT must lie in their folder"
            )
    config = BertConfig.from_json_file(weights.parent / "config.json")
    if config.num_hidden_layers < layers:
        raise ValueError(f"{weights} has {config.num_hidden_layers} layers, not {layers}")
    pieces = (weights.parent / "vocab.txt").read_text(encoding="utf-8").splitlines()
    if len(pieces) != config.vocab_size:
        raise ValueError(
            f"{weights.parent / 'vocab.txt'} has {len(pieces)} word pieces, config.json says "
            f"{config.vocab_size}: it is another BERT's"
        )
    config.num_hidden_layers = layers
    model = BertModel(config, add_pooling_layer=False)
    wanted = set(model.state_dict())
    state = {k: v for k, v in _state(weights).items() if k in wanted}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{weights} does not hold the BERT of its config.json: {error}") from None
    return model, pieces


def _state(path: Path) -> dict[str, Tensor]:
    """A state dict under today's names: no "bert." in front, no "gamma" and "beta"."""
    if path.suffix == ".safetensors":
        content = load_file(path)
    else:
        content = torch.load(path, map_location="cpu", weights_only=True)
    former = {".gamma": ".weight", ".beta": ".bias"}
    return {
        re.sub(r"\.(gamma|beta)$", lambda m: former[m[0]], k.removeprefix("bert.")): v
        for k, v in content.items()
    }


@torch.no_grad()
def class_attention(model: BertModel, hidden: Tensor, used: Tensor) -> Tensor:
    """Last layer's attention (B, T) of the class token, mean over heads, before dropout.

    Computed again from the layer's input `hidden` (B, T, C): one query instead of T, and the
    layers themselves are free to use fused attention, which keeps no weights.
    """
    layer = cast(Any, model.encoder.layer[-1]).attention.self
    heads = layer.num_attention_heads
    query = layer.query(hidden[:, :1]).unflatten(-1, (heads, -1))
    key = layer.key(hidden).unflatten(-1, (heads, -1))
    scores = torch.einsum("bqhd,bkhd->bhk", query, key) / query.shape[-1] ** 0.5
    return scores.masked_fill(~used.unsqueeze(1), float("-inf")).softmax(-1).mean(1)
