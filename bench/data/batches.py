"""Batches of studies for training, validation and prediction.

Order, crops and flips of step i depend on (seed, i) alone: a resumed run continues exactly, and
no worker count or machine enters the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bench.data.images import ImageStore, open_store
from bench.data.study import Dataset, Image, Study
from bench.data.text import Vocabulary, clean, normalise
from bench.errors import DataError, some
from bench.model import Batch, ImageSpec


class Views(Protocol):
    """Images of n studies, as a model wants to see them."""

    def draw(self, studies: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Augmented for training: (B, V, ...)."""

    def fixed(self, studies: np.ndarray) -> Tensor:
        """As in evaluation: (B, V, ...)."""


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
        training = open_store(dataset, images, spec, training=True, cache=cache) if train else None
        return cls(spec, training, open_store(dataset, images, spec, training=False, cache=cache))

    def draw(self, studies: np.ndarray, rng: np.random.Generator) -> Tensor:
        assert self.training is not None, "opened for evaluation only"
        index = self._rows(studies)
        tops, lefts = random_places(self.training, index, self.spec.size, rng)
        pixels = self.training.crop(index, tops, lefts, self.spec.size)
        if self.spec.flip:
            flipped = rng.random(len(index)) < self.spec.flip
            pixels[flipped] = pixels[flipped, :, ::-1]
        return self._tensor(pixels, len(studies))

    def fixed(self, studies: np.ndarray) -> Tensor:
        index = self._rows(studies)
        zero = np.zeros(len(index), dtype=np.int64)
        pixels = self.evaluation.crop(index, zero, zero, self.spec.size)
        return self._tensor(pixels, len(studies))

    def _rows(self, studies: np.ndarray) -> np.ndarray:
        return (studies[:, None] * self.spec.views + np.arange(self.spec.views)).ravel()

    def _tensor(self, pixels: np.ndarray, count: int) -> Tensor:
        grey = torch.from_numpy(pixels).view(count, self.spec.views, 1, *pixels.shape[1:])
        return normalised(grey, self.spec)


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
    mean = torch.tensor(spec.mean[: spec.channels]).view(-1, 1, 1)
    std = torch.tensor(spec.std[: spec.channels]).view(-1, 1, 1)
    return (x - mean) / std


@dataclass
class Codes:
    """Codes of an image tokenizer, cached: (images, crops, L) for training, (images, L) fixed.

    Or features of a frozen network: (images, crops, L, c) and (images, L, c).
    """

    views: int
    training: np.ndarray | None
    evaluation: np.ndarray

    def draw(self, studies: np.ndarray, rng: np.random.Generator) -> Tensor:
        assert self.training is not None, "opened for evaluation only"
        rows = (studies[:, None] * self.views + np.arange(self.views)).ravel()
        crop = rng.integers(0, self.training.shape[1], len(rows))
        return self._tensor(self.training[rows, crop], len(studies))

    def fixed(self, studies: np.ndarray) -> Tensor:
        rows = (studies[:, None] * self.views + np.arange(self.views)).ravel()
        return self._tensor(self.evaluation[rows], len(studies))

    def _tensor(self, codes: np.ndarray, count: int) -> Tensor:
        kind = np.float32 if codes.dtype == np.float16 else np.int64
        return torch.from_numpy(codes.astype(kind)).view(count, self.views, *codes.shape[1:])


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
        self, step: int, size: int, seed: int, progress: float, device: str
    ) -> Batch:
        """Examples step * size ... of an endless stream of seeded permutations of the split."""
        rows = self._stream(step * size, size, seed)
        rng = np.random.default_rng([seed, step])
        return self._batch(rows, self.views.draw(rows, rng), progress, device)

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
            yield self._batch(rows, self.views.fixed(rows), 1.0, device)

    def _batch(self, rows: np.ndarray, images: Tensor, progress: float, device: str) -> Batch:
        lengths = self.lengths[rows]
        tokens = self.tokens[rows, : lengths.max()]
        return Batch(
            images=images.to(device),
            tokens=torch.from_numpy(tokens).to(device),
            lengths=torch.from_numpy(lengths).to(device),
            texts=[self.texts[i] for i in rows],
            progress=progress,
        )


class Ahead:
    """The training batches of a split, each prepared by a thread while the step before it runs.

    The numbers are those of `Split.training_batch`, whatever step is asked for. overlap: whether
    there is a thread. For an accelerator; on a CPU it takes the step's own core: the small preset's
    steps, of which preparation is 0.6 ms, took 39 ms without it and 41 ms with it.
    """

    def __init__(self, split: Split, size: int, seed: int, device: str, overlap: bool) -> None:
        self.split, self.size, self.seed, self.device = split, size, seed, device
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
            return replace(self._prepare(step), progress=progress)
        if self._next is None or self._next[0] != step:  # the first one, or a resumed training's
            self._next = step, self._thread.submit(self._prepare, step)
        found = self._next[1].result()
        self._next = step + 1, self._thread.submit(self._prepare, step + 1)
        return replace(found, progress=progress)

    def _prepare(self, step: int) -> Batch:
        return self.split.training_batch(step, self.size, self.seed, 0.0, self.device)
