"""Top-Down (Anderson et al., 2018): one LSTM attends, a second one writes.

Grid features replace the paper's detected regions: there is no detector for chest
films here, and the published comparisons on these data use grids too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from baselines.recurrent import Attention, Hidden, Recurrent, Seen, lstm


class TopDown(Recurrent):
    """8.7 M parameters at d 512 and 761 words beside the CNN and its projection's 1.0 M."""

    hidden = 4  # attention LSTM's h and c, language LSTM's h and c

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        d = self.d
        self.attend = Attention(d)
        self.from_word = nn.Linear(d, 4 * d)
        self.from_image = nn.Linear(d, 4 * d)
        self.attention_gates = nn.Linear(2 * d, 4 * d)  # of both hidden states
        self.language_gates = nn.Linear(3 * d, 4 * d)  # of the attended, both hidden states

    def inputs(self, text: Tensor, seen: Seen) -> Tensor:
        return self.from_word(text) + self.from_image(seen.pooled)

    def cell(self, inputs: Tensor, seen: Seen, hidden: Hidden) -> tuple[Tensor, Hidden]:
        h1, c1, h2, c2 = hidden
        h1, c1 = lstm(inputs + self.attention_gates(torch.cat((h2, h1), dim=-1)), c1)
        attended = self.attend(h1, seen)
        h2, c2 = lstm(self.language_gates(torch.cat((attended, h1, h2), dim=-1)), c2)
        return h2, (h1, c1, h2, c2)
