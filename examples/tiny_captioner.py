"""A report generator outside the harness: a small CNN, and a GRU that sees it with every word.

It imports nothing of the harness. The contract is `bench.model.Model`; ids: 0 is begin, end and
padding, words are 1..V.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

State = tuple[Tensor, Tensor]  # hidden (N, d) of each hypothesis; seen (B, d), once per study


class TinyCaptioner(nn.Module):
    """Built as `TinyCaptioner(vocab_size, max_length, weights, **params of the YAML)`."""

    def __init__(
        self,
        vocab_size: int,
        max_length: int,
        weights: Mapping[str, Path | None] | None = None,
        *,
        width: int = 16,
        d: int = 128,
        image: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.image = {"channels": 1, "mean": (0.5,), "std": (0.25,), **image}
        places = (self.image["size"] // 16) ** 2  # that the CNN leaves of a view
        channels = [1, width, 2 * width, 4 * width, 4 * width]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
        self.cnn = nn.Sequential(*layers, nn.Flatten())
        self.look = nn.Linear(self.image["views"] * places * channels[-1], d)
        self.words = nn.Embedding(vocab_size, d)
        self.gru = nn.GRU(d, d, batch_first=True)
        self.head = nn.Linear(d, vocab_size)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Every trainable parameter once, by the two names that size presets give rates to."""
        rest = (self.look, self.words, self.gru, self.head)
        return {
            "visual": list(self.cnn.parameters()),
            "rest": [p for part in rest for p in part.parameters()],
        }

    def encode(self, images: Tensor) -> State:
        """Images (B, views, 1, H, W) to what is seen (B, d), and hidden states (B, d) of zeros."""
        seen = self.look(self.cnn(images.flatten(0, 1)).view(len(images), -1))
        return torch.zeros_like(seen), seen

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Tokens (N,) to logits (N, V + 1); N / B hypotheses of a study are neighbours."""
        hidden, seen = state
        each = seen.repeat_interleave(len(tokens) // len(seen), 0)
        hidden = self.gru(self.words(tokens[:, None]) + each[:, None], hidden[None])[1][0]
        return self.head(hidden), (hidden, seen)

    def reorder(self, state: State, index: Tensor, studies: Tensor | None = None) -> State:
        """The hypotheses that the search keeps, and the studies that are not finished."""
        hidden, seen = state
        return hidden[index], seen if studies is None else seen[studies]

    def loss(self, batch: Any) -> dict[str, Tensor]:
        """Mean cross-entropy of the words and of the end of each report."""
        _, seen = self.encode(batch.images)
        hidden, _ = self.gru(self.words(batch.tokens[:, :-1]) + seen[:, None])
        places = torch.arange(1, batch.tokens.shape[1], device=seen.device)
        target = batch.tokens[:, 1:].masked_fill(places >= batch.lengths[:, None], -100)
        return {"ce": F.cross_entropy(self.head(hidden).transpose(1, 2), target)}
