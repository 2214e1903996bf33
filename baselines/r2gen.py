"""R2Gen: a memory-driven Transformer (EMNLP 2020). PAPER.md maps the paper to lines.

The arithmetic is that of the authors' published code, quirks that change numbers included; what
only cost it time or memory is not here. Released weights load through `baselines.checkpoints`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.cache import Cache
from baselines.generator import Generator, Studies
from baselines.inspection import Inspected
from baselines.relational_memory import (
    ConditionalNorm,
    MemoryNorms,
    RelationalMemory,
    StdNorm,
)
from baselines.transformer import Decoder, Encoder, Positions, Words, xavier_
from baselines.visual import load_state


class Published(Inspected, Generator):
    """What R2Gen and R2GenCMN share: CNN and projection, words, encoder, head, loss.

    weights["model"]: a whole imported checkpoint (see `baselines.checkpoints`), for all parts.
    options: of `Generator`.
    """

    APART = True

    def __init__(
        self,
        vocab_size: int,
        max_length: int,
        weights: Mapping[str, Path | None] | None = None,
        *,
        d: int = 512,
        heads: int = 8,
        d_ff: int = 512,
        layers: int = 3,
        dropout: float = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(vocab_size, max_length, weights, d=d, **options)
        self.heads = heads
        self.words = Words(vocab_size, d)
        self.place = Positions(d, dropout)
        self.encoder = Encoder(layers, d, heads, d_ff, dropout, StdNorm)
        self.decoder = self.make_decoder(layers, d, heads, d_ff, dropout)
        for part in (self.words, self.encoder, self.decoder):
            xavier_(part)
        self.head = nn.Linear(d, vocab_size)

    def make_decoder(self, layers: int, d: int, heads: int, d_ff: int, dropout: float) -> Decoder:
        return Decoder(layers, d, heads, d_ff, dropout, StdNorm)

    def load_whole(self, weights: Mapping[str, Path | None] | None) -> None:
        """Load weights["model"], if given; called when all parts are there."""
        file = (weights or {}).get("model")
        if file is not None:
            load_state(self, file)


@dataclass(frozen=True)
class R2GenState:
    """Caches of N hypotheses, and the relational memories (U, slots, d) of their prefixes.

    A memory depends on the words alone: hypotheses of the same words, of whatever study, share
    one. prefix: (N,), which of the U memories is a hypothesis' own.
    """

    cache: Cache
    memory: Tensor
    prefix: Tensor


class R2Gen(Published):
    """36.0 M parameters beside ResNet-101 at the defaults, 761 words.

    slots: rows of the relational memory. No positions on visual tokens: the encoder sees a set.
    options: of `Published`.
    """

    def __init__(
        self,
        vocab_size: int,
        max_length: int,
        weights: Mapping[str, Path | None] | None = None,
        *,
        slots: int = 3,
        **options: Any,
    ) -> None:
        super().__init__(vocab_size, max_length, weights, **options)
        d = self.words.embedding_dim
        # 0.1 whatever `dropout` says: the published memory does not take the option.
        self.memory = RelationalMemory(slots, d, self.heads, dropout=0.1)
        self.norms = MemoryNorms(slots * d, d, norms=3 * len(self.decoder.layers))
        self.load_whole(weights)

    def make_decoder(self, layers: int, d: int, heads: int, d_ff: int, dropout: float) -> Decoder:
        place = count()
        return Decoder(
            layers, d, heads, d_ff, dropout, lambda d: ConditionalNorm(next(place)), StdNorm
        )

    def states(self, batch: Studies) -> Tensor:
        text = self.words(batch.tokens[:, :-1])
        # Positions drop out twice: memory and decoder see different noise, as published.
        condition = self.norms(self.memory(self.place(text)))
        start = self.decoder.start(self.encoder(self.visual(batch.images)))
        return self.decoder(self.place(text), start, condition=condition)[0]

    def encode(self, images: Tensor) -> R2GenState:
        cache = self.decoder.start(self.encoder(self.visual(images)))
        first = torch.zeros(len(images), dtype=torch.long, device=images.device)
        return R2GenState(cache, self.memory.start(1), first)

    def step(self, tokens: Tensor, state: R2GenState) -> tuple[Tensor, R2GenState]:
        text = self.place(self.words(tokens.unsqueeze(1)), state.cache.length)
        rows, prefix = distinct(state.prefix * len(self.words.weight) + tokens)
        memory = self.memory.step(text[rows, 0], state.memory[state.prefix[rows]])
        condition = self.norms(memory.unsqueeze(1), prefix)
        states, cache = self.decoder(text, state.cache, condition=condition)
        return self.head(states[:, 0]), R2GenState(cache, memory, prefix)

    def reorder(
        self, state: R2GenState, index: Tensor, studies: Tensor | None = None
    ) -> R2GenState:
        prefix = state.prefix.index_select(0, index)
        return replace(state, cache=state.cache.reorder(index, studies), prefix=prefix)


def distinct(keys: Tensor) -> tuple[Tensor, Tensor]:
    """A row of each distinct key (U,), and which of them each row's key is (N,)."""
    values, which = keys.unique(return_inverse=True)
    rows = torch.empty(len(values), dtype=torch.long, device=keys.device)
    rows[which] = torch.arange(len(keys), device=keys.device)
    return rows, which
