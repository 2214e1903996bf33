"""AdaAtt (Lu et al., 2017): attention that can look at a visual sentinel instead of the image.

Attention feeds nothing back into the LSTM, so it is computed for a whole report at once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from baselines.recurrent import Attention, Hidden, Recurrent, Seen, lstm


class AdaAtt(Recurrent):
    """5.5 M parameters at d 512 and 761 words beside the CNN and its projection's 1.0 M."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.attend = Attention(self.d)
        self.sentinel_key = nn.Linear(self.d, self.d)
        # The LSTM's four sums, then the sentinel's gate; x is the word beside the whole image.
        self.from_word = nn.Linear(self.d, 5 * self.d)
        self.from_image = nn.Linear(self.d, 5 * self.d)
        self.from_hidden = nn.Linear(self.d, 5 * self.d)

    def inputs(self, text: Tensor, seen: Seen) -> Tensor:
        return self.from_word(text) + self.from_image(seen.pooled)

    def cell(self, inputs: Tensor, seen: Seen, hidden: Hidden) -> tuple[Tensor, Hidden]:
        """The output holds the hidden state and the sentinel, side by side (eqs. 9 and 10)."""
        h, c = hidden
        sums, gate = (inputs + self.from_hidden(h)).split((4 * self.d, self.d), dim=-1)
        h, c = lstm(sums, c)
        return torch.cat((h, gate.sigmoid() * c.tanh()), dim=-1), (h, c)

    def finish(self, outputs: Tensor, seen: Seen) -> Tensor:
        """h + beta s + (1 - beta) attended, all softmax weights at once (eqs. 11 to 13)."""
        h, sentinel = outputs.chunk(2, dim=-1)
        query = self.attend.query(h)
        looked = self.attend.logits(query, seen.keys)
        skipped = self.attend.score(torch.tanh(query + self.sentinel_key(sentinel)))
        weights = torch.cat((looked, skipped), dim=-1).softmax(-1)
        return h + weights[..., :-1] @ seen.patches + weights[..., -1:] * sentinel
