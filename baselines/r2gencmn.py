"""R2GenCMN: a Transformer with a cross-modal memory network (ACL 2021). See PAPER.md.

The arithmetic is that of the authors' published code; released weights load through
`baselines.checkpoints`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from baselines.cache import Cache
from baselines.cross_modal_memory import CrossModalMemory
from baselines.generator import Studies
from baselines.r2gen import Published


@dataclass(frozen=True)
class R2GenCMNState:
    """Caches of N hypotheses; keys and values of the memory, one for all of them."""

    cache: Cache
    rows: tuple[Tensor, Tensor]


class R2GenCMN(Published):
    """16.6 M parameters beside ResNet-101 at the defaults, 761 words.

    rows, topk: size of the memory, and how many rows a head of one position reads. Positions of
    visual tokens run on over all views. options: of `Published`.
    """

    def __init__(
        self,
        vocab_size: int,
        max_length: int,
        weights: Mapping[str, Path | None] | None = None,
        *,
        rows: int = 2048,
        topk: int = 32,
        **options: Any,
    ) -> None:
        super().__init__(vocab_size, max_length, weights, **options)
        d = self.words.embedding_dim
        # 0.1 whatever `dropout` says: the published memory does not take the option.
        self.memory = CrossModalMemory(rows, d, self.heads, topk, dropout=0.1)
        self.load_whole(weights)

    def look(self, images: Tensor, rows: tuple[Tensor, Tensor]) -> Cache:
        seen = self.memory(self.visual(images), rows)
        return self.decoder.start(self.encoder(self.place(seen)))

    def states(self, batch: Studies) -> Tensor:
        rows = self.memory.project()
        text = self.memory(self.place(self.words(batch.tokens[:, :-1])), rows)
        return self.decoder(text, self.look(batch.images, rows))[0]

    def encode(self, images: Tensor) -> R2GenCMNState:
        rows = self.memory.project()
        return R2GenCMNState(self.look(images, rows), rows)

    def step(self, tokens: Tensor, state: R2GenCMNState) -> tuple[Tensor, R2GenCMNState]:
        text = self.place(self.words(tokens.unsqueeze(1)), state.cache.length)
        states, cache = self.decoder(self.memory(text, state.rows), state.cache)
        return self.head(states[:, 0]), R2GenCMNState(cache, state.rows)

    def shared(self) -> Tensor:
        """The memory itself (Figure 5 of the UAR paper)."""
        return self.memory.memory

    def reorder(
        self, state: R2GenCMNState, index: Tensor, studies: Tensor | None = None
    ) -> R2GenCMNState:
        return replace(state, cache=state.cache.reorder(index, studies))
