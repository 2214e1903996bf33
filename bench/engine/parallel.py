"""Several processes, started by torchrun, that train one model as one process would.

The batch of a spec is the whole batch, of which each process holds an equal part, so the number of
processes is not part of a run's identity. What makes their numbers those of one process:

- each draws order, crops and flips of the whole batch, and keeps its own rows (`World.rows`);
- gradients are averaged, so a term is a mean over its own studies, a mean over anything else
  divides by `World.mean` of its count (of words), and a contrast between studies sees all of them
  (`World.gather`): a model finds both in `Batch.whole`;
- batch norm's training statistics are those of the whole batch (`share_statistics`);
- FLOPs are counted on the whole batch by itself (`alone`); device-seconds are summed.

Dropout noise is independent between processes: with it their runs are equal in distribution.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from bench.errors import BenchError

PATIENCE = timedelta(days=7)  # that processes wait for the first one, which validates and predicts
STRIDE = 0x9E3779B97F4A7C15  # between the noise seeds of processes: no two meet, step by step
T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes of a training. This one's `rank` is 0 to `size` - 1; rank 0 leads: it alone
    validates and writes files.

    control: a group for messages, whose members wait as long as it takes.
    """

    rank: int = 0
    size: int = 1
    control: Any = None

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @property
    def several(self) -> bool:
        return self.size > 1

    # --- what a model asks for ------------------------------------------------------------------

    def gather(self, x: Tensor) -> Tensor:
        """Rows (B, ...) of every process in rank order, with gradient; B is the same on each."""
        rows: Tensor = _Gather.apply(x, self.rank, self.size)
        return rows

    def first(self, rows: int) -> int:
        """Where this process's `rows` begin among those that `gather` gives."""
        return self.rank * rows

    def mean(self, count: Tensor) -> Tensor:
        """Mean over processes of a number that has no gradient."""
        total = count.detach().clone()
        dist.all_reduce(total)
        return total / self.size

    # --- what the loop asks for -----------------------------------------------------------------

    def rows(self, batch: int, accumulate: int) -> np.ndarray | None:
        """This process's rows of a batch: an equal part of each micro-batch; None: all of them."""
        if not self.several:
            return None
        part = batch // accumulate
        if part % self.size:
            raise BenchError(
                f"{part} studies at once cannot be divided between {self.size} processes",
                "start a number of processes that divides budget.batch / budget.accumulate",
            )
        own = part // self.size
        micro, place = np.arange(0, batch, part)[:, None], np.arange(own)[None]
        return (micro + self.first(own) + place).ravel()

    def noise(self, seed: int) -> int:
        """The seed of this process's noise; of the first process, that of one alone."""
        return (seed + self.rank * STRIDE) % 2**63

    def ready(self, objective: nn.Module) -> nn.Module:
        """The module whose gradients are averaged over processes, from rank 0's parameters."""
        if not self.several:
            return objective
        self.wait()  # first images may take hours on a new machine
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # renamed in 2.14
            return DistributedDataParallel(
                objective, broadcast_buffers=False, find_unused_parameters=True
            )

    def holding(self, objective: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Around a micro-batch: gradients are averaged in the last one alone."""
        if last or not isinstance(objective, DistributedDataParallel):
            return nullcontext()
        held: AbstractContextManager[None] = objective.no_sync()
        return held

    def sums(self, values: Tensor) -> Tensor:
        """Sum over processes, on the CPU: waits for the device."""
        if self.several:
            dist.all_reduce(values)
        return values.cpu()

    def told(self, answer: Callable[[], T]) -> T:
        """What `answer` says in the first process, in all of them."""
        if not self.several:
            return answer()
        told = [answer() if self.leads else None]
        dist.broadcast_object_list(told, src=0, group=self.control)
        return told[0]  # type: ignore[return-value]

    def wait(self) -> None:
        """Until every process is here."""
        if self.several:
            dist.barrier(self.control)


ALONE = World()
_here = ALONE


def here() -> World:
    """The processes that train together: this one, or those that it joined."""
    return _here


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Inside, this process trains together with those that torchrun started."""
    global _here
    _here = _join(device)
    try:
        yield _here
    finally:
        _here = ALONE
        dist.destroy_process_group()


def _join(device: str) -> World:
    """`device`: "cpu" (gloo) or "cuda" (NCCL)."""
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    control = dist.new_group(backend="gloo", timeout=PATIENCE)
    return World(dist.get_rank(), dist.get_world_size(), control)


def ended(world: World, word: str, grace: float = 3.0) -> list[tuple[int, str]]:
    """Who brought a training down: ranks and their words, called by each that still lives.

    Each leaves its word and looks for those of the others; who leaves none within `grace` seconds
    is dead. A rank that only lost another one gives no word of its own ("").
    """
    store = dist.distributed_c10d._get_default_store()
    store.set(f"ended/{world.rank}", word)
    found = []
    for rank in range(world.size):
        try:
            store.wait([f"ended/{rank}"], timedelta(seconds=grace))
            said = store.get(f"ended/{rank}").decode()
        except RuntimeError:  # DistStoreError: not said in time, or no store any more
            said = "killed, or its machine is gone"
        if said:
            found.append((rank, said))
    return found


class _Gather(torch.autograd.Function):
    """Gradients that arrive are summed over processes: averaging those of parameters afterwards
    gives what one process with the whole batch would have."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, rank: int, size: int) -> Tensor:
        ctx.place = (rank * len(tensor), len(tensor))
        parts = [torch.empty_like(tensor.contiguous()) for _ in range(size)]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.narrow(0, *ctx.place), None, None


# --- batch norm --------------------------------------------------------------------------------


class BatchNorm(_BatchNorm):
    """Batch norm whose training statistics cover the batch of all processes.

    Torch's own SyncBatchNorm refuses to run on a CPU.
    """

    processes = 1

    def _check_input_dim(self, input: Tensor) -> None:
        """Any (B, C, ...) is accepted."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.processes == 1:
            return super().forward(input)
        count = input.numel() // input.shape[1] * self.processes
        mean, variance = _statistics(input.detach(), count)
        self._track(mean, variance * count / (count - 1))
        output: Tensor = _Normalise.apply(
            input, self.weight, self.bias, mean, variance, self.eps, count
        )
        return output

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            raise ValueError("batch norm without running statistics cannot be shared")
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


def _axes(x: Tensor) -> list[int]:
    """All but the channels (B, C, ...)."""
    return [0, *range(2, x.dim())]


def _wide(x: Tensor) -> torch.dtype:
    """In which torch's batch norm adds up: float64 on a CPU."""
    return torch.float64 if x.device.type == "cpu" else torch.promote_types(x.dtype, torch.float32)


def _along(x: Tensor, values: Tensor) -> Tensor:
    """Values (C,) as they broadcast to x (B, C, ...)."""
    return values.view(1, -1, *[1] * (x.dim() - 2))


def _statistics(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean and variance (C,) of the `count` values of all processes."""
    mean = x.sum(_axes(x), dtype=_wide(x))
    dist.all_reduce(mean)
    mean /= count
    variance = (x - _along(x, mean)).square_().sum(_axes(x))
    dist.all_reduce(variance)
    return mean, variance / count


class _Normalise(torch.autograd.Function):
    """Torch's kernel, and the gradient that it has with these statistics.

    Not (x - mean) / std written out: where a mean is a thousand times the deviation, the last bits
    of either way are a thousandth of what comes out, and others than those of one process.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        count: int,
    ) -> Tensor:
        kept = torch.promote_types(x.dtype, torch.float32)
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt())
        ctx.count = count
        low, spread = mean.to(kept), variance.to(kept)
        return F.batch_norm(x, low, spread, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale = ctx.saved_tensors
        given, wide = gradients[0], _wide(x)
        centred = (x - _along(x, mean)).to(torch.promote_types(x.dtype, torch.float32))
        own = given.sum(_axes(x), dtype=wide), (given * centred).sum(_axes(x), dtype=wide)
        total, product = torch.stack(own)
        sums = torch.stack(own)
        dist.all_reduce(sums)
        slope = _along(x, (sums[1] / ctx.count * scale**2).to(centred.dtype))
        level = _along(x, (sums[0] / ctx.count).to(centred.dtype))
        factor = scale if weight is None else scale * weight
        back = (given - level - centred * slope) * _along(x, factor.to(centred.dtype))
        if weight is None:
            return back.to(x.dtype), *[None] * 6
        d_weight, d_bias = (product * scale).to(weight.dtype), total.to(weight.dtype)
        return back.to(x.dtype), d_weight, d_bias, *[None] * 4


def share_statistics(module: nn.Module, processes: int) -> None:
    """Replace every batch norm inside `module` by one over all processes; names and parameters
    stay."""
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, _shared(child, processes))
        else:
            share_statistics(child, processes)


def _shared(norm: _BatchNorm, processes: int) -> BatchNorm:
    shared = BatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine)
    shared._parameters, shared._buffers = norm._parameters, norm._buffers
    shared.processes = processes
    return shared.train(norm.training)


@contextmanager
def alone(model: nn.Module) -> Iterator[None]:
    """Inside, the model computes as in a single process; its buffers are put back afterwards."""
    norms = [m for m in model.modules() if isinstance(m, BatchNorm)]
    buffers = [(b, b.clone()) for b in model.buffers()]
    counts = [norm.processes for norm in norms]
    for norm in norms:
        norm.processes = 1
    try:
        yield
    finally:
        for norm, count in zip(norms, counts, strict=True):
            norm.processes = count
        for buffer, before in buffers:
            buffer.copy_(before)
