"""Soft assignment of samples to prototypes with equal use of every prototype (SwAV's codes)."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 0.05
ITERATIONS = 3


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = EPSILON, iterations: int = ITERATIONS) -> Tensor:
    """Codes (B, K), rows summing to 1, from cosine scores (B, K).

    exp(scores / epsilon) is scaled alternately to columns of 1 / K and rows of 1 / B. Scores are
    at most 1, so that exp stays below 5e8 at the published epsilon and needs no shift.
    """
    codes = torch.exp(scores / epsilon)
    codes /= codes.sum()
    samples, prototypes = codes.shape
    for _ in range(iterations):
        codes /= codes.sum(dim=0, keepdim=True) * prototypes
        codes /= codes.sum(dim=1, keepdim=True) * samples
    return codes / codes.sum(dim=1, keepdim=True)
