"""Resizing: what a model's `ImageSpec` means in pixels, for training and for evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow

from bench.errors import BenchError, unknown
from bench.model import ImageSpec

FILTERS = {"lanczos": Pillow.Resampling.LANCZOS, "bilinear": Pillow.Resampling.BILINEAR}
MODES = ("squash", "short", "pad")


@dataclass(frozen=True)
class Resize:
    """What is done to an image before it is cached; `center` is the side of a central crop."""

    mode: str
    pixels: int
    filter: str
    center: int | None = None

    @classmethod
    def of(cls, spec: ImageSpec, training: bool) -> Resize:
        """The rule of `spec` for training (crops follow later) or for evaluation."""
        _check(spec)
        if training:
            return cls(spec.mode, spec.resize, spec.filter)
        if spec.evaluate == "squash":
            return cls("squash", spec.size, spec.filter)
        return cls(spec.mode, spec.resize, spec.filter, spec.size)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Grey uint8 (H, W), resized, padded and cropped by the rule."""
        height, width = self._inner(*pixels.shape)
        if (height, width) != pixels.shape:
            image = Pillow.fromarray(pixels)
            pixels = np.asarray(image.resize((width, height), FILTERS[self.filter]))
        if self.mode == "pad":
            pixels = _pad(pixels, self.pixels)
        return pixels if self.center is None else _center(pixels, self.center)

    def _inner(self, height: int, width: int) -> tuple[int, int]:
        """Size after resizing; the free side is cut to an integer, as torchvision's Resize does."""
        if self.mode == "squash":
            return self.pixels, self.pixels
        fixed = min(height, width) if self.mode == "short" else max(height, width)
        return (
            max(1, self.pixels * height // fixed),
            max(1, self.pixels * width // fixed),
        )

    def bytes_each(self) -> int | None:
        """Bytes of a cached image, where the rule alone determines them."""
        if self.center is not None:
            return self.center**2
        return None if self.mode == "short" else self.pixels**2


def _check(spec: ImageSpec) -> None:
    for kind, name, valid in (
        ("image mode", spec.mode, MODES),
        ("image filter", spec.filter, tuple(FILTERS)),
        ("image evaluation", spec.evaluate, ("squash", "center")),
    ):
        if name not in valid:
            raise unknown(kind, name, valid)
    if not 0 < spec.size <= spec.resize:
        raise BenchError(
            f"image size {spec.size} with resize {spec.resize}: a crop cannot exceed its image",
            "set resize >= size > 0",
        )


def _pad(pixels: np.ndarray, side: int) -> np.ndarray:
    """Zero-padded to a square, the image in its middle."""
    height, width = pixels.shape
    square = np.zeros((side, side), dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square


def _center(pixels: np.ndarray, side: int) -> np.ndarray:
    """The central crop; of an odd margin the half is rounded to even, as torchvision does."""
    height, width = pixels.shape
    top, left = round((height - side) / 2), round((width - side) / 2)
    return pixels[top : top + side, left : left + side]
