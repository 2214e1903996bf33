"""Are the image files still those that the image caches were made of?

A cache is found again by each file's size and time (or by the sha256 in a manifest), which another
file may share. Here every file is read and resized again and compared with the digest of the pixels
that were cached, which takes as long as building the cache did.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from bench.data.check import Finding
from bench.data.image_store import MARKER, ImageStore, open_folder, pixel_digest
from bench.data.images import LAYOUT, store_key
from bench.data.resize import Resize
from bench.data.study import SPLITS, Dataset, Image
from bench.errors import some

_Stores = list[tuple[ImageStore, Resize]]
_AT_ONCE = 1024  # images that wait in the pool


def compare_sources(dataset: Dataset, cache: Path) -> Finding:
    """What the caches of this dataset's present files were made of, against these files.

    Caches of files of another size or time are never read, and are not compared. DataError for a
    file that cannot be read.
    """
    compared, changed = 0, dict[str, None]()
    for images, stores in _opened(dataset, cache):
        compared += len(images)
        changed |= dict.fromkeys(_changed(dataset, images, stores))
    folder = cache / "images" / dataset.name
    if not compared:
        return Finding("cached images", "warn", f"no cache of these files in {folder}")
    text = f"{compared:,} read again, {len(changed):,} of other pixels than their cache in {folder}"
    if changed:
        text += f": {some(changed)}"
    fix = (
        "get these files from the release again: a run cannot tell them from those that it was "
        f"made with; or delete {folder}, and runs to come read the present ones"
    )
    figures = {"compared": float(compared), "changed": float(len(changed))}
    return Finding("cached images", "fail" if changed else "ok", text, figures, fix)


def _opened(dataset: Dataset, cache: Path) -> Iterator[tuple[list[Image], _Stores]]:
    """Lists of images, as runs read them, with the complete caches that there are of each."""
    from bench.data.batches import views_of

    found = list(_markers(cache / "images" / dataset.name))
    for split in SPLITS if found else ():
        studies = dataset.split(split)
        for views in range(1, min((len(s.images) for s in studies), default=0) + 1):
            images = views_of(studies, views)
            mine = [m for m in found if m[1] == store_key(dataset, images, m[2])]
            opened = [(open_folder(folder, key), rule) for folder, key, rule in mine]
            if stores := [(store, rule) for store, rule in opened if store]:
                yield images, stores


def _markers(folder: Path) -> Iterator[tuple[Path, str, Resize]]:
    for marker in sorted(folder.glob(f"*.{LAYOUT}/{MARKER}")):
        try:
            facts = json.loads(marker.read_text(encoding="utf-8"))
            yield marker.parent, facts["key"], Resize(**facts["rule"])
        except (OSError, ValueError, LookupError, TypeError):
            continue  # altered: it is not read, but built again


def _changed(dataset: Dataset, images: Sequence[Image], stores: _Stores) -> Iterator[str]:
    """Keys of the images whose file gives other pixels, each decoded once for all caches."""

    def differs(row: int) -> bool:
        pixels = dataset.read(images[row])
        arrays = [np.ascontiguousarray(rule(pixels)) for _, rule in stores]
        pairs = zip(arrays, stores, strict=True)
        return any(pixel_digest(array) != store.index[row, 3] for array, (store, _) in pairs)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(images), _AT_ONCE):
            rows = range(start, min(start + _AT_ONCE, len(images)))
            found = pool.map(differs, rows)
            yield from (images[row].key for row, bad in zip(rows, found, strict=True) if bad)
