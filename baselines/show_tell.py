"""Show and Tell, ST (Vinyals et al., 2015): the image is the LSTM's first word, and seen no more.

One fused LSTM call reads a whole report; no attention.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from baselines.recurrent import Hidden, Recurrent, Seen


class ShowTell(Recurrent):
    """2.9 M parameters at d 512 and 761 words beside the CNN and its projection's 1.0 M."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        del self.keys
        self.words = nn.Sequential(self.words[0])  # as published: no ReLU, no dropout on words
        self.lstm = nn.LSTM(self.d, self.d, batch_first=True)

    def look(self, images: Tensor) -> Seen:
        """The image is the projected mean of its patches, without ReLU: there are no others."""
        pooled = self.visual.project(self.visual.patches(images).mean(1, keepdim=True))
        return Seen(pooled, pooled, pooled)

    def start(self, seen: Seen) -> Hidden:
        _, (h, c) = self.lstm(seen.pooled)
        return h.transpose(0, 1), c.transpose(0, 1)

    def run(self, text: Tensor, seen: Seen) -> Tensor:
        return self.lstm(torch.cat((seen.pooled, text), dim=1))[0][:, 1:]

    def inputs(self, text: Tensor, seen: Seen) -> Tensor:
        return text

    def cell(self, inputs: Tensor, seen: Seen, hidden: Hidden) -> tuple[Tensor, Hidden]:
        h, c = (x.reshape(1, -1, self.d) for x in hidden)
        output, (h, c) = self.lstm(inputs.reshape(-1, 1, self.d), (h.contiguous(), c.contiguous()))
        return output.view_as(inputs), (h.view_as(inputs), c.view_as(inputs))
