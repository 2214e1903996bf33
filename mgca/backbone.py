"""MGCA's image encoders as visual backbones of report generators."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mgca.image import ResNetEncoder, image_encoder


class Backbone(nn.Module):
    """Images (N, 3, H, W) to a feature map (N, channels, h, w), without the projection heads.

    The 128-dimensional heads are left behind, as in MGCA's own transfer. A ResNet gives `layer`
    (7 x 7 x 2048 of layer4 or 14 x 14 x 1024 of layer3 at 224; 10 x 10 and 19 x 19 with MGCA's own
    `upsample` of 299); a ViT its patches (14 x 14 x 768), or, with `class_token`, the class token
    and then the patches as (N, 768, 197). `encoder` and `config`: see `mgca.image.ENCODERS`;
    `encoder` may also be a mapping of name and parameters, as a pretraining has it.
    """

    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    def __init__(
        self,
        weights: Path | str | None = None,
        *,
        encoder: str | Mapping[str, Any] = "resnet50",
        layer: str = "layer4",
        class_token: bool = False,
        **config: Any,
    ) -> None:
        super().__init__()
        if layer not in ("layer3", "layer4"):
            raise ValueError(f"unknown layer {layer!r}: layer3 or layer4")
        file = None if weights is None else Path(weights)
        named = {"name": encoder} if isinstance(encoder, str) else dict(encoder)
        self.encoder = image_encoder({**named, **config}, file)
        self.layer, self.class_token = layer, class_token
        self.channels: int = self.encoder.width
        if isinstance(self.encoder, ResNetEncoder) and layer == "layer3":
            self.channels = self.encoder.token_width
            self.encoder.model.layer4 = nn.Sequential()  # never read: nothing there to train

    def forward(self, images: Tensor) -> Tensor:
        if isinstance(self.encoder, ResNetEncoder):
            third, fourth = self.encoder.maps(images)
            return third if self.layer == "layer3" else fourth
        tokens = self.encoder.model(images)[0].transpose(1, 2)
        if self.class_token:
            return tokens
        side = self.encoder.model.side
        return tokens[..., 1:].unflatten(-1, (side, side))
