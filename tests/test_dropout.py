"""Attention with dropped weights in parts, against the whole matrices; and its noise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import baselines.dropout
from baselines.dropout import attend, dropout

B, HEADS, T, L, C = 3, 2, 12, 20, 8
BIASES: dict[str, Tensor | None] = {
    "none": None,
    "visible": torch.ones(T, L, dtype=torch.bool).tril(),
    "additive": torch.randn(T, L, generator=torch.Generator().manual_seed(0)),
    "of a study": torch.randn(B, 1, T, L, generator=torch.Generator().manual_seed(0)),
}


def whole(query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, p: float) -> Tensor:
    logits = query @ keys.mT
    if bias is not None:
        visible = bias.dtype == torch.bool
        logits = logits.masked_fill(~bias, -torch.inf) if visible else logits + bias
    return dropout(logits.softmax(-1), p) @ values


# All at once; a study, a head, four rows at a time.
@pytest.mark.parametrize("part", [2**19, HEADS * T * L, T * L, 4 * L])
@pytest.mark.parametrize("name", BIASES)
def test_parts_equal_the_whole(part: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values, gradients (of a bias too) and noise: parts draw what the whole would draw."""
    monkeypatch.setattr(baselines.dropout, "PART", part)
    torch.manual_seed(0)
    shapes = ((B, HEADS, T, C), (B, HEADS, L, C), (B, HEADS, L, C))
    found = []
    inputs = [*(torch.randn(shape) for shape in shapes), BIASES[name]]
    weight = torch.randn(B, HEADS, T, C)
    for function in (attend, whole):
        given = [
            x if x is None or x.dtype == torch.bool else x.clone().requires_grad_() for x in inputs
        ]
        torch.manual_seed(1)
        out = function(*given, 0.3)
        (out * weight).sum().backward()
        found.append([out.detach(), *(x.grad for x in given if x is not None and x.requires_grad)])
    for fast, slow in zip(*found, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-6)


def test_no_part_is_larger_than_said() -> None:
    query, keys = torch.zeros(5, 8, 392, 4), torch.zeros(5, 8, 392, 4)
    covered = torch.zeros(5, 8, 392, dtype=torch.long)
    for rows, _ in baselines.dropout._parts(query, keys):
        covered[rows] += 1
        assert covered[rows].numel() * 392 <= baselines.dropout.PART
    assert (covered == 1).all()
