"""What a generator says of given reports: teacher-forced log-probabilities, the same for all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from baselines.transformer import predicted


class TeacherForced:
    """`log_probs` from `encode`, `step` and `reorder`.

    A model that reads a whole report faster than word by word overrides `follow`.
    """

    encode: Any
    step: Any
    reorder: Any

    def log_probs(self, batch: Any, state: Any = None, studies: Tensor | None = None) -> Tensor:
        """Log-probabilities (B, T), float32, of each of `batch.tokens` given those before it.

        0 for BOS and padding; EOS counts. Their sum over a batch is minus the mean token
        cross-entropy ("ce") times the number of predicted tokens, in evaluation mode.
        state: of `encode`; the batch's images are then not looked at. studies: (B,) which of the
        state's studies each report is held against, in any order, any number of times.
        """
        if state is None:
            state = self.encode(batch.images)
        if studies is not None:
            state = self.reorder(state, studies, studies)
        logits = self.follow(batch.tokens[:, :-1], state).float()
        target = batch.tokens[:, 1:]
        chosen = logits.gather(-1, target.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)
        chosen = chosen.masked_fill(~predicted(batch.tokens, batch.lengths), 0.0)
        return torch.nn.functional.pad(chosen, (1, 0))

    def follow(self, tokens: Tensor, state: Any) -> Tensor:
        """Logits (B, T, V + 1) after each of the tokens (B, T), one report a study."""
        rows = []
        for words in tokens.unbind(1):
            logits, state = self.step(words, state)
            rows.append(logits)
        return torch.stack(rows, dim=1)
