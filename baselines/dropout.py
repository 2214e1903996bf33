"""Dropout, and attention with dropped weights, as a CPU computes them fast.

torch draws CPU masks one Bernoulli variable at a time, 12 ns each, which was half of a training
step of the small presets; sixteen raw random bits an element cost a tenth of that. And it writes
five matrices of the size of all attention weights (80 MB each for 392 visual tokens and 8 heads),
whose memory comes fresh from the system each time: most of a step. Here they exist for a part of
the batch that fits the cache, and are computed again in backward.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PART = 2**19  # attention weights at a time


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """Dropout; on a CPU with masks from raw random bits, p rounded to 1 / 65536."""
    if not training or not p or x.device.type != "cpu":
        return F.dropout(x, p, training)
    return x * (_draw(x.shape) >= _first(p)).to(x.dtype).mul_(_gain(p))


def _draw(shape: tuple[int, ...]) -> Tensor:
    """Sixteen random bits an element, int16."""
    count = torch.Size(shape).numel()
    words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int16)[:count].view(shape)


def _level(p: float) -> int:
    return round(p * 2**16)


def _first(p: float) -> int:
    """The smallest draw that keeps an element."""
    return _level(p) - 2**15


def _gain(p: float) -> float:
    """What a kept element is multiplied by."""
    return 2**16 / (2**16 - _level(p))


class Dropout(nn.Dropout):
    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.training)


def attend(query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, p: float) -> Tensor:
    """dropout(softmax(query keysᵀ + bias)) values: (B, heads, T, c), as the whole matrices give it.

    query (B, heads, T, c), already divided by sqrt(c). keys, values (B, heads, L, c). bias:
    additive, or bool with True = visible; it broadcasts to (B, heads, T, L).
    """
    out: Tensor = _Attend.apply(query, keys, values, bias, p)
    return out


class _Attend(torch.autograd.Function):
    """Of the weights (B, heads, T, L) only a byte each is kept: which were dropped."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, p: float
    ) -> Tensor:
        out = torch.empty_like(query, memory_format=torch.contiguous_format)
        kept = torch.empty(*query.shape[:3], keys.shape[2], dtype=torch.bool)
        for rows, whole in _parts(query, keys):
            part = _weights(query[rows], keys[whole], _share(bias, rows))
            torch.ge(_draw(part.shape), _first(p), out=kept[rows])
            out[rows] = _dropped(part, kept[rows], p, values.dtype) @ values[whole]
        ctx.save_for_backward(query, keys, values, bias, kept)
        ctx.p = p
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, keys, values, bias, kept = ctx.saved_tensors
        d_query, d_keys, d_values = (torch.zeros_like(x) for x in (query, keys, values))
        d_bias = torch.zeros_like(bias) if ctx.needs_input_grad[3] else None
        for rows, whole in _parts(query, keys):
            part = _weights(query[rows], keys[whole], _share(bias, rows))
            d_out = grads[0][rows].to(values.dtype)
            d_values[whole] += _dropped(part, kept[rows], ctx.p, values.dtype).mT @ d_out
            d_part = _dropped((d_out @ values[whole].mT).float(), kept[rows], ctx.p, part.dtype)
            d_logits = torch._softmax_backward_data(d_part, part, -1, part.dtype)
            if d_bias is not None:
                share = cast(Tensor, _share(d_bias, rows))
                share += d_logits.sum_to_size(share.shape)
            low = d_logits.to(query.dtype)
            d_query[rows] = low @ keys[whole]
            d_keys[whole] += low.mT @ query[rows]
        return d_query, d_keys, d_values, d_bias, None


BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes of an element


def _dropped(x: Tensor, kept: Tensor, p: float, dtype: torch.dtype) -> Tensor:
    """x with the gain of what is kept, in `dtype`, and 0 elsewhere."""
    scaled = (x * _gain(p)).to(dtype)
    mask = kept.view(torch.int8).neg().to(BITS[scaled.element_size()])
    scaled.view(mask.dtype).bitwise_and_(mask)
    return scaled


Place = tuple[slice, ...]


def _parts(query: Tensor, keys: Tensor) -> Iterator[tuple[Place, Place]]:
    """Slices (studies, heads, rows) of `PART` weights or fewer; and (studies, heads) of the keys.

    Many studies with all their heads, or many heads of one study, or many rows of one head.
    """
    sizes, counts, room = [], query.shape[:3], PART // keys.shape[2]
    for below in (counts[1] * counts[2], counts[2], 1):
        sizes.append(max(1, room // below))
        room = below if sizes[-1] > 1 else room
    places = [
        [slice(first, first + size) for first in range(0, count, size)]
        for count, size in zip(counts, sizes, strict=True)
    ]
    for studies, heads, rows in product(*places):
        yield (studies, heads, rows), (studies, heads)


def _share(bias: Tensor | None, rows: Place) -> Tensor | None:
    """The view of a bias that broadcasts to the weights at `rows`."""
    if bias is None:
        return None
    full = bias[(None,) * (4 - bias.dim())]
    return full[tuple(r if n > 1 else slice(None) for r, n in zip(rows, full.shape, strict=False))]


def _weights(query: Tensor, keys: Tensor, bias: Tensor | None) -> Tensor:
    logits = (query @ keys.mT).float()
    if bias is not None and bias.dtype == torch.bool:
        logits = logits.masked_fill(~bias, -torch.inf)
    elif bias is not None:
        logits = logits + bias
    return logits.softmax(-1)
