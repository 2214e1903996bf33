"""The cross-modal memory of R2GenCMN (section 2.2): both modalities query one shared matrix.

Its keys and values are projected once for a forward pass (once for a study's whole decoding) and
never expanded over the batch; the chosen values are never gathered into (B, heads, T, k, d_k).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CrossModalMemory(nn.Module):
    """x + attention of x to the `topk` best of `size` memory rows, per head and position."""

    def __init__(self, size: int, d: int, heads: int, topk: int = 32, dropout: float = 0.1) -> None:
        super().__init__()
        self.heads, self.topk, self.dropout = heads, topk, dropout
        self.memory = nn.Parameter(torch.empty(size, d).normal_(0, 1 / d))
        self.q, self.k, self.v, self.out = (nn.Linear(d, d) for _ in range(4))
        for linear in (self.q, self.k, self.v, self.out):
            nn.init.xavier_uniform_(linear.weight)

    def project(self) -> tuple[Tensor, Tensor]:
        """Keys and values of the memory, (heads, size, d / heads) each, in float32."""
        with torch.autocast(self.memory.device.type, enabled=False):
            keys, values = (
                linear(self.memory).unflatten(-1, (self.heads, -1)).transpose(0, 1)
                for linear in (self.k, self.v)
            )
            return keys.contiguous(), values.contiguous()

    def forward(self, x: Tensor, projected: tuple[Tensor, Tensor]) -> Tensor:
        """x (..., d) with what the memory answers added, no norm in between.

        Queries and keys stay float32 under autocast: the 8 bits of bf16 make ties of close
        logits, and then accident decides which rows are chosen.
        """
        with torch.autocast(x.device.type, enabled=False):
            query = self.q(x.float()).view(-1, self.heads, x.shape[-1] // self.heads)
            dropout = self.dropout if self.training else 0.0
            answer = _Query.apply(query.transpose(0, 1), *projected, self.topk, dropout)
        return x + self.out(answer.transpose(0, 1).reshape(x.shape))


class _Query(torch.autograd.Function):
    """Softmax over the k best logits of each query, then the weighted sum of their values.

    query (h, N, c), keys and values (h, size, c) -> (h, N, c). Backward keeps the chosen indices
    and their weights (h, N, k); a matrix of N x size lives only for `ROWS` queries at a time.
    """

    ROWS = 256  # 8 heads x 256 queries x 2048 rows x 4 bytes = 16 MiB

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, keys: Tensor, values: Tensor, topk: int, dropout: float
    ) -> Tensor:
        scale = query.shape[-1] ** -0.5
        pairs = [
            torch.baddbmm(keys.new_zeros(()), rows, keys.mT, beta=0, alpha=scale).topk(topk)
            for rows in query.split(_Query.ROWS, dim=1)
        ]
        chosen = torch.cat([index for _, index in pairs], dim=1)
        weights = torch.cat([logits for logits, _ in pairs], dim=1).softmax(-1)
        used = F.dropout(weights, dropout) if dropout else weights
        ctx.save_for_backward(query, keys, values, chosen, weights, used)
        ctx.scale = scale
        return _weighted_sum(chosen, used, values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, keys, values, *rest = ctx.saved_tensors
        d_query, d_keys, d_values = (torch.zeros_like(x) for x in (query, keys, values))
        parts = (x.split(_Query.ROWS, dim=1) for x in (query, *rest, grads[0], d_query))
        for rows, chosen, weights, used, grad, d_rows in zip(*parts, strict=True):
            dense = grad.new_zeros(*chosen.shape[:2], keys.shape[1])
            d_values.baddbmm_(dense.scatter(2, chosen, used).mT, grad)
            d_used = torch.bmm(grad, values.mT).gather(2, chosen)
            part = d_used * used
            d_logits = (part - weights * part.sum(-1, keepdim=True)) * ctx.scale
            dense.scatter_(2, chosen, d_logits)
            d_rows.copy_(torch.bmm(dense, keys))
            d_keys.baddbmm_(dense.mT, rows)
        return d_query, d_keys, d_values, None, None


def _weighted_sum(chosen: Tensor, weights: Tensor, values: Tensor) -> Tensor:
    """Sum over k of weights (h, N, k) times the values (h, size, c) of the `chosen` rows."""
    heads, size, c = values.shape
    first = torch.arange(heads, device=values.device).view(-1, 1, 1) * size
    bags = F.embedding_bag(
        (chosen + first).flatten(0, 1),
        values.reshape(-1, c),
        mode="sum",
        per_sample_weights=weights.flatten(0, 1),
    )
    return bags.view(heads, -1, c)
