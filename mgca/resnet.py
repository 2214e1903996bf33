"""Residual networks with torchvision's layer names, so that its weights and MGCA's fit.

Not torchvision's classes: importing them costs seconds, and their widths are fixed.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

EXPANSION = 4  # output channels of a bottleneck over its inner ones


def _convolution(inner: int, outer: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, kernel, stride, padding=kernel // 2, bias=False)


class Residual(nn.Module):
    """What both kinds of block share: the shortcut, strided and widened where needed."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.downsample: nn.Sequential | None = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                _convolution(before, after, 1, stride), nn.BatchNorm2d(after)
            )

    def shortcut(self, x: Tensor) -> Tensor:
        return x if self.downsample is None else self.downsample(x)


class Basic(Residual):
    """Two 3 x 3 convolutions (ResNet-18)."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__(before, width, stride)
        self.conv1 = _convolution(before, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        return F.relu(y + self.shortcut(x), inplace=True)


class Bottleneck(Residual):
    """1 x 1, 3 x 3 (strided, as in torchvision) and 1 x 1 convolutions (ResNet-50)."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__(before, EXPANSION * width, stride)
        self.conv1 = _convolution(before, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _convolution(width, EXPANSION * width, 1)
        self.bn3 = nn.BatchNorm2d(EXPANSION * width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        return F.relu(self.bn3(self.conv3(y)) + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    """Stem and four stages of `blocks`, without a classifier.

    `widths` are the output channels of the stages.
    """

    def __init__(
        self, blocks: tuple[int, int, int, int], bottleneck: bool, width: int = 64
    ) -> None:
        super().__init__()
        kind, factor = (Bottleneck, EXPANSION) if bottleneck else (Basic, 1)
        self.conv1 = _convolution(3, width, 7, 2)
        self.bn1 = nn.BatchNorm2d(width)
        stages: list[nn.Module] = []
        self.widths = [factor * width * 2**i for i in range(len(blocks))]
        before = [width, *self.widths]
        for i, count in enumerate(blocks):
            first = kind(before[i], width * 2**i, 1 if i == 0 else 2)
            rest = [kind(self.widths[i], width * 2**i, 1) for _ in range(count - 1)]
            stages.append(nn.Sequential(first, *rest))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (N, C, h, w) after layer3 (stride 16) and after layer4 (stride 32)."""
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        third = self.layer3(self.layer2(self.layer1(x)))
        return third, self.layer4(third)
