"""What the four CNN-RNN systems share: grid features, words, a recurrent cell, one loop over time.

Each system is a cell. Everything that no earlier word can change is projected for a whole report
before the loop (`inputs`), and everything that feeds nothing back is computed for the whole report
after it (`finish`); decoding is the same cell, one word of each hypothesis at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.base import Studies
from baselines.likelihood import TeacherForced
from baselines.r2gen import IMAGE, rate_groups
from baselines.transformer import token_loss
from baselines.visual import Visual

Hidden = tuple[Tensor, ...]  # each (B, k, d): k hypotheses of each study


@dataclass(frozen=True)
class Seen:
    """A study's images: patches (B, L, d), their attention keys (B, L, d), pooled (B, 1, d)."""

    patches: Tensor
    keys: Tensor
    pooled: Tensor

    def select(self, studies: Tensor) -> Seen:
        return Seen(*(x.index_select(0, studies) for x in (self.patches, self.keys, self.pooled)))


@dataclass(frozen=True)
class RecurrentState:
    seen: Seen
    hidden: Hidden


class Attention(nn.Module):
    """Additive attention: softmax of w . tanh(keys + W h), over the patches of a study."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.query = nn.Linear(d, d)
        self.score = nn.Linear(d, 1)

    def logits(self, query: Tensor, keys: Tensor) -> Tensor:
        """(B, k, L) of projected queries (B, k, d) and keys (B, L, d)."""
        return self.score(torch.tanh(query.unsqueeze(2) + keys.unsqueeze(1))).squeeze(-1)

    def forward(self, h: Tensor, seen: Seen) -> Tensor:
        """What the hidden states h (B, k, d) attend to, (B, k, d)."""
        return self.logits(self.query(h), seen.keys).softmax(-1) @ seen.patches


def lstm(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden state and cell of the sums of input, forget and output gate and candidate."""
    enter, forget, leave, new = gates.chunk(4, dim=-1)
    c = forget.sigmoid() * c + enter.sigmoid() * new.tanh()
    return leave.sigmoid() * c.tanh(), c


class Recurrent(TeacherForced, nn.Module):
    """CNN and RNN. A subclass gives `inputs`, `cell` and, if it needs one, `finish`.

    hidden: how many tensors its hidden state has. Other options: see `baselines.r2gen.Published`.
    """

    GROUPS = ("visual", "rest")
    hidden = 2

    def __init__(
        self,
        vocab_size: int,
        max_length: int,
        weights: Mapping[str, Path | None] | None = None,
        *,
        d: int = 512,
        dropout: float = 0.5,
        image: Mapping[str, Any] | None = None,
        backbone: str = "resnet101",
        backbone_params: Mapping[str, Any] | None = None,
        freeze: bool = False,
    ) -> None:
        super().__init__()
        file = (weights or {}).get("visual")
        self.visual = Visual(d, backbone, file, freeze, dropout, **(backbone_params or {}))
        self.image = {**IMAGE, **self.visual.normalisation, **(image or {})}
        self.d, self.max_length = d, max_length
        self.words = nn.Sequential(nn.Embedding(vocab_size, d), nn.ReLU(), nn.Dropout(dropout))
        self.keys = nn.Linear(d, d)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(d, vocab_size)

    def look(self, images: Tensor) -> Seen:
        """`pooled` is the mean of the projected patches."""
        patches = self.visual(images)
        return Seen(patches, self.keys(patches), patches.mean(1, keepdim=True))

    def inputs(self, text: Tensor, seen: Seen) -> Tensor:
        """What the cell is fed, of embedded words (B, T, d): a report's or one a hypothesis."""
        raise NotImplementedError

    def cell(self, inputs: Tensor, seen: Seen, hidden: Hidden) -> tuple[Tensor, Hidden]:
        """An output (B, k, .) and the hidden state after `inputs` (B, k, .)."""
        raise NotImplementedError

    def finish(self, outputs: Tensor, seen: Seen) -> Tensor:
        """The states (B, T, d) that words are read from."""
        return outputs

    def start(self, seen: Seen) -> Hidden:
        zeros = seen.pooled.new_zeros(seen.pooled.shape, dtype=torch.float32)
        return (zeros,) * self.hidden

    def run(self, text: Tensor, seen: Seen) -> Tensor:
        """Outputs (B, T, .) of the cell over whole reports of embedded words (B, T, d)."""
        hidden, outputs = self.start(seen), []
        for step in self.inputs(text, seen).split(1, dim=1):
            output, hidden = self.cell(step, seen, hidden)
            outputs.append(output)
        return torch.cat(outputs, dim=1)

    def states(self, batch: Studies) -> Tensor:
        """States (B, T - 1, d) after each of a batch's tokens but the last."""
        seen = self.look(batch.images)
        outputs = self.run(self.words(batch.tokens[:, :-1]), seen)
        return self.dropout(self.finish(outputs, seen))

    def loss(self, batch: Studies) -> dict[str, Tensor]:
        logits = self.head(self.states(batch))
        return {"ce": token_loss(logits, batch.tokens, batch.lengths)}

    def encode(self, images: Tensor) -> RecurrentState:
        seen = self.look(images)
        return RecurrentState(seen, self.start(seen))

    def step(self, tokens: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        seen = state.seen
        text = self.words(tokens.view(len(seen.patches), -1))
        output, hidden = self.cell(self.inputs(text, seen), seen, state.hidden)
        logits = self.head(self.dropout(self.finish(output, seen)))
        return logits.flatten(0, 1), RecurrentState(seen, hidden)

    def reorder(
        self, state: RecurrentState, index: Tensor, studies: Tensor | None = None
    ) -> RecurrentState:
        seen = state.seen if studies is None else state.seen.select(studies)
        moved = (x.flatten(0, 1).index_select(0, index) for x in state.hidden)
        hidden = tuple(x.view(len(seen.patches), -1, x.shape[-1]) for x in moved)
        return RecurrentState(seen, hidden)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """ "visual": the backbone, unless frozen; "rest"."""
        return rate_groups(self, self.visual.backbone)
