"""Several processes as one batch: gathering and batch statistics that carry gradients.

Every term of the loss is a mean over a process's own samples, and the gradients that arrive here
are summed over processes. Averaging parameter gradients over processes, as data-parallel training
does, therefore gives the gradient of one process that holds the whole batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def several() -> bool:
    """Whether more than one process trains this model."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def offset(rows: int) -> int:
    """Where this process's samples begin in a gathered batch."""
    return dist.get_rank() * rows if several() else 0


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.rows = len(tensor)
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.narrow(0, offset(ctx.rows), ctx.rows)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradients[0])


def gather(tensor: Tensor) -> Tensor:
    """Samples (B, ...) of every process in rank order; B must be the same on each."""
    return _Gather.apply(tensor) if several() else tensor


class BatchNorm(_BatchNorm):
    """Batch norm whose training statistics cover all processes.

    Equal to torch's in a single process. Torch's own SyncBatchNorm refuses to run on a CPU.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any (B, C, ...) is accepted."""

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and several()):
            return super().forward(input)
        axes = [0, *range(2, input.dim())]
        shape = [1, -1, *[1] * (input.dim() - 2)]
        count = input.numel() // input.shape[1] * dist.get_world_size()
        mean = _Sum.apply(input.sum(axes)) / count
        centred = input - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1))
        output = centred * torch.rsqrt(variance + self.eps).view(shape)
        if not self.affine:
            return output
        return output * self.weight.view(shape) + self.bias.view(shape)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            raise ValueError("batch norm without running statistics cannot be shared")
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


def share_statistics(module: nn.Module) -> None:
    """Replace every batch norm inside `module` by one over all processes; names stay."""
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, _shared(child))
        else:
            share_statistics(child)


def _shared(norm: _BatchNorm) -> BatchNorm:
    shared = BatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine)
    shared.load_state_dict(norm.state_dict())
    return shared.train(norm.training)
