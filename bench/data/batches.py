"""Batches of studies for training, validation and prediction.

Order, crops and flips of step i depend on (seed, i) alone: a resumed run continues exactly, and
no worker count or machine enters the numbers. One of several processes draws those of the whole
batch and prepares its own rows of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bench.data.images import ImageStore, open_stores
from bench.data.resize import Resize
from bench.data.study import Dataset, Image, Study
from bench.data.text import Vocabulary, clean, normalise
from bench.errors import DataError, some
from bench.model import Batch, ImageSpec


class Views(Protocol):
    """Images of n studies, as a model wants to see them once they are `ready`."""

    def draw(
        self, studies: np.ndarray, rng: np.random.Generator, rows: np.ndarray | None = None
    ) -> Tensor:
        """Augmented for training: (B, V, ...). `rows`: those of `studies` that are wanted; the
        others are drawn, too, and left out."""

    def fixed(self, studies: np.ndarray) -> Tensor:
        """As in evaluation: (B, V, ...)."""

    def ready(self, images: Tensor) -> Tensor:
        """What `draw` or `fixed` gave, for the model; computed where the images are."""


def views_of(studies: Sequence[Study], count: int) -> list[Image]:
    """The first `count` images of each study, flat; a study with fewer is a DataError."""
    short = [s.id for s in studies if len(s.images) < count]
    if short:
        raise DataError(
            f"{len(short)} studies have fewer than {count} images: {some(short)}",
            "set dataset.image_views to the number of images that every study has",
        )
    return [image for s in studies for image in s.images[:count]]


@dataclass
class Pixels:
    """Pixels from the image cache; `stores` keep the training and the evaluation rendition."""

    spec: ImageSpec
    training: ImageStore | None
    evaluation: ImageStore

    @classmethod
    def open(
        cls, dataset: Dataset, studies: Sequence[Study], spec: ImageSpec, train: bool, cache: Path
    ) -> Pixels:
        images = views_of(studies, spec.views)
        rules = [Resize.of(spec, training) for training in ([True, False] if train else [False])]
        *training, evaluation = open_stores(dataset, images, rules, cache)
        return cls(spec, training[0] if train else None, evaluation)

    def draw(
        self, studies: np.ndarray, rng: np.random.Generator, rows: np.ndarray | None = None
    ) -> Tensor:
        assert self.training is not None, "opened for evaluation only"
        index = flat(studies, self.spec.views)
        tops, lefts = random_places(self.training, index, self.spec.size, rng)
        flipped = rng.random(len(index)) < self.spec.flip if self.spec.flip else None
        own = slice(None) if rows is None else flat(rows, self.spec.views)
        pixels = self.training.crop(index[own], tops[own], lefts[own], self.spec.size)
        if flipped is not None:
            pixels[flipped[own]] = pixels[flipped[own], :, ::-1]
        return self._tensor(pixels)

    def fixed(self, studies: np.ndarray) -> Tensor:
        index = flat(studies, self.spec.views)
        zero = np.zeros(len(index), dtype=np.int64)
        return self._tensor(self.evaluation.crop(index, zero, zero, self.spec.size))

    def _tensor(self, pixels: np.ndarray) -> Tensor:
        return torch.from_numpy(pixels).view(-1, self.spec.views, 1, *pixels.shape[1:])

    def ready(self, images: Tensor) -> Tensor:
        """Normalised. Until then an image is a twelfth as large: what a GPU is sent."""
        return normalised(images, self.spec)


def flat(studies: np.ndarray, views: int) -> np.ndarray:
    """Rows of the images of studies, all views of each one after the other."""
    return (studies[:, None] * views + np.arange(views)).ravel()


def random_places(
    store: ImageStore, index: np.ndarray, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Top and left of a uniformly drawn size x size crop in each image."""
    heights, widths = store.shapes[index].T
    tops = rng.integers(0, heights - size + 1)
    lefts = rng.integers(0, widths - size + 1)
    return tops, lefts


def normalised(grey: Tensor, spec: ImageSpec) -> Tensor:
    """uint8 (..., 1, H, W) -> float32 (..., channels, H, W): (x / 255 - mean) / std."""
    x = grey.float() / 255
    x = x.expand(*x.shape[:-3], spec.channels, *x.shape[-2:])
    mean, std = (_channels(each[: spec.channels], grey.device) for each in (spec.mean, spec.std))
    return (x - mean) / std


@cache
def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    """(C, 1, 1), sent to a device once."""
    return torch.tensor(values, device=device).view(-1, 1, 1)


@dataclass
class Codes:
    """Codes of an image tokenizer, cached: (images, crops, L) for training, (images, L) fixed.

    Or features of a frozen network: (images, crops, L, c) and (images, L, c).
    """

    views: int
    training: np.ndarray | None
    evaluation: np.ndarray

    def draw(
        self, studies: np.ndarray, rng: np.random.Generator, rows: np.ndarray | None = None
    ) -> Tensor:
        assert self.training is not None, "opened for evaluation only"
        index = flat(studies, self.views)
        crop = rng.integers(0, self.training.shape[1], len(index))
        own = slice(None) if rows is None else flat(rows, self.views)
        return self._tensor(self.training[index[own], crop[own]])

    def fixed(self, studies: np.ndarray) -> Tensor:
        return self._tensor(self.evaluation[flat(studies, self.views)])

    def _tensor(self, codes: np.ndarray) -> Tensor:
        kind = np.float32 if codes.dtype == np.float16 else np.int64
        return torch.from_numpy(codes.astype(kind)).view(-1, self.views, *codes.shape[1:])

    def ready(self, images: Tensor) -> Tensor:
        return images


class Split:
    """One split of a dataset as a model consumes it: views, token ids and cleaned texts."""

    def __init__(
        self,
        dataset: Dataset,
        studies: Sequence[Study],
        vocabulary: Vocabulary,
        max_length: int,
        views: Views,
    ) -> None:
        self.studies = studies
        self.views = views
        self._orders: dict[tuple[int, int], np.ndarray] = {}
        self.texts = [normalise(clean(s.report, dataset.cleaning)) for s in studies]
        ids = [vocabulary.encode(text, max_length) for text in self.texts]
        self.lengths = np.array([len(x) for x in ids], dtype=np.int64)
        self.tokens = np.zeros((len(ids), max_length), dtype=np.int64)
        for row, x in zip(self.tokens, ids, strict=True):
            row[: len(x)] = x

    def __len__(self) -> int:
        return len(self.studies)

    def training_batch(
        self,
        step: int,
        size: int,
        seed: int,
        progress: float,
        device: str,
        rows: np.ndarray | None = None,
    ) -> Batch:
        """Examples step * size ... of an endless stream of seeded permutations of the split.

        rows: of the batch, for one of several processes; as wide as the whole batch.
        """
        return self.ready(self.drawn(step, size, seed, rows), progress, device)

    def drawn(self, step: int, size: int, seed: int, rows: np.ndarray | None = None) -> Batch:
        """A training batch in the processor's memory, its images not yet ready."""
        studies = self._stream(step * size, size, seed)
        images = self.views.draw(studies, np.random.default_rng([seed, step]), rows)
        width = self.lengths[studies].max()
        return self._batch(studies if rows is None else studies[rows], images, width)

    def _stream(self, first: int, size: int, seed: int) -> np.ndarray:
        position = np.arange(first, first + size)
        epochs, places = position // len(self), position % len(self)
        orders = {e: self._order(seed, e) for e in np.unique(epochs).tolist()}
        return np.array([orders[e][p] for e, p in zip(epochs.tolist(), places, strict=True)])

    def _order(self, seed: int, epoch: int) -> np.ndarray:
        """The permutation of an epoch, drawn once and not at each of its steps."""
        if (seed, epoch) not in self._orders:
            if len(self._orders) > 1:  # a batch needs two at most
                self._orders.clear()
            rng = np.random.default_rng([seed, 1, epoch])
            self._orders[seed, epoch] = rng.permutation(len(self))
        return self._orders[seed, epoch]

    def batches(self, size: int, device: str) -> Iterator[Batch]:
        """All studies in manifest order, unaugmented."""
        for first in range(0, len(self), size):
            rows = np.arange(first, min(first + size, len(self)))
            batch = self._batch(rows, self.views.fixed(rows), self.lengths[rows].max())
            yield self.ready(batch, 1.0, device)

    def _batch(self, rows: np.ndarray, images: Tensor, width: int) -> Batch:
        return Batch(
            images=images,
            tokens=torch.from_numpy(self.tokens[rows, :width]),
            lengths=torch.from_numpy(self.lengths[rows]),
            texts=[self.texts[i] for i in rows],
        )

    def ready(self, batch: Batch, progress: float, device: str) -> Batch:
        """A batch on its device. Does not wait for that when its memory is pinned."""
        images, tokens, lengths = (
            x.to(device, non_blocking=True) for x in (batch.images, batch.tokens, batch.lengths)
        )
        return replace(
            batch,
            images=self.views.ready(images),
            tokens=tokens,
            lengths=lengths,
            progress=progress,
        )


class Ahead:
    """The training batches of a split, each drawn by a thread while the step before it runs.

    The numbers are those of `Split.training_batch`, whatever step is asked for. rows: of each
    batch, for one of several processes. overlap: whether there is a thread. For an accelerator,
    which then copies from pinned memory without waiting; on a CPU it takes the step's own core:
    the small preset's steps, of which preparation is 0.6 ms, took 39 ms without it and 41 ms with
    it (`bench perf pipeline`).
    """

    def __init__(
        self,
        split: Split,
        size: int,
        seed: int,
        device: str,
        overlap: bool,
        rows: np.ndarray | None = None,
    ) -> None:
        self.split, self.size, self.seed, self.device = split, size, seed, device
        self.rows = rows
        self._thread = (
            ThreadPoolExecutor(
                1, initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),)
            )
            if overlap
            else None
        )
        self._next: tuple[int, Future[Batch]] | None = None

    def batch(self, step: int, progress: float) -> Batch:
        """The batch of a step; then the next one is begun."""
        if self._thread is None:
            drawn = self._draw(step)
        else:
            if self._next is None or self._next[0] != step:  # the first, or a resumed training's
                self._next = step, self._thread.submit(self._draw, step)
            drawn = self._next[1].result()
            self._next = step + 1, self._thread.submit(self._draw, step + 1)
        return self.split.ready(drawn, progress, self.device)

    def whole(self, step: int, progress: float) -> Batch:
        """The batch of a step with the rows of all processes."""
        return self.split.training_batch(step, self.size, self.seed, progress, self.device)

    def _draw(self, step: int) -> Batch:
        drawn = self.split.drawn(step, self.size, self.seed, self.rows)
        return _pinned(drawn) if self.device == "cuda" else drawn


def _pinned(batch: Batch) -> Batch:
    """In memory that a GPU copies from by itself."""
    return replace(
        batch,
        images=batch.images.pin_memory(),
        tokens=batch.tokens.pin_memory(),
        lengths=batch.lengths.pin_memory(),
    )
