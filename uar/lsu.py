"""Latent Space Unifier (section 3.2): images as discrete codes, embedded by a trainable table.

The codes come from a frozen image tokenizer (`uar.openai.OpenAI`, `uar.dvae.DVAE`), which the
harness runs once and caches; words have the Transformer's own table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from baselines.transformer import Words, xavier_


class LSU(Words):
    """W_I of Eq. 1: codes of all views (B, V, L) to E(I) (B, V * L, d), scaled by sqrt(d)."""

    expected: Mapping[str, Any] = {"kind": "codes", "mean": (0.0,) * 3, "std": (1.0,) * 3}

    def __init__(self, codebook_size: int, d: int) -> None:
        super().__init__(codebook_size, d)
        xavier_(self)

    def forward(self, codes: Tensor) -> Tensor:
        return super().forward(codes.flatten(1))
