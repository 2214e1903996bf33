"""The image files of MIMIC-CXR: which of them are here, how large, and their pixels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.data.images import read_grey
from bench.data.mimic_cxr.layout import Layout, exists
from bench.data.study import Image
from bench.errors import DataError

SUFFIXES = (".jpg", ".png", ".jpeg", ".dcm.jpg", ".JPG", ".dcm.png")
_BLOCK = 2048  # files that a thread asks for at once
_THREADS = 16  # asking waits for the disk, or for the network
_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}  # how a file that begins so must end


@dataclass(frozen=True, slots=True)
class State:
    """Of a file: its suffix, size and time; size 0 where it is empty."""

    suffix: str
    size: int
    time: int


@dataclass(frozen=True)
class Files:
    """Images by key: the path below `folder`, without its suffix. `draft`: see `Choices`."""

    folder: Path
    states: dict[str, State] = field(default_factory=dict)
    draft: int = 0

    def read(self, image: Image) -> np.ndarray:
        """Grey uint8 (H, W)."""
        return read_grey(self.path(image.key), self.draft)

    def path(self, key: str) -> Path:
        """`<folder>/<key>.jpg`, or with the suffix that was found."""
        state = self.states.get(key)
        return Path(f"{self.folder}/{key}{state.suffix if state else SUFFIXES[0]}")

    def fingerprint(self, image: Image) -> str:
        """Key, size and time of the file: another file under the same name is another image."""
        state = self.states.get(image.key)
        draft = f" draft {self.draft}" if self.draft else ""
        return f"{image.key} {state.size if state else 0} {state.time if state else 0}{draft}"

    def sizes(self, keys: Iterable[str]) -> str:
        """sha256 of the sizes of these images: part of a run's identity, the same everywhere."""
        total = hashlib.sha256()
        for key in keys:
            total.update(f"{key} {self.states[key].size if key in self.states else -1}\n".encode())
        return total.hexdigest()


def look(layout: Layout, keys: Sequence[str]) -> Files:
    """The folder that holds these images, and the state of every file of theirs that is there."""
    folder = next((f for f in layout.image_folders() if _holds(f, keys)), None)
    if folder is None:
        first = next((f for f in layout.image_folders() if f.is_dir()), layout.folder / "files")
        return Files(first, {}, layout.choices.draft)
    blocks = [keys[i : i + _BLOCK] for i in range(0, len(keys), _BLOCK)]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda block: list(_states(str(folder), block)), blocks)
        states = {key: state for block in found for key, state in block}
    return Files(folder, states, layout.choices.draft)


def _holds(folder: Path, keys: Sequence[str]) -> bool:
    """Whether any of the images is below the folder."""
    if not folder.is_dir():
        return False
    entries = {entry.name for entry in os.scandir(folder)}
    mine = [k for k in keys if k.partition("/")[0] in entries] if "/" in "".join(keys[:1]) else keys
    return next(_states(str(folder), mine), None) is not None


def _states(folder: str, keys: Sequence[str]) -> Iterator[tuple[str, State]]:
    """Of the files that are there. A study whose folder is absent is asked for once."""
    parent, there = "", False
    for key in keys:
        above = key.rpartition("/")[0]
        if above != parent:
            parent, there = above, exists(f"{folder}/{above}")
        if there or not above:
            for suffix in SUFFIXES:
                try:
                    found = os.stat(f"{folder}/{key}{suffix}")  # noqa: PTH116 - for its speed
                except OSError:
                    continue
                yield key, State(suffix, found.st_size, found.st_mtime_ns)
                break


def key_of(path: str) -> str:
    """The key of an image that an annotation names: without `files/` in front and its suffix."""
    parts = [p for p in path.replace("\\", "/").split("/") if p not in ("", ".")]
    while len(parts) > 1 and parts[0] in ("files", "images", "mimic_cxr"):
        parts = parts[1:]
    name = parts[-1] if parts else ""
    suffix = max((s for s in SUFFIXES if name.endswith(s)), key=len, default="")
    if suffix:
        name = name[: -len(suffix)]
    if not name:
        raise DataError(f"image path {path!r} names no file", "correct the annotation")
    return "/".join([*parts[:-1], name])


def cut_off(files: Files, keys: Sequence[str]) -> list[str]:
    """Keys of present images whose file does not end as its kind must: a broken download."""
    with ThreadPoolExecutor(_THREADS) as pool:
        bad = pool.map(lambda key: _is_cut(files, key), keys, chunksize=_BLOCK)
        return [key for key, is_bad in zip(keys, bad, strict=True) if is_bad]


def _is_cut(files: Files, key: str) -> bool:
    state = files.states.get(key)
    if state is None or not state.size:
        return False  # counted by itself
    try:
        with files.path(key).open("rb") as file:
            begin = file.read(2)
            file.seek(-min(32, state.size), os.SEEK_END)
            return begin not in _ENDS or _ENDS[begin] not in file.read()
    except OSError:
        return True
