"""The Transformer that the report generators share: pre-norm layers, and one cache for decoding.

One path serves training and decoding: `Decoder.forward` appends tokens to a cache, a whole report
at once (teacher forcing) or one token of each hypothesis. What belongs to a study (the visual keys
and values) is held once per study, whatever the number of hypotheses.

No attention over padding can reach a result: reports are padded at the end, where the causal mask
hides it, and all studies of a batch have the same number of visual tokens. That is why masks are
optional here, and why it does not matter whether a masked logit is -1e9 (R2Gen) or -inf (here).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.cache import Cache, History
from baselines.dropout import Dropout, attend

Norm = Callable[[int], nn.Module]
# (layer, positions, normalised decoder states (B, R, d)) -> additive cross-attention logits that
# broadcast to (B, heads, R, L). In a step the R rows are the hypotheses of a study, all at one
# position; over a whole report row i is at position i.
CrossBias = Callable[[int, slice, Tensor], Tensor | None]


def layer_norm(d: int) -> nn.Module:
    """Layer normalisation with R2Gen's eps; the default of every `norm` argument."""
    return nn.LayerNorm(d, eps=1e-6)


def xavier_(module: nn.Module) -> None:
    """R2Gen's initial values: Xavier-uniform for each parameter of two or more dimensions."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)


def sinusoid(length: int, d: int) -> Tensor:
    """Sinusoidal positions (length, d): sine in even columns, cosine in odd ones."""
    rate = torch.exp(torch.arange(0, d, 2) * (-math.log(10000.0) / d))
    angle = torch.arange(length).unsqueeze(1) * rate
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :d]


class Positions(nn.Module):
    """Adds sinusoidal positions to (B, T, d), then drops out; no parameters."""

    table: Tensor

    def __init__(self, d: int, dropout: float = 0.1, length: int = 5000) -> None:
        super().__init__()
        self.register_buffer("table", sinusoid(length, d), persistent=False)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        return self.dropout(x + self.table[start : start + x.shape[1]])


class Words(nn.Embedding):
    """A table of words (or image codes), scaled by sqrt(d)."""

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids) * math.sqrt(self.embedding_dim)


class Attention(nn.Module):
    """Multi-head attention with its keys and values projected apart: 4 d² + 4 d parameters."""

    def __init__(self, d: int, heads: int, dropout: float = 0.1) -> None:
        super().__init__()
        if d % heads:
            raise ValueError(f"d {d} is not a multiple of heads {heads}")
        self.heads = heads
        self.dropout = dropout
        self.q, self.k, self.v, self.out = (nn.Linear(d, d) for _ in range(4))

    def split(self, x: Tensor) -> Tensor:
        """(B, T, d) -> (B, heads, T, d / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def project(self, x: Tensor) -> Tensor:
        """Keys and values of x (B, L, d), stacked: (2, B, heads, L, d / heads)."""
        return torch.stack((self.split(self.k(x)), self.split(self.v(x))))

    def forward(
        self, x: Tensor, projected: Tensor, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """x (B, T, d) attends to `projected`. `mask`: additive, or bool with True = visible."""
        keys, values = projected.unbind()
        if self.training and self.dropout and x.device.type == "cpu":
            if causal:
                mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
            query = self.split(self.q(x)) / math.sqrt(x.shape[-1] // self.heads)
            mixed = attend(query, keys, values, mask, self.dropout)
        else:
            rate = self.dropout if self.training else 0.0
            query = self.split(self.q(x))
            mixed = F.scaled_dot_product_attention(query, keys, values, mask, rate, causal)
        return self.out(mixed.transpose(-3, -2).flatten(-2))

    def weights(self, x: Tensor, projected: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention weights (B, heads, T, L), float32, before dropout. `mask` as in `forward`."""
        return self._weights(x, projected[0], mask)

    def _weights(self, x: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        query = self.split(self.q(x)) / math.sqrt(x.shape[-1] // self.heads)
        logits = (query @ keys.transpose(-2, -1)).float()
        if mask is not None and mask.dtype == torch.bool:
            logits = logits.masked_fill(~mask, -torch.inf)
        elif mask is not None:
            logits = logits + mask
        return logits.softmax(-1)


class FeedForward(nn.Sequential):
    def __init__(self, d: int, d_ff: int, dropout: float = 0.1) -> None:
        super().__init__(nn.Linear(d, d_ff), nn.ReLU(), Dropout(dropout), nn.Linear(d_ff, d))


class EncoderLayer(nn.Module):
    def __init__(self, d: int, heads: int, d_ff: int, dropout: float, norm: Norm) -> None:
        super().__init__()
        self.attend = Attention(d, heads, dropout)
        self.feed = FeedForward(d, d_ff, dropout)
        self.norms = nn.ModuleList(norm(d) for _ in range(2))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = self.norms[0](x)
        x = x + self.dropout(self.attend(y, self.attend.project(y), mask))
        return x + self.dropout(self.feed(self.norms[1](x)))


class Encoder(nn.Module):
    """`layers` pre-norm layers and a final norm over visual tokens (B, L, d)."""

    def __init__(
        self,
        layers: int,
        d: int,
        heads: int,
        d_ff: int,
        dropout: float = 0.1,
        norm: Norm = layer_norm,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(d, heads, d_ff, dropout, norm) for _ in range(layers)
        )
        self.norm = norm(d)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask` (B, 1, 1, L) or broadcastable, where some tokens are to be hidden."""
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward, each with a norm before it."""

    def __init__(self, d: int, heads: int, d_ff: int, dropout: float, norm: Norm) -> None:
        super().__init__()
        self.attend = Attention(d, heads, dropout)
        self.cross = Attention(d, heads, dropout)
        self.feed = FeedForward(d, d_ff, dropout)
        self.norms = nn.ModuleList(norm(d) for _ in range(3))
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        append: Callable[[Tensor], Tensor],
        mask: Tensor | None,
        visual: Tensor,
        bias: Callable[[Tensor], Tensor | None] | None,
        condition: Any,
    ) -> Tensor:
        """The states of x (N, T, d).

        append: what all decoded words offer, given the keys and values of x. mask: which of that
        each hypothesis sees.
        """
        extra = () if condition is None else (condition,)
        # The k hypotheses of a study become the query rows of that study.
        rows = self.norms[0](x, *extra).reshape(visual.shape[1], -1, x.shape[-1])
        words = append(self.attend.project(rows))
        x = x + self.dropout(self.attend(rows, words, mask, causal=x.shape[1] > 1).view_as(x))
        rows = self.norms[1](x, *extra).view_as(rows)
        seen = self.cross(rows, visual, None if bias is None else bias(rows))
        x = x + self.dropout(seen.view_as(x))
        return x + self.dropout(self.feed(self.norms[2](x, *extra)))


class Decoder(nn.Module):
    """`layers` pre-norm layers and a final norm, over the encoded visual tokens of a study.

    `norm` makes the three norms of each layer; they get `condition` as a second argument when one
    is given (R2Gen's conditional layer norm). `last` makes the final norm, always plain.
    """

    def __init__(
        self,
        layers: int,
        d: int,
        heads: int,
        d_ff: int,
        dropout: float = 0.1,
        norm: Norm = layer_norm,
        last: Norm | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(d, heads, d_ff, dropout, norm) for _ in range(layers)
        )
        self.norm = (last or norm)(d)

    def start(self, visual: Tensor) -> Cache:
        """The cache before the first token, one hypothesis per study; `visual` (B, L, d)."""
        layers = (cast(DecoderLayer, layer) for layer in self.layers)
        return Cache(
            History(len(self.layers)), tuple(layer.cross.project(visual) for layer in layers)
        )

    def forward(
        self,
        x: Tensor,
        cache: Cache,
        bias: CrossBias | None = None,
        condition: Any = None,
    ) -> tuple[Tensor, Cache]:
        """States (N, T, d) of the embedded tokens x (N, T, d), and the cache that holds them.

        A whole report: T tokens after `start`, one hypothesis per study. A step: T = 1, N = B x k.
        """
        if x.shape[1] > 1 and (cache.length or len(x) != cache.studies):
            raise ValueError("many tokens at once only from the start, one hypothesis per study")
        after = cache.fed(x.shape[1], len(x))
        positions, mask = slice(cache.length, after.length), after.mask()
        for i, layer in enumerate(self.layers):
            append = partial(after.history.append, i, cache.used)
            at = None if bias is None else partial(bias, i, positions)
            x = layer(x, append, mask, cache.visual[i], at, condition)
        return self.norm(x), after


def token_loss(
    head: Callable[[Tensor], Tensor],
    states: Tensor,
    tokens: Tensor,
    lengths: Tensor,
    reduction: str = "mean",
    whole: Any = None,
) -> Tensor:
    """Cross-entropy over target tokens, EOS counted, padding not; float32.

    "mean": over the tokens of the batch (R2Gen). "sum": over a report's, then mean over reports.
    head: from states to logits; on a CPU it sees the states before target tokens only, not a
    batch's padding (elsewhere, to choose rows would be to wait for the device). states (B, T - 1,
    d) after each of tokens[:, :-1]; tokens (B, T) start with BOS; lengths (B,) count BOS and EOS.
    whole: of a batch that several processes share.
    """
    real, target = predicted(tokens, lengths), tokens[:, 1:]
    if states.device.type == "cpu":
        logits, target = head(states[real]), target[real]
    else:
        logits = head(states).flatten(0, 1)
        target = target.masked_fill(~real, -100).flatten()
    apart = whole is not None or reduction == "sum"
    loss = F.cross_entropy(logits.float(), target, reduction="sum" if apart else "mean")
    if reduction == "sum":
        return loss / len(tokens)
    return loss if whole is None else loss / whole.mean(real.sum().float())


def predicted(tokens: Tensor, lengths: Tensor) -> Tensor:
    """(B, T - 1) which of tokens[:, 1:] a model is to predict: words and EOS, not padding."""
    position = torch.arange(tokens.shape[1] - 1, device=tokens.device)
    return position < lengths.unsqueeze(1) - 1
