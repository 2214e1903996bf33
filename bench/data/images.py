"""Images: decoded and resized once, then read from a memory-mapped cache of grey uint8 pixels.

A cache folder `<cache>/images/<dataset>/<key>.<layout>/` holds `pixels.u8`, the images' rows one
after the other, and, once complete, `index.npy` (offset, height, width, digest; int64) and
`store.json`, the marker, written last. Until then `rows.i64` counts what is done: a row enters it
only after its pixels are on disk, so a killed process loses at most the chunks that it was working
on. Each image has a digest of its own, which is compared when the image is first read: an altered
pixel is an error, never a number.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from bench.data.image_store import (
    COLUMNS,
    MARKER,
    PIXELS,
    ImageStore,
    open_folder,
    pixel_digest,
)
from bench.data.resize import Resize
from bench.data.study import Dataset, Image
from bench.errors import DataError, RunError
from bench.files import exclusive, file_digest, replacing
from bench.model import ImageSpec
from bench.terminal import counting

CHUNK = 256  # images decoded, written and recorded at once
AHEAD = 16 * CHUNK  # images that a dataset is told of at once
WAITING = 3  # chunks that may be decoded while one is written
VERSION = 1  # of the resize code: a change of pixels is a new cache
LAYOUT = 2  # of the files: not in the key, which places of random crops are drawn from
ROW = COLUMNS * 8  # bytes

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
    return open_stores(dataset, images, [Resize.of(spec, training)], cache, progress)[0]


def open_stores(
    dataset: Dataset,
    images: Sequence[Image],
    rules: Sequence[Resize],
    cache: Path,
    progress: Progress | None = None,
) -> list[ImageStore]:
    """The caches of `images` under several rules; each image is decoded once for all of them."""
    wanted = [_Rendition.of(dataset, images, rule, cache) for rule in rules]
    if any(r.open() is None for r in wanted):
        with _disk_errors(wanted, len(images)), ExitStack() as locks:
            for folder in sorted({r.folder for r in wanted}):  # one order: no two wait in a circle
                folder.mkdir(parents=True, exist_ok=True)
                locks.enter_context(exclusive(folder / "lock"))
            # A process before this one may have built some.
            missing = {r.key: r for r in wanted if r.open() is None}
            if missing:
                _fill(dataset, images, [*missing.values()], progress)
    for rendition in wanted:
        rendition.tidy()
    stores = [r.open() for r in wanted]
    assert all(stores)
    return [store for store in stores if store is not None]


def altered(cache: Path, dataset: str) -> Iterator[str]:
    """What is wrong with the complete caches of a dataset, and of samples of it: every image is
    compared."""
    pattern = f"{glob.escape(dataset)}*/*.{LAYOUT}/{MARKER}"
    for marker in sorted((cache / "images").glob(pattern)):
        store = open_folder(marker.parent, "")
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


_Decoded = list[tuple[np.ndarray, int]]  # of an image: by rule its pixels and their digest


def _fill(
    dataset: Dataset,
    images: Sequence[Image],
    renditions: Sequence[_Rendition],
    progress: Progress | None,
) -> None:
    """Decode what any of the renditions lacks, then write their indices and markers.

    All cores decode while this thread writes what they have finished, in order.
    """
    for rendition in renditions:
        rendition.recover()
    _reserve(renditions, len(images))
    first = min(rendition.done for rendition in renditions)
    with (
        ThreadPoolExecutor(os.cpu_count() or 1) as pool,
        _reporting(progress, dataset.name, len(images)) as report,
    ):
        report(first)
        for chunk in _chunks(dataset, images, [r.rule for r in renditions], first, pool):
            for number, rendition in enumerate(renditions):
                rendition.store(first, [decoded[number] for decoded in chunk])
            first += len(chunk)
            report(first)
    for rendition in renditions:
        rendition.finish()


def _chunks(
    dataset: Dataset,
    images: Sequence[Image],
    rules: Sequence[Resize],
    first: int,
    pool: ThreadPoolExecutor,
) -> Iterator[list[_Decoded]]:
    """Chunk after chunk, while the pool works on the `WAITING` that follow."""

    def load(image: Image) -> _Decoded:
        pixels = dataset.read(image)
        arrays = [np.ascontiguousarray(rule(pixels)) for rule in rules]
        return [(array, pixel_digest(array)) for array in arrays]

    begun: deque[list[Future[_Decoded]]] = deque()
    for start in range(first, len(images), CHUNK):
        if (start - first) % AHEAD == 0:
            dataset.ahead(images[start : start + AHEAD])
        begun.append([pool.submit(load, image) for image in images[start : start + CHUNK]])
        if len(begun) > WAITING:
            yield [one.result() for one in begun.popleft()]
    while begun:
        yield [one.result() for one in begun.popleft()]


def _reserve(renditions: Sequence[_Rendition], images: int) -> None:
    """Refuse at once what cannot fit."""
    needed = sum((images - r.done) * (r.rule.bytes_each() or 0) for r in renditions)
    if shutil.disk_usage(renditions[0].folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _Rendition:
    """One cache folder: opened, or filled under its lock."""

    def __init__(self, rule: Resize, key: str, images: int, folder: Path) -> None:
        self.rule, self.key, self.images, self.folder = rule, key, images, folder
        self.pixels, self.rows = folder / PIXELS, folder / "rows.i64"
        self.done = self.end = 0  # images on disk, and their bytes

    @classmethod
    def of(cls, dataset: Dataset, images: Sequence[Image], rule: Resize, cache: Path) -> _Rendition:
        key = store_key(dataset, images, rule)
        folder = cache / "images" / dataset.name / f"{key[:32]}.{LAYOUT}"
        return cls(rule, key, len(images), folder)

    def open(self) -> ImageStore | None:
        return open_folder(self.folder, self.key)

    def recover(self) -> None:
        """Find what is done already; what lies behind (a torn chunk) is cut off."""
        if (self.folder / MARKER).exists():  # complete once, and altered since
            for name in (MARKER, PIXELS, "rows.i64"):  # who reads the old ones goes on with them
                (self.folder / name).unlink(missing_ok=True)
        self.pixels.touch()
        self.rows.touch()
        index = self._index()
        ends = index[:, 0] + index[:, 1] * index[:, 2]
        self.done = int((ends <= self.pixels.stat().st_size).sum())
        self.end = int(ends[self.done - 1]) if self.done else 0
        os.truncate(self.rows, self.done * ROW)
        os.truncate(self.pixels, self.end)

    def _index(self) -> np.ndarray:
        data = self.rows.read_bytes()
        return np.frombuffer(data[: len(data) // ROW * ROW], dtype=np.int64).reshape(-1, COLUMNS)

    def store(self, first: int, decoded: _Decoded) -> None:
        """Append a chunk that begins with image `first`: pixels first, on disk, then its rows.

        What an earlier process has written of it is passed over.
        """
        decoded = decoded[max(self.done - first, 0) :]
        if not decoded:
            return
        sizes = np.array([pixels.shape for pixels, _ in decoded], dtype=np.int64)
        ends = self.end + np.cumsum(sizes.prod(axis=1))
        offsets = np.concatenate([[self.end], ends[:-1]])
        digests = np.array([digest for _, digest in decoded], dtype=np.int64)
        _append(self.pixels, b"".join(pixels.tobytes() for pixels, _ in decoded))
        _append(self.rows, np.column_stack([offsets, sizes, digests]).tobytes())
        self.done, self.end = self.done + len(decoded), int(ends[-1])

    def finish(self) -> None:
        with replacing(self.folder / "index.npy") as part, part.open("wb") as file:
            np.save(file, self._index())
        facts = {
            "key": self.key,
            "rule": asdict(self.rule),
            "images": self.images,
            "bytes": self.pixels.stat().st_size,
            "index": file_digest(self.folder / "index.npy"),
        }
        with replacing(self.folder / MARKER) as part:
            part.write_text(json.dumps(facts, indent=1) + "\n")
        self.rows.unlink()

    def tidy(self) -> None:
        """Remove what a process left that was killed as it finished."""
        if self.rows.exists():
            with suppress(OSError), exclusive(self.folder / "lock"):  # one that is only read stays
                if self.open() is not None:
                    self.rows.unlink()


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _disk_errors(renditions: Sequence[_Rendition], images: int) -> Iterator[None]:
    """A full or read-only disk as a BenchError. What was cached before stays usable."""
    try:
        yield
    except OSError as error:
        each = [r.rule.bytes_each() for r in renditions]
        total = images * sum(size or 100_000 for size in each) / 1e6
        needs = f"{total:,.0f} MB" if all(each) else f"about {total:,.0f} MB"
        raise RunError(
            f"cannot write the image cache {renditions[0].folder}: {error.strerror}; "
            f"{images:,} images need {needs}",
            "free some space, or choose another folder (--cache FOLDER), and run again: it goes on",
        ) from error


@contextmanager
def _reporting(progress: Progress | None, name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of images done."""
    with counting(name, "images") as shown:
        report = progress or shown
        yield lambda done: report(done, total)
