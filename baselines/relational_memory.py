"""Relational memory and memory-driven conditional layer normalisation (R2Gen, sections 3.2, 3.3).

The memory M (slots x d) is rewritten at each word, so it has to be run in order; all else is not.
What depends on the words alone is projected for a whole report at once, the gradients of the
weights are taken over all steps at once, and in decoding M is part of a hypothesis' state: one
step a word, where the published code runs the whole prefix again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def standardise(x: Tensor, eps: float = 1e-6) -> Tensor:
    """(x - mean) / (std + eps) over the last dimension, with R2Gen's unbiased std and eps outside.

    PyTorch's fused kernel divides by the biased std; what is missing is a function of the
    reciprocal that it returns. 1e-30 keeps a constant row finite: it becomes 0, as published.
    The gradient leaves out how eps's share changes with the std (a relative eps / std).
    """
    d = x.shape[-1]
    ratio = math.sqrt((d - 1) / d)
    z, _, reciprocal = torch.native_layer_norm(x, [d], None, None, 1e-30)
    return z * (ratio / (1 + eps * ratio * reciprocal.detach()))


class StdNorm(nn.Module):
    """R2Gen's hand-written layer norm: unbiased standard deviation, eps added to it."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(d))
        self.offset = nn.Parameter(torch.zeros(d))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.offset, self.gain, standardise(x))


@dataclass
class _Tape:
    """Inputs and outputs of each linear map of the memory, step by step, in `_maps` order."""

    inputs: list[list[Tensor]] = field(default_factory=lambda: [[] for _ in range(5)])
    outputs: list[list[Tensor]] = field(default_factory=lambda: [[] for _ in range(5)])


class RelationalMemory(nn.Module):
    """M' = input gate * tanh(Z) + forget gate * M, where M has attended to [M; y] to become Z."""

    def __init__(self, slots: int, d: int, heads: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.slots, self.d, self.heads, self.dropout = slots, d, heads, dropout
        self.project = nn.Linear(d, 3 * d)  # queries, keys and values
        self.out = nn.Linear(d, d)
        self.first, self.second = nn.Linear(d, d), nn.Linear(d, d)  # the MLP
        self.word_gates = nn.Linear(d, 2 * d)  # W: input gate, then forget gate
        self.memory_gates = nn.Linear(d, 2 * d)  # U
        for block in self.project.weight.split(d):
            nn.init.xavier_uniform_(block)
        for linear in (self.out, self.first, self.second, self.word_gates, self.memory_gates):
            nn.init.xavier_uniform_(linear.weight)

    def start(self, count: int) -> Tensor:
        """The first memory (count, slots, d): rows of an identity matrix, padded with zeros."""
        eye = torch.eye(
            self.slots, self.d, device=self.out.weight.device, dtype=self.out.weight.dtype
        )
        return eye.expand(count, -1, -1)

    def words(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """What embedded words y (..., d) bring: keys and values (..., 2 d), gates (..., 2 d)."""
        d = self.d
        return F.linear(y, self.project.weight[d:], self.project.bias[d:]), self.word_gates(y)

    def step(self, y: Tensor, memory: Tensor) -> Tensor:
        """The memory (N, slots, d) after the words y (N, d); without dropout."""
        return self._step(memory, *self.words(y), None, self._maps(), None)

    def forward(self, y: Tensor) -> Tensor:
        """The memories (B, T, slots, d) after each of the embedded words y (B, T, d)."""
        keep = None
        if self.training and self.dropout:
            shape = (y.shape[1], len(y), self.heads, self.slots, self.slots + 1)
            keep = F.dropout(y.new_ones(shape), self.dropout)
        weights = [x for linear in self._linears() for x in (linear.weight, linear.bias)]
        return _Scan.apply(self, keep, *self.words(y), *weights)

    def _linears(self) -> Sequence[nn.Linear]:
        return self.project, self.out, self.first, self.second, self.memory_gates

    def _maps(self) -> list[tuple[Tensor, Tensor]]:
        return [(x.weight, x.bias) for x in self._linears()]

    def _step(
        self,
        memory: Tensor,
        word: Tensor,
        gates: Tensor,
        keep: Tensor | None,
        maps: Sequence[tuple[Tensor, Tensor]],
        tape: _Tape | None,
    ) -> Tensor:
        def linear(i: int, x: Tensor) -> Tensor:
            weight, bias = maps[i]
            y = F.linear(x.to(weight.dtype), weight, bias)
            if tape is not None:
                tape.inputs[i].append(x)
                tape.outputs[i].append(y)
            return y

        n, slots, d = memory.shape
        query, slot_kv = linear(0, memory).split((d, 2 * d), dim=-1)
        both = torch.cat((slot_kv, word.unsqueeze(1)), dim=1)  # keys and values of [M; y]
        keys, values = both.view(n, slots + 1, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        query = query.view(n, slots, self.heads, -1).transpose(1, 2)
        weights = (query @ keys.mT * (d // self.heads) ** -0.5).softmax(-1)
        if keep is not None:
            weights = weights * keep.to(weights.dtype)
        mixed = (weights @ values).transpose(1, 2).reshape(n, slots, d)
        attended = memory + linear(1, mixed)
        changed = attended + linear(3, linear(2, attended).relu()).relu()
        # The memory itself stays in the weights' own precision, float32 under autocast too.
        opened = (gates.unsqueeze(1) + linear(4, memory.tanh())).to(memory.dtype).sigmoid()
        enter, forget = opened.chunk(2, dim=-1)
        return enter * changed.tanh() + forget * memory


class _Scan(torch.autograd.Function):
    """The memory over a report. Backward takes each weight's gradient once, over all steps.

    PyTorch would add 59 outer products to each weight's gradient, one a step, and spend most of
    its time in reading and writing those gradients; one product over all steps does it here.
    """

    @staticmethod
    def forward(
        ctx: Any,
        module: RelationalMemory,
        keep: Tensor | None,
        word: Tensor,
        gates: Tensor,
        *weights: Tensor,
    ) -> Tensor:
        # Under autocast the words arrive in bf16: so do the weights, cast once for all steps.
        low = [x.detach().to(word.dtype) for x in weights]
        maps = list(zip(low[::2], low[1::2], strict=True))
        tracked = any(ctx.needs_input_grad)
        tape = _Tape() if tracked else None
        memory = module.start(len(word)).requires_grad_(tracked)  # so that all outputs do
        states = []
        with torch.set_grad_enabled(tracked), torch.autocast(word.device.type, enabled=False):
            word, gates = (x.detach().requires_grad_(tracked) for x in (word, gates))
            # Not word[:, t]: each index would fill a whole gradient with zeros in backward.
            for t, (y, gate) in enumerate(zip(word.unbind(1), gates.unbind(1), strict=True)):
                kept = None if keep is None else keep[t]
                memory = module._step(memory, y, gate, kept, maps, tape)
                states.append(memory)
            result = torch.stack(states, dim=1)
        ctx.inner = (result, word, gates, tape)
        ctx.dtype = weights[0].dtype
        return result.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        result, word, gates, tape = ctx.inner
        del ctx.inner
        outputs = [y for ys in tape.outputs for y in ys]
        back = torch.autograd.grad(result, (word, gates, *outputs), grads[0])
        steps = len(tape.outputs[0])
        weights: list[Tensor] = []
        for i, xs in enumerate(tape.inputs):
            dy = torch.cat(back[2 + i * steps : 2 + (i + 1) * steps]).flatten(0, 1)
            x = torch.cat(xs).flatten(0, 1).detach().to(dy.dtype)
            weights += [(dy.mT @ x).to(ctx.dtype), dy.sum(0, dtype=ctx.dtype)]
        return None, None, back[0], back[1], *weights


class MemoryNorms(nn.Module):
    """gamma + MLP(m) and beta + MLP(m) of all conditional norms of a decoder, in two products.

    m is the flattened memory; gamma, beta and every MLP's weights are stacked, 2 a norm (gamma
    first), norms in the order in which a decoder makes them.
    """

    def __init__(self, width: int, d: int, norms: int) -> None:
        super().__init__()
        self.maps = 2 * norms
        self.base = nn.Parameter(torch.ones(norms, 2, d))
        self.hidden = nn.Parameter(torch.empty(self.maps, d, width))
        self.hidden_bias = nn.Parameter(torch.full((self.maps, d), 0.1))
        self.out = nn.Parameter(torch.empty(self.maps, d, d))
        self.out_bias = nn.Parameter(torch.full((self.maps, d), 0.1))
        with torch.no_grad():
            self.base[:, 1] = 0
            for matrix in (*self.hidden, *self.out):
                nn.init.xavier_uniform_(matrix)

    def forward(self, memory: Tensor, rows: Tensor | None = None) -> tuple[Tensor, ...]:
        """gamma and beta (N, T, d) of each norm, in order; `memory` (N, T, slots, d).

        rows: (M,) which of the N are wanted, any number of times: then (M, T, d).
        """
        n, t = memory.shape[:2]
        flat = memory.flatten(0, 1).flatten(1)
        # Weights on the left: with a beam's few rows, BLAS runs this way up to twice as fast.
        hidden = torch.addmm(
            self.hidden_bias.view(-1, 1), self.hidden.flatten(0, 1), flat.mT
        ).relu()
        hidden = hidden.unflatten(0, (self.maps, -1)).mT
        bias = (self.base.flatten(0, 1) + self.out_bias).unsqueeze(1)
        maps = torch.baddbmm(bias, hidden, self.out.mT).unflatten(1, (n, t))
        return (maps if rows is None else maps.index_select(1, rows)).unbind()


class ConditionalNorm(nn.Module):
    """The norm at `place` among a decoder's: standardised, then gamma and beta of `MemoryNorms`."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place

    def forward(self, x: Tensor, condition: Sequence[Tensor]) -> Tensor:
        gamma, beta = condition[2 * self.place], condition[2 * self.place + 1]
        return torch.addcmul(beta, gamma, standardise(x))
