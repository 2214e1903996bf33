"""What decoding remembers: keys and values of visual tokens and of all decoded ones.

Decoded tokens are only ever appended. The k hypotheses of a study share one list of entries, k a
word; a hypothesis that changes its parent changes a row of bits (which entries are its own
prefix), where copying its keys and values would cost a quarter of a decoding step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

FIRST_ENTRIES = 64


class History:
    """Per layer the keys and values of B studies' entries (2, B, heads, room, d / heads)."""

    def __init__(self, layers: int) -> None:
        self.filled = 0
        self._entries: list[Tensor | None] = [None] * layers

    def append(self, layer: int, used: int, new: Tensor) -> Tensor:
        """The first `used` entries of a layer and `new` (2, B, heads, n, d / heads) behind them.

        The last layer's entries complete a word: `filled` counts them.
        """
        end = used + new.shape[3]
        room = self._entries[layer]
        if room is None and not used and new.shape[3] > 1:
            room = new  # a whole report: nothing to copy
        elif room is None or room.shape[3] < end:
            room = _grown(room, new, used)
            room[:, :, :, used:end] = new
        else:
            room[:, :, :, used:end] = new
        self._entries[layer] = room
        if layer == len(self._entries) - 1:
            self.filled = end
        return room[:, :, :, :end]

    def select(self, studies: Tensor, used: int) -> History:
        """The first `used` entries of some of the studies, as a history of their own."""
        return self._copy(lambda x: x[:, :, :, :used].index_select(1, studies), used)

    def branch(self, used: int) -> History:
        """This history, or a copy of its first `used` entries where others were added since."""
        return self if used == self.filled else self._copy(lambda x: x[:, :, :, :used], used)

    def _copy(self, part: Callable[[Tensor], Tensor], used: int) -> History:
        copy = History(len(self._entries))
        copy.filled = used
        copy._entries = [None if x is None else part(x).clone() for x in self._entries]
        return copy


def _grown(room: Tensor | None, new: Tensor, used: int) -> Tensor:
    """Room for twice as many entries, the first `used` of them copied."""
    size = max(FIRST_ENTRIES, 2 * (used + new.shape[3]))
    grown = new.new_empty(*new.shape[:3], size, new.shape[4])
    if room is not None:
        grown[:, :, :, :used] = room[:, :, :, :used]
    return grown


@dataclass(frozen=True)
class Cache:
    """What decoding has computed so far for N = B x k hypotheses of B studies.

    visual: per layer, keys and values of the visual tokens (2, B, heads, L, d / heads).
    length: words fed so far, the position of the next one. used: entries of the history so far.
    visible: (N, used) bool, which entries are words of a hypothesis' own prefix; None: all.
    """

    history: History
    visual: tuple[Tensor, ...]
    length: int = 0
    used: int = 0
    visible: Tensor | None = None

    @property
    def studies(self) -> int:
        return self.visual[0].shape[1]

    def fed(self, words: int, hypotheses: int) -> Cache:
        """This cache with `words` more of each of N hypotheses; the layers append their entries."""
        beam = hypotheses // self.studies
        visible = self.visible
        if visible is not None:
            own = torch.eye(beam, dtype=torch.bool, device=visible.device)
            visible = torch.cat((visible, own.repeat(self.studies, 1)), dim=1)
        return replace(
            self,
            history=self.history.branch(self.used),
            length=self.length + words,
            used=self.used + beam * words,
            visible=visible,
        )

    def mask(self) -> Tensor | None:
        """`visible` for the k hypotheses of a study as query rows: (B, 1, k, used)."""
        if self.visible is None:
            return None
        return self.visible.view(self.studies, 1, -1, self.used)

    def reorder(self, index: Tensor, studies: Tensor | None = None) -> Cache:
        """Hypothesis i becomes index[i]; keys are copied only when `studies` are dropped."""
        left = self.studies if studies is None else len(studies)
        visible = self.visible
        if visible is None and len(index) > left:  # one hypothesis a study becomes several
            visible = torch.ones(self.studies, self.used, dtype=torch.bool, device=index.device)
        if visible is not None:
            visible = visible.index_select(0, index)
        if studies is None:
            return replace(self, visible=visible)
        return replace(
            self,
            history=self.history.select(studies, self.used),
            visual=tuple(x.index_select(1, studies) for x in self.visual),
            visible=visible,
        )
