"""BASE of the R2Gen and UAR papers: a CNN, a projection, and a vanilla Transformer.

`Captioner` is the skeleton that BASE shares with the models that change a part of it: they give it
another `visual` module, or override `look` (images to features and encoded tokens), `read`
(tokens to features) and what is added to cross-attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.cache import Cache
from baselines.dropout import Dropout
from baselines.generator import UAR_IMAGE, Generator, Studies
from baselines.inspection import Inspected
from baselines.transformer import (
    Decoder,
    Encoder,
    Positions,
    Words,
    xavier_,
)


def average(features: Tensor, kept: Tensor) -> Tensor:
    """Mean of features (B, T, d) over the tokens `kept` (B, T); float32, zeros if none is kept."""
    weight = kept.unsqueeze(-1).float()
    return (features.float() * weight).sum(1) / weight.sum(1).clamp(min=1)


class Learned(nn.Module):
    """Learned positions, instead of sinusoidal ones."""

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


class Captioner(Inspected, Generator):
    """Visual tokens and a Transformer: 13.4 M parameters beside it at the defaults, 761 words.

    d_ff: 512 as in R2Gen; UAR's "Transformer-Base" would be 2048.
    image_positions: "sinusoidal", "learned" or "none" (R2Gen) for visual tokens, in one order over
    all views; text always has sinusoidal ones.
    ce: "mean" over the batch's tokens (R2Gen), or "sum" over a report's tokens (UAR's Eq. 5 as
    printed), then the mean over reports.
    options: of `Generator`.
    """

    IMAGE = UAR_IMAGE

    def __init__(
        self,
        vocab_size: int,
        max_length: int,
        weights: Mapping[str, Path | None] | None = None,
        *,
        d: int = 512,
        heads: int = 8,
        d_ff: int = 512,
        layers: int = 3,
        dropout: float = 0.1,
        image_positions: str = "sinusoidal",
        ce: str = "mean",
        **options: Any,
    ) -> None:
        super().__init__(vocab_size, max_length, weights, d=d, **options)
        self.ce = ce
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

    def states(self, batch: Studies) -> Tensor:
        visual = self.look(batch.images)[1]  # its noise is drawn first
        text = self.place_text(self.read(batch.tokens[:, :-1]))
        return self.decoder(text, self.decoder.start(visual))[0]

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

    @torch.no_grad()
    def features(self, batch: Studies) -> tuple[Tensor, Tensor]:
        """Pooled image and report features (B, d): means over visual tokens and over words."""
        return self.pooled(self.look(batch.images)[0], self.read(batch.tokens), batch)

    def pooled(self, seen: Tensor, text: Tensor, batch: Studies) -> tuple[Tensor, Tensor]:
        """Id 0 is BOS, EOS and padding: none of them is a word."""
        return seen.float().mean(1), average(text, batch.tokens != 0)


class Base(Captioner):
    """CNN and vanilla Transformer: 14.5 M parameters beside ResNet-101 at the defaults, 761 words.

    Everything is `Captioner`'s.
    """
