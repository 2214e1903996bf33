"""The cache of image codes: what a frozen image tokenizer says of each image, computed once.

A frozen network's features (`Extractor`) are kept alike, in float16.
Keyed by everything that determines a code: the tokenizer, the images, the crop places, and the
kind of device (OpenAI's dVAE runs in float16 on CUDA, so that its argmax may differ there).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch

from bench.canonical import digest
from bench.data.batches import Codes, random_places, views_of
from bench.data.images import ImageStore, open_store
from bench.data.study import Dataset, Study
from bench.files import exclusive, write_atomic
from bench.model import Extractor, ImageSpec, Tokenizer

CHUNK = 64  # images tokenised at once


def open_codes(
    dataset: Dataset,
    studies: Sequence[Study],
    spec: ImageSpec,
    tokenizer: Tokenizer | Extractor,
    tokenizer_digest: str,
    crops: int,
    train: bool,
    cache: Path,
    device: str,
) -> Codes:
    """Codes of `crops` random crops of each training image, and of each image as evaluated."""
    images = views_of(studies, spec.views)

    def cached(training: bool) -> np.ndarray:
        store = open_store(dataset, images, spec, training=training, cache=cache)
        # Without room to move, all crops are one.
        count = crops if training and spec.resize > spec.size else 1
        key = digest([tokenizer_digest, store.key, spec.size, count, device, "codes@2"])
        places = _places(store, spec.size, count, training)
        folder = cache / "codes" / key[:32]
        return _tokenise(store, places, spec, tokenizer, folder, device)

    training = cached(training=True) if train else None
    return Codes(spec.views, training, cached(training=False)[:, 0])


def _places(store: ImageStore, size: int, count: int, training: bool) -> np.ndarray:
    """(images, count, 2) tops and lefts, drawn from the images' key: the same for every tokenizer.

    Not from the codes' key, which holds the digest of the tokenizer's code: a comment moved there
    would have changed every loss.
    """
    index = np.arange(len(store))
    if not training:
        return np.zeros((len(store), 1, 2), dtype=np.int64)
    rng = np.random.default_rng(int(digest([store.key, size, count])[:12], 16))
    drawn = [random_places(store, index, size, rng) for _ in range(count)]
    return np.stack([np.stack(pair, axis=1) for pair in drawn], axis=1)


def _tokenise(
    store: ImageStore,
    places: np.ndarray,
    spec: ImageSpec,
    tokenizer: Tokenizer | Extractor,
    folder: Path,
    device: str,
) -> np.ndarray:
    """The memory-mapped codes (images, count, L), or features (images, count, L, c).

    It goes on where a killed process stopped, and before the first chunk that was altered since.
    A second process that wants the same codes waits for the first.
    """
    size, kind = _layout(tokenizer, spec)
    shape = (len(store), places.shape[1], *size)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / "lock"):
        for rows, codes in _missing(folder, shape, kind):
            for place in range(shape[1]):
                tops, lefts = places[rows, place].T
                pixels = store.crop(rows, tops, lefts, spec.size)
                codes[rows, place] = _codes(tokenizer, pixels, spec, device)
    return np.load(folder / "codes.npy", mmap_mode="r")


def _layout(
    tokenizer: Tokenizer | Extractor, spec: ImageSpec
) -> tuple[tuple[int, ...], type[np.generic]]:
    """Shape and type of what an image becomes."""
    if spec.kind == "features":
        return cast(Extractor, tokenizer).feature_shape, np.float16
    tokenizer = cast(Tokenizer, tokenizer)
    kind = np.uint16 if tokenizer.codebook_size <= 2**16 else np.uint32
    return ((spec.size // tokenizer.factor) ** 2,), kind


def _missing(
    folder: Path, shape: tuple[int, ...], kind: type[np.generic]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The chunks of images still to do, with the array to fill; counted once they are on disk."""
    data, counter = folder / "codes.npy", folder / "done.json"
    digests = _digests(data, counter, shape, kind)
    if len(digests) == -(-shape[0] // CHUNK):
        return
    if not digests:
        data.unlink(missing_ok=True)  # who reads the old one goes on with it
    mode: Literal["r+", "w+"] = "r+" if digests else "w+"
    codes = np.lib.format.open_memmap(data, mode=mode, dtype=kind, shape=shape)
    for first in range(len(digests) * CHUNK, shape[0], CHUNK):
        rows = np.arange(first, min(first + CHUNK, shape[0]))
        yield rows, codes
        codes.flush()
        digests.append(_digest(codes[rows]))
        write_atomic(counter, json.dumps(digests))


def _digests(
    data: Path, counter: Path, shape: tuple[int, ...], kind: type[np.generic]
) -> list[str]:
    """Digests of the chunks that are done, up to the first that was altered since."""
    try:
        recorded = json.loads(counter.read_text(encoding="utf-8"))
        codes = np.load(data, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not begun, or damaged
        return []
    if not isinstance(recorded, list) or codes.shape != shape or codes.dtype != kind:
        return []
    chunks = range(0, shape[0], CHUNK)
    same = [_digest(codes[c : c + CHUNK]) == d for c, d in zip(chunks, recorded, strict=False)]
    return recorded[: same.index(False) if False in same else len(same)]


def _digest(codes: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(codes).data).hexdigest()


@torch.inference_mode()
def _codes(
    tokenizer: Tokenizer | Extractor, pixels: np.ndarray, spec: ImageSpec, device: str
) -> np.ndarray:
    x = torch.from_numpy(pixels).to(device)[:, None].float() / 255
    x = x.expand(-1, spec.channels, -1, -1).contiguous()
    if spec.kind == "features":
        return cast(Extractor, tokenizer).features(x).cpu().numpy()
    return cast(Tokenizer, tokenizer).codes(x).cpu().numpy()
