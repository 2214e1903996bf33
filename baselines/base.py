"""BASE of the R2Gen and UAR papers: a CNN, a projection, and a vanilla Transformer.

`Captioner` is the skeleton that BASE shares with the models that change a part of it: they give it
another `visual` module, or override `look` (images to features and encoded tokens), `read`
(tokens to features) and what is added to cross-attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from baselines.cache import Cache
from baselines.likelihood import TeacherForced
from baselines.transformer import (
    Decoder,
    Dropout,
    Encoder,
    Positions,
    Words,
    token_loss,
    xavier_,
)
from baselines.visual import Visual

# UAR section 4.1: resized to 128 and cropped to 112 in training, resized to 112 otherwise.
# R2Gen's would be size 224, resize 256, mode "short", flip 0.5.
IMAGE: Mapping[str, Any] = {
    "size": 112,
    "resize": 128,
    "mode": "squash",
    "evaluate": "squash",
    "flip": 0.0,
    "filter": "lanczos",
    "kind": "pixels",
    "channels": 3,
    "views": 2,
}


class Studies(Protocol):
    """What is read of the harness' batch (see its contract): images, token ids, id counts."""

    images: Tensor
    tokens: Tensor
    lengths: Tensor


def average(features: Tensor, kept: Tensor) -> Tensor:
    """Mean of features (B, T, d) over the tokens `kept` (B, T); float32, zeros if none is kept."""
    weight = kept.unsqueeze(-1).float()
    return (features.float() * weight).sum(1) / weight.sum(1).clamp(min=1)


class Learned(nn.Module):
    """Learned positions, in the place of sinusoidal ones."""

    def __init__(self, d: int, dropout: float, length: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(length, d))
        nn.init.normal_(self.table, std=0.02)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x + self.table[: x.shape[1]])


def image_places(kind: str, d: int, dropout: float, length: int = 1024) -> nn.Module:
    """Positions of visual tokens: "sinusoidal", "learned" (at most `length`) or "none"."""
    if kind == "sinusoidal":
        return Positions(d, dropout)
    if kind == "learned":
        return Learned(d, dropout, length)
    if kind == "none":
        return nn.Identity()
    raise ValueError(f"image_positions {kind!r}: not one of sinusoidal, learned, none")


class Captioner(TeacherForced, nn.Module):
    """A `visual` module and a Transformer: 13.4 M parameters beside it at the defaults, 761 words.

    visual: images of a batch to visual tokens (B, L, d). image: the whole image declaration.
    d_ff: 512 as in R2Gen; UAR's "Transformer-Base" would be 2048.
    image_positions: "sinusoidal", "learned" or "none" (R2Gen) for visual tokens, in one order over
    all views; text always has sinusoidal ones.
    ce: "mean" over the batch's tokens (R2Gen), or "sum" over a report's tokens (UAR's Eq. 5 as
    printed), then the mean over reports.
    """

    GROUPS: tuple[str, ...] = ("visual", "rest")

    def __init__(
        self,
        vocab_size: int,
        max_length: int,
        visual: nn.Module,
        image: Mapping[str, Any],
        *,
        d: int = 512,
        heads: int = 8,
        d_ff: int = 512,
        layers: int = 3,
        dropout: float = 0.1,
        image_positions: str = "sinusoidal",
        ce: str = "mean",
    ) -> None:
        super().__init__()
        self.image = dict(image)
        self.max_length = max_length
        self.ce = ce
        self.visual = visual
        self.words = Words(vocab_size, d)
        self.encoder = Encoder(layers, d, heads, d_ff, dropout)
        self.decoder = Decoder(layers, d, heads, d_ff, dropout)
        for part in (self.words, self.encoder, self.decoder):
            xavier_(part)
        self.place_text = Positions(d, dropout)
        self.place_image = image_places(image_positions, d, dropout)
        self.head = nn.Linear(d, vocab_size)

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Visual features (B, L, d) for alignment, and the encoded tokens for the decoder."""
        features = self.visual(images)
        return features, self.encoder(self.place_image(features))

    def read(self, tokens: Tensor) -> Tensor:
        """Text features (B, T, d), before positions."""
        return self.words(tokens)

    def loss(self, batch: Studies) -> dict[str, Tensor]:
        _, visual = self.look(batch.images)
        text = self.place_text(self.read(batch.tokens[:, :-1]))
        states, _ = self.decoder(text, self.decoder.start(visual))
        return {"ce": token_loss(self.head(states), batch.tokens, batch.lengths, self.ce)}

    def encode(self, images: Tensor) -> Any:
        return self.decoder.start(self.look(images)[1])

    def follow(self, tokens: Tensor, state: Any) -> Tensor:
        states, _ = self.decoder(self.place_text(self.read(tokens)), state)
        return self.head(states)

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        cache: Cache = state
        text = self.place_text(self.read(tokens.unsqueeze(1)), cache.length)
        states, cache = self.decoder(text, cache)
        return self.head(states[:, 0]), cache

    def reorder(self, state: Any, index: Tensor, studies: Tensor | None = None) -> Any:
        return state.reorder(index, studies)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """ "visual": the backbone, unless frozen; "rest"."""
        return self.named_groups({"visual": getattr(self.visual, "backbone", None)})

    def named_groups(
        self, parts: Mapping[str, nn.Module | list[nn.Parameter] | None]
    ) -> dict[str, list[nn.Parameter]]:
        """Groups of the named parts, and "rest" for every other trainable parameter."""
        groups: dict[str, list[nn.Parameter]] = {}
        for name, part in parts.items():
            found = part.parameters() if isinstance(part, nn.Module) else part or []
            groups[name] = [p for p in found if p.requires_grad]
        taken = {id(p) for group in groups.values() for p in group}
        groups["rest"] = [p for p in self.parameters() if p.requires_grad and id(p) not in taken]
        return {name: group for name, group in groups.items() if group}

    @torch.no_grad()
    def features(self, batch: Studies) -> tuple[Tensor, Tensor]:
        """Pooled image and report features (B, d): means over visual tokens and over words."""
        return self.pooled(self.look(batch.images)[0], self.read(batch.tokens), batch)

    def pooled(self, seen: Tensor, text: Tensor, batch: Studies) -> tuple[Tensor, Tensor]:
        """Id 0 is BOS, EOS and padding: none of them is a word."""
        return seen.float().mean(1), average(text, batch.tokens != 0)


class Base(Captioner):
    """CNN and vanilla Transformer: 14.5 M parameters beside ResNet-101 at the defaults, 761 words.

    backbone: a name or import path (see `baselines.visual`) with its own `backbone_params`; its
    initial values are weights["visual"], random when None. `freeze` keeps it as it is.
    image: fields that differ from `IMAGE` with the backbone's normalisation.
    options: of `Captioner`.
    """

    def __init__(
        self,
        vocab_size: int,
        max_length: int,
        weights: Mapping[str, Path | None] | None = None,
        *,
        d: int = 512,
        image: Mapping[str, Any] | None = None,
        backbone: str = "resnet101",
        backbone_params: Mapping[str, Any] | None = None,
        freeze: bool = False,
        visual_dropout: float = 0.5,
        **options: Any,
    ) -> None:
        file = (weights or {}).get("visual")
        visual = Visual(d, backbone, file, freeze, visual_dropout, **(backbone_params or {}))
        declared = {**IMAGE, **visual.normalisation, **(image or {})}
        super().__init__(vocab_size, max_length, visual, declared, d=d, **options)
