"""Images: decoded and resized once, then read from a memory-mapped cache of grey uint8 pixels.

A cache folder `<cache>/images/<dataset>/<key>.<layout>/` holds `pixels.u8`, the images' rows one
after the other, and, once complete, `index.npy` (offset, height, width, digest; int64) and
`store.json`, the marker, written last. Until then `rows.i64` counts what is done: a row enters it
only after its pixels are on disk, so a killed process loses at most the chunk that it was working
on. Each image has a digest of its own, which is compared when the image is first read: an altered
pixel is an error, never a number.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from bench.data.resize import Resize
from bench.data.study import Dataset, Image
from bench.errors import BenchError, DataError
from bench.files import file_digest, replacing
from bench.model import ImageSpec
from bench.terminal import counting

CHUNK = 256  # images decoded, written and recorded at once
AHEAD = 16 * CHUNK  # images that a dataset is told of at once
VERSION = 1  # of the resize code: a change of pixels is a new cache
LAYOUT = 2  # of the files: not in the key, which places of random crops are drawn from
COLUMNS = 4  # offset, height, width, digest
ROW = COLUMNS * 8  # bytes
PIXELS, MARKER = "pixels.u8", "store.json"

Progress = Callable[[int, int], None]  # (images done, images in all)


def read_grey(path: Path, draft: int = 0) -> np.ndarray:
    """An image file as grey uint8 (H, W); a file that is absent or broken is a DataError.

    draft: pixels; a JPEG whose sides are twice that or more is halved by its decoder, once, twice
    or three times, which is faster and gives other pixels. 0: never.
    """
    try:
        with Pillow.open(path) as image:
            if draft:
                image.draft("L", (draft, draft))
            if image.mode.startswith(("I", "F")):
                raise DataError(
                    f"{path} has more than 8 bits a pixel", "convert it: Pillow would clip it"
                )
            return np.asarray(image.convert("L"))
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise DataError(
            f"cannot read the image {path}: {error}", "get this file from the release again"
        ) from error


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


def open_store(
    dataset: Dataset,
    images: Sequence[Image],
    spec: ImageSpec,
    training: bool,
    cache: Path,
    progress: Progress | None = None,
) -> ImageStore:
    """The cache of `images` under the rule of `spec`, built (or finished) first where needed.

    A second process that wants the same cache waits for the first. `progress` replaces the bar,
    which is drawn on stderr when that is a terminal.
    """
    rule = Resize.of(spec, training)
    key = store_key(dataset, images, rule)
    folder = cache / "images" / dataset.name / f"{key[:32]}.{LAYOUT}"
    store = _open(folder, key)
    if store is not None:
        return store
    with _disk_errors(folder, len(images), rule):
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder / "lock"):
            store = _open(folder, key)  # a process before this one may have built it
            if store is None:
                _Builder(dataset, images, rule, key, folder).run(progress)
    store = store or _open(folder, key)
    assert store is not None
    return store


def altered(cache: Path, dataset: str) -> Iterator[str]:
    """What is wrong with the complete caches of a dataset: every image is compared."""
    for marker in sorted((cache / "images" / dataset).glob(f"*.{LAYOUT}/{MARKER}")):
        store = _open(marker.parent, "")
        if store is None:
            yield f"the image cache {marker.parent} was altered; it will be built again"
            continue
        try:
            store.check(np.arange(len(store)))
        except DataError as error:
            yield error.message


def store_key(dataset: Dataset, images: Sequence[Image], rule: Resize) -> str:
    """sha256 of the rule and of every image's key and fingerprint, in order."""
    facts = {"version": VERSION, "rule": asdict(rule), "dataset": dataset.name}
    state = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for image in images:
        state.update(f"{image.key}\0{dataset.fingerprint(image)}\n".encode())
    return state.hexdigest()


def pixel_digest(image: np.ndarray) -> int:
    """The first 8 bytes of the sha256 of an image's bytes."""
    return int.from_bytes(hashlib.sha256(image.data).digest()[:8], "little", signed=True)


def _open(folder: Path, key: str) -> ImageStore | None:
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


class _Builder:
    """Fills one cache folder, under its lock."""

    def __init__(
        self, dataset: Dataset, images: Sequence[Image], rule: Resize, key: str, folder: Path
    ) -> None:
        self.dataset, self.images, self.rule = dataset, images, rule
        self.key, self.folder = key, folder
        self.pixels, self.rows = folder / PIXELS, folder / "rows.i64"

    def run(self, progress: Progress | None) -> None:
        """Decode what is not done yet, then write the index and the marker."""
        done, end = self._recover()
        self._reserve(len(self.images) - done)
        with (
            ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
            _reporting(progress, self.dataset.name, len(self.images)) as report,
        ):
            report(done)
            for first in range(done, len(self.images), CHUNK):
                if (first - done) % AHEAD == 0:
                    self.dataset.ahead(self.images[first : first + AHEAD])
                arrays = list(pool.map(self._load, self.images[first : first + CHUNK]))
                end = self._store(arrays, end)
                report(first + len(arrays))
        self._finish()

    def _recover(self) -> tuple[int, int]:
        """Images done and bytes used by them; what lies behind (a torn chunk) is cut off."""
        if (self.folder / MARKER).exists():  # complete once, and altered since
            for name in (MARKER, PIXELS, "rows.i64"):  # who reads the old ones goes on with them
                (self.folder / name).unlink(missing_ok=True)
        self.pixels.touch()
        self.rows.touch()
        index = self._index()
        ends = index[:, 0] + index[:, 1] * index[:, 2]
        done = int((ends <= self.pixels.stat().st_size).sum())
        end = int(ends[done - 1]) if done else 0
        os.truncate(self.rows, done * ROW)
        os.truncate(self.pixels, end)
        return done, end

    def _index(self) -> np.ndarray:
        data = self.rows.read_bytes()
        return np.frombuffer(data[: len(data) // ROW * ROW], dtype=np.int64).reshape(-1, COLUMNS)

    def _reserve(self, count: int) -> None:
        """Refuse at once what cannot fit."""
        each = self.rule.bytes_each()
        if each and shutil.disk_usage(self.folder).free < count * each:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _load(self, image: Image) -> np.ndarray:
        return self.rule(self.dataset.read(image))

    def _store(self, arrays: Sequence[np.ndarray], end: int) -> int:
        """Append a chunk that begins at byte `end`: pixels first, on disk, then its rows."""
        sizes = np.array([a.shape for a in arrays], dtype=np.int64)
        ends = end + np.cumsum(sizes.prod(axis=1))
        offsets = np.concatenate([[end], ends[:-1]])
        digests = np.array([pixel_digest(np.ascontiguousarray(a)) for a in arrays], dtype=np.int64)
        _append(self.pixels, b"".join(a.tobytes() for a in arrays))
        _append(self.rows, np.column_stack([offsets, sizes, digests]).tobytes())
        return int(ends[-1])

    def _finish(self) -> None:
        with replacing(self.folder / "index.npy") as part, part.open("wb") as file:
            np.save(file, self._index())
        facts = {
            "key": self.key,
            "rule": asdict(self.rule),
            "images": len(self.images),
            "bytes": self.pixels.stat().st_size,
            "index": file_digest(self.folder / "index.npy"),
        }
        with replacing(self.folder / MARKER) as part:
            part.write_text(json.dumps(facts, indent=1) + "\n")
        self.rows.unlink()


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Exclusive between processes; released by the system when a process dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _disk_errors(folder: Path, images: int, rule: Resize) -> Iterator[None]:
    """A full or read-only disk as a BenchError. What was cached before stays usable."""
    try:
        yield
    except OSError as error:
        each = rule.bytes_each()
        needs = f"{images * each / 1e6:,.0f} MB" if each else f"about {images * 0.1:,.0f} MB"
        raise BenchError(
            f"cannot write the image cache {folder}: {error.strerror}; "
            f"{images:,} images need {needs}",
            "free some space or choose another cache folder, and run again: it continues there",
        ) from error


@contextmanager
def _reporting(progress: Progress | None, name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of images done."""
    with counting(name, "images") as shown:
        report = progress or shown
        yield lambda done: report(done, total)
