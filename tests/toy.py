"""A dataset of noise, and a report generator of a few hundred parameters for it.

Both keep the contracts of `bench.data.study` and `bench.model`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data.study import Dataset, Image, Study
from bench.model import Batch

SIZE = 8


@dataclass(frozen=True)
class State:
    """hidden: (N, h) of each hypothesis. study: (B, h) of each study, held once."""

    hidden: Tensor
    study: Tensor


class Toy(nn.Module):
    """A recurrent network over words with one image vector added at every step.

    `ending` is the initial bias of the end; `sharpness` multiplies logits, so that random
    weights have opinions. `switch` turns a second loss on or off; nothing else depends on it.
    """

    GROUPS = ("words", "image", "rest")

    def __init__(
        self,
        vocab_size: int,
        max_length: int = 12,
        weights: Mapping[str, Path | None] | None = None,
        *,
        hidden: int = 8,
        ending: float = 0.5,
        sharpness: float = 3.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.image = {
            "size": SIZE, "resize": SIZE + 2, "flip": 0.5, "channels": 1, "views": 2,
            "mean": (0.5,), "std": (0.5,), "filter": "bilinear",
        }  # fmt: skip
        self.words = nn.Embedding(vocab_size, hidden)
        self.look = nn.Linear(2 * SIZE * SIZE, hidden)
        self.recur = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, vocab_size)
        self.dropout = nn.Dropout(dropout)
        self.sharpness = sharpness
        self.extra = True
        nn.init.constant_(self.out.bias[:1].detach(), ending)
        self.switched: list[bool] = []  # for tests

    def switch(self, extra: bool) -> None:
        self.extra = extra
        self.switched.append(extra)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        rest = [*self.recur.parameters(), *self.out.parameters()]
        return {
            "words": list(self.words.parameters()),
            "image": list(self.look.parameters()),
            "rest": rest,
        }

    def encode(self, images: Tensor) -> State:
        study = self.look(images.flatten(1))
        return State(torch.zeros_like(study), study)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        study = state.study.repeat_interleave(len(tokens) // len(state.study), 0)
        seen = self.dropout(self.words(tokens)) + study
        hidden = torch.tanh(seen + self.recur(state.hidden))
        return self.sharpness * self.out(hidden), replace(state, hidden=hidden)

    def reorder(self, state: State, index: Tensor, studies: Tensor | None = None) -> State:
        study = state.study if studies is None else state.study[studies]
        return State(state.hidden[index], study)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        state, logits = self.encode(batch.images), []
        for tokens in batch.tokens[:, :-1].unbind(1):
            following, state = self.step(tokens, state)
            logits.append(following)
        position = torch.arange(batch.tokens.shape[1] - 1)
        target = batch.tokens[:, 1:].masked_fill(position >= batch.lengths[:, None] - 1, -100)
        terms = {"ce": F.cross_entropy(torch.stack(logits, 2), target)}
        if self.extra:
            terms["extra"] = self.look(batch.images.flatten(1)).square().mean()
        return terms


class Frozen(nn.Module):
    """An image tokenizer: the mean grey of each 4 x 4 patch, in 16 levels."""

    codebook_size = 16
    factor = 4

    def __init__(self, weights: Any = None) -> None:
        super().__init__()
        self.images = 0  # tokenised so far

    def codes(self, images: Tensor) -> Tensor:
        self.images += len(images)
        grey = F.avg_pool2d(images.mean(1, keepdim=True), self.factor)
        return (grey * 15.999).long().flatten(1)


SENTENCES = (
    "The heart is normal.", "The heart is large.", "The lungs are clear.", "A nodule is there.",
    "No effusion is seen.", "An effusion is seen.",
)  # fmt: skip


def load(
    root: Path | None = None, train: int = 14, val: int = 5, test: int = 6, sentences: int = 0
) -> Dataset:
    """Reports of one to three sentences (or of just as many as told), pictures of noise."""
    studies = tuple(
        _study(f"{split}{i}", split, sentences)
        for split, count in (("train", train), ("val", val), ("test", test))
        for i in range(count)
    )
    return Dataset("made", studies, f"made-{train}-{val}-{test}-{sentences}", _draw, min_count=1)


def _study(name: str, split: str, sentences: int) -> Study:
    rng = _rng(name)
    chosen = rng.choice(len(SENTENCES), sentences or int(rng.integers(1, 4)), replace=False)
    report = " ".join(SENTENCES[i] for i in chosen)
    images = tuple(Image(f"{name}/{view}", view) for view in ("frontal", "lateral"))
    return Study(name, f"patient of {name}", split, images, report)


def _draw(image: Image) -> np.ndarray:
    return _rng(image.key).integers(0, 256, (16, 16), dtype=np.uint8)


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:12], 16))
