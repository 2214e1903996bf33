"""A complete image cache: opened, read, and compared with its digests."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from bench.errors import BenchError, DataError

COLUMNS = 4  # offset, height, width, digest
PIXELS, MARKER = "pixels.u8", "store.json"


@dataclass(frozen=True)
class ImageStore:
    """The cached pixels of a list of images; row i is the i-th image that it was opened with."""

    key: str  # of the content: resize rule, image keys and fingerprints
    folder: Path
    pixels: np.ndarray  # uint8, flat, memory-mapped
    index: np.ndarray  # int64 (N, 4): offset, height, width, digest

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int) -> np.ndarray:
        """Image `row`, uint8 (H, W), read-only; an altered one is a DataError."""
        self.check(np.array([row]))
        return self._image(row)

    def _image(self, row: int) -> np.ndarray:
        offset, height, width, _ = self.index[row].tolist()
        return self.pixels[offset : offset + height * width].reshape(height, width)

    @cached_property
    def _unchecked(self) -> np.ndarray:
        return np.ones(len(self), dtype=bool)

    def check(self, rows: np.ndarray) -> None:
        """Compare images with their digests, each once a process; an altered one is a DataError."""
        for row in np.unique(rows[self._unchecked[rows]]).tolist():
            if pixel_digest(self._image(row)) != self.index[row, 3]:
                raise DataError(
                    f"the image cache {self.folder} was altered: pixels.u8, image {row}",
                    "delete this folder; it will be built again",
                )
            self._unchecked[row] = False

    @cached_property
    def shapes(self) -> np.ndarray:
        """int64 (N, 2): heights and widths."""
        return self.index[:, 1:3]

    @cached_property
    def equal(self) -> bool:
        """Whether all images have one shape."""
        return bool((self.shapes == self.shapes[:1]).all())

    @cached_property
    def array(self) -> np.ndarray:
        """uint8 (N, H, W), read-only; only where all shapes are equal."""
        if not self.equal:
            raise BenchError(
                "these images differ in shape and form no array", "use mode squash or pad"
            )
        self.check(np.arange(len(self)))
        return self._array

    @cached_property
    def _array(self) -> np.ndarray:
        height, width = self.shapes[0].tolist() if len(self) else (0, 0)
        return self.pixels.reshape(len(self), height, width)

    def crop(self, rows: np.ndarray, tops: np.ndarray, lefts: np.ndarray, size: int) -> np.ndarray:
        """A new uint8 (n, size, size): of each of n rows the square at its top and left."""
        places = np.stack([rows, tops, lefts], axis=1)
        inside = (places[:, 1:] >= 0) & (places[:, 1:] + size <= self.shapes[rows])
        if not inside.all():
            raise ValueError(f"a crop of {size} x {size} leaves its image")
        self.check(rows)
        if self.equal:
            return sliding_window_view(self._array, (size, size), axis=(1, 2))[rows, tops, lefts]
        out = np.empty((len(places), size, size), dtype=np.uint8)
        for square, (row, top, left) in zip(out, places.tolist(), strict=True):
            square[...] = self._image(row)[top : top + size, left : left + size]
        return out


def pixel_digest(image: np.ndarray) -> int:
    """The first 8 bytes of the sha256 of an image's bytes."""
    return int.from_bytes(hashlib.sha256(image.data).digest()[:8], "little", signed=True)


def open_folder(folder: Path, key: str) -> ImageStore | None:
    """A complete cache; None where there is none, or one whose index or size was altered."""
    try:
        facts = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        content = (folder / "index.npy").read_bytes()
        size = (folder / PIXELS).stat().st_size
        if facts["index"] != hashlib.sha256(content).hexdigest() or facts["bytes"] != size:
            return None
    except (OSError, ValueError, LookupError, TypeError):
        return None
    index = np.load(io.BytesIO(content), allow_pickle=False)
    pixels = np.memmap(folder / PIXELS, dtype=np.uint8, mode="r") if size else np.empty(0, np.uint8)
    # A plain view: indexing a memmap object costs microseconds more each time.
    return ImageStore(key, folder, np.asarray(pixels), index)
