"""A frozen backbone whose features are computed once for each image, and what reads them.

The harness keeps the features of `Extractor` as it keeps an image tokenizer's codes: by content.
A generator then trains without running a CNN, and without augmentation unless crops are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.dropout import Dropout
from baselines.visual import IMAGENET, backbone


class Extractor(nn.Module):
    """The last map of a backbone, pooled to `grid` x `grid` tokens a view.

    weights["visual"]: the backbone's, random when None. backbone, backbone_params: see
    `baselines.visual`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        weights: Mapping[str, Path | None] | None = None,
        *,
        name: str = "efficientnet-lite0",
        backbone_params: Mapping[str, Any] | None = None,
        grid: int = 4,
    ) -> None:
        super().__init__()
        self.backbone = backbone(name, (weights or {}).get("visual"), **(backbone_params or {}))
        self.channels, self.grid = int(self.backbone.channels), grid
        for key, usual in IMAGENET.items():
            value = torch.tensor(getattr(self.backbone, key, usual)).view(3, 1, 1)
            self.register_buffer(key, value, persistent=False)
        self.eval().requires_grad_(False)

    @property
    def feature_shape(self) -> tuple[int, int]:
        """Tokens and channels of a view."""
        return self.grid**2, self.channels

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, tokens, channels), tokens row by row."""
        x = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return F.adaptive_avg_pool2d(self.backbone(x), self.grid).flatten(2).mT


class Features(nn.Module):
    """Features (B, V, L, c), standardised, then Linear, ReLU and Dropout to (B, V * L, d).

    shape: L and c. The mean and deviation of each channel are those of train images (`see`).
    """

    expected: Mapping[str, Any] = {"kind": "features", "flip": 0.0}
    mean: Tensor
    std: Tensor

    def __init__(self, shape: tuple[int, int], d: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.tokens, channels = shape
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        self.project = nn.Linear(channels, d)
        self.dropout = Dropout(dropout)

    def see(self, features: Tensor) -> None:
        """Features (N, L, c) of the train split's first images, before training."""
        std, mean = torch.std_mean(features.float(), dim=(0, 1))
        self.mean.copy_(mean)
        self.std.copy_(std.clamp_min(1e-3))  # a channel that never fires stays 0

    def patches(self, features: Tensor) -> Tensor:
        """(B, V, L, c) -> (B, V * L, c), standardised."""
        return (features.flatten(1, 2) - self.mean) / self.std

    def forward(self, features: Tensor) -> Tensor:
        return self.dropout(F.relu(self.project(self.patches(features))))
