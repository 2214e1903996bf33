"""What figures show of a trained generator: where its words look, and the matrix that it shares."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Inspected:
    """For generators whose decoder is `baselines.transformer.Decoder`."""

    decoder: Any
    states: Any

    @torch.no_grad()
    def attention(self, batch: Any) -> tuple[Tensor, Tensor | None]:
        """Cross-attention (B, T - 1, L), float32, while the batch's reports are read.

        Row t is that of the word after tokens[:, t]; mean over layers and heads. Beside it the
        attention of the same states without the logits that a mask adds (TIR, Eq. 11); None where
        no layer has such a mask.
        """
        used: list[Tensor] = []
        free: list[Tensor] = []

        def watch(cross: Any, given: tuple[Any, ...]) -> None:
            rows, visual, extra = (*given, None)[:3]
            plain = cross.weights(rows, visual).mean(1)
            free.append(plain)
            used.append(plain if extra is None else cross.weights(rows, visual, extra).mean(1))

        hooks = [x.cross.register_forward_pre_hook(watch) for x in self.decoder.layers]
        try:
            self.states(batch)
        finally:
            for hook in hooks:
                hook.remove()
        masked = any(u is not f for u, f in zip(used, free, strict=True))
        return torch.stack(used).mean(0), torch.stack(free).mean(0) if masked else None

    def shared(self) -> Tensor | None:
        """The matrix (rows, d) that images and reports both query; None where there is none."""
        return None
