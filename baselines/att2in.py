"""Att2in (Rennie et al., 2017): what is attended to enters the LSTM's candidate only.

The candidate is a maxout of two linear maps; the gates see the word and the last hidden state.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from baselines.recurrent import Attention, Hidden, Recurrent, Seen


class Att2in(Recurrent):
    """4.5 M parameters at d 512 and 761 words beside the CNN and its projection's 1.0 M."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.attend = Attention(self.d)
        # Input, forget and output gate, then the two halves of the candidate.
        self.from_word = nn.Linear(self.d, 5 * self.d)
        self.from_hidden = nn.Linear(self.d, 5 * self.d)
        self.from_patches = nn.Linear(self.d, 2 * self.d)

    def inputs(self, text: Tensor, seen: Seen) -> Tensor:
        return self.from_word(text)

    def cell(self, inputs: Tensor, seen: Seen, hidden: Hidden) -> tuple[Tensor, Hidden]:
        h, c = hidden
        sums = inputs + self.from_hidden(h)
        enter, forget, leave = sums[..., : 3 * self.d].sigmoid().chunk(3, dim=-1)
        halves = sums[..., 3 * self.d :] + self.from_patches(self.attend(h, seen))
        c = forget * c + enter * torch.maximum(*halves.chunk(2, dim=-1))
        h = leave * c.tanh()
        return h, (h, c)
