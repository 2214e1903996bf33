"""Image encoders: ResNet-50 and ViT-B/16 under their published names, and smaller relatives.

State-dict names are torchvision's (ResNet) and DeiT's (ViT), as in MGCA's checkpoints, where they
carry the prefix `img_encoder_q.model.`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgca.checkpoints import image_state
from mgca.resnet import ResNet


class Features(NamedTuple):
    """What the alignment losses need of N images."""

    pooled: Tensor  # (N, width)
    tokens: Tensor  # (N, L, token_width)
    attention: Tensor | None  # (N, L) the class token's, mean over heads; None for a CNN


class ResNetEncoder(nn.Module):
    """A residual network: pooled layer4, and the cells of layer3 as tokens.

    `upsample` enlarges the input first (299 as published: 19 x 19 tokens; None: 14 x 14 of 224).
    """

    def __init__(self, network: ResNet, upsample: int | None = None) -> None:
        super().__init__()
        self.model = network
        self.upsample = upsample
        self.token_width, self.width = network.widths[-2:]

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (N, C, h, w) after layer3 and after layer4."""
        if self.upsample is not None:
            side = (self.upsample, self.upsample)
            images = F.interpolate(images, size=side, mode="bilinear", align_corners=True)
        return self.model(images)

    def forward(self, images: Tensor) -> Features:
        third, fourth = self.maps(images)
        tokens = third.flatten(2).transpose(1, 2).contiguous()  # cells row by row
        return Features(fourth.mean(dim=(2, 3)), tokens, None)


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Output (N, L, C); queries and keys (N, heads, L, C / heads)."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2)), query, key


class Block(nn.Module):
    """A pre-norm transformer block; returns also the attention's queries and keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)}
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mixed, query, key = self.attn(self.norm1(x))
        x = x + mixed
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x)))), query, key


class VisionTransformer(nn.Module):
    """ViT without a classifier; forward gives the normalised tokens (N, 1 + L, C), class first."""

    def __init__(self, size: int, patch: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.side = size // patch
        projection = nn.Conv2d(3, width, kernel_size=patch, stride=patch)
        self.patch_embed = nn.ModuleDict({"proj": projection})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.side**2, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.apply(_initialise)
        for parameter in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens, and the last block's class attention (N, L) over the patches."""
        patches = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)
        if patches.shape[1] != self.side**2:
            raise ValueError(
                f"images of {tuple(images.shape[-2:])} give {patches.shape[1]} patches; "
                f"this transformer was built for {self.side} x {self.side}"
            )
        x = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], dim=1)
        x = x + self.pos_embed
        for block in self.blocks:
            x, query, key = block(x)
        return self.norm(x), _class_attention(query, key)


@torch.no_grad()
def _class_attention(query: Tensor, key: Tensor) -> Tensor:
    """Attention (N, L) of the class token on the patches, mean over heads.

    The softmax includes the class token itself; its own share is then dropped.
    """
    scores = query[:, :, :1] @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    return scores.softmax(dim=-1)[:, :, 0, 1:].mean(dim=1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


class ViTEncoder(nn.Module):
    """A vision transformer: the class token, and the patch tokens with their attention."""

    def __init__(self, network: VisionTransformer) -> None:
        super().__init__()
        self.model = network
        self.width = self.token_width = network.norm.normalized_shape[0]

    def forward(self, images: Tensor) -> Features:
        tokens, attention = self.model(images)
        return Features(tokens[:, 0], tokens[:, 1:], attention)


def resnet50(upsample: int | None = None) -> ResNetEncoder:
    """ResNet-50, 23.5 M parameters."""
    return ResNetEncoder(ResNet((3, 4, 6, 3), bottleneck=True), upsample)


def resnet18(upsample: int | None = None) -> ResNetEncoder:
    """ResNet-18, 11.2 M parameters."""
    return ResNetEncoder(ResNet((2, 2, 2, 2), bottleneck=False), upsample)


def resnet_small(width: int = 16, upsample: int | None = None) -> ResNetEncoder:
    """One basic block a stage, widths w, 2w, 4w, 8w: for tests and small budgets."""
    return ResNetEncoder(ResNet((1, 1, 1, 1), bottleneck=False, width=width), upsample)


def vit(
    size: int = 224, patch: int = 16, width: int = 768, depth: int = 12, heads: int = 12
) -> ViTEncoder:
    """ViT-B/16 at 224 unless told otherwise."""
    return ViTEncoder(VisionTransformer(size, patch, width, depth, heads))


ImageEncoder = ResNetEncoder | ViTEncoder
ENCODERS: dict[str, Callable[..., ImageEncoder]] = {
    "resnet50": resnet50,
    "resnet18": resnet18,
    "resnet_small": resnet_small,
    "vit": vit,
}


def image_encoder(config: Mapping[str, Any], weights: Path | None = None) -> ImageEncoder:
    """The encoder that `config` (name and its parameters) describes, with weights if given."""
    options = dict(config)
    name = options.pop("name")
    if name not in ENCODERS:
        raise ValueError(f"unknown image encoder {name!r}: {', '.join(ENCODERS)}")
    encoder = ENCODERS[name](**options)
    if weights is not None:
        load(encoder, weights)
    return encoder


def load(encoder: ImageEncoder, weights: Path) -> None:
    """Load a file that `mgca.checkpoints.image_state` reads; every tensor must find its place.

    A ViT's positions are interpolated when the grid differs.
    """
    state = image_state(weights)
    network = encoder.model
    if isinstance(network, VisionTransformer) and "pos_embed" in state:
        state["pos_embed"] = resized_positions(state["pos_embed"], network.side)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{weights} does not fit this image encoder: {error}") from None


def resized_positions(positions: Tensor, side: int) -> Tensor:
    """Position embeddings (1, 1 + L, C) for a grid of side x side; bicubic, class token kept."""
    former = round((positions.shape[1] - 1) ** 0.5)
    if former == side:
        return positions
    grid = positions[:, 1:].transpose(1, 2).unflatten(-1, (former, former))
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
