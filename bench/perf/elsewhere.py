"""What a model would do on an accelerator, found without one: its operations on the meta device.

There a tensor has a shape and no values. As on a GPU it is not on the CPU, so that the code takes
the way of a GPU and a forgotten CPU tensor shows; and whatever asks a tensor for a value, which
makes a GPU wait, has to be answered here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental import _config
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.engine.decode import generate
from bench.model import Batch
from bench.spec import DecodeSpec

# aten operations without a deterministic CUDA kernel, by the name under which the documentation of
# `torch.use_deterministic_algorithms` says that they throw. (Of EmbeddingBag only mode "max".)
REFUSED: Mapping[str, tuple[str, ...]] = {
    "torch.nn.AvgPool3d": ("avg_pool3d_backward",),
    "torch.nn.AdaptiveAvgPool2d": ("_adaptive_avg_pool2d_backward",),
    "torch.nn.AdaptiveAvgPool3d": ("_adaptive_avg_pool3d_backward",),
    "torch.nn.AdaptiveMaxPool2d": ("adaptive_max_pool2d_backward",),
    "torch.nn.FractionalMaxPool2d": ("fractional_max_pool2d_backward",),
    "torch.nn.FractionalMaxPool3d": ("fractional_max_pool3d_backward",),
    "torch.nn.MaxUnpool1d": ("max_unpool2d",),
    "torch.nn.MaxUnpool2d": ("max_unpool2d",),
    "torch.nn.MaxUnpool3d": ("max_unpool3d",),
    "torch.nn.functional.interpolate": (
        "upsample_linear1d_backward",
        "upsample_bilinear2d_backward",
        "_upsample_bilinear2d_aa_backward",
        "upsample_bicubic2d_backward",
        "_upsample_bicubic2d_aa_backward",
        "upsample_trilinear3d_backward",
    ),
    "torch.nn.ReflectionPad1d": ("reflection_pad1d_backward",),
    "torch.nn.ReflectionPad2d": ("reflection_pad2d_backward",),
    "torch.nn.ReflectionPad3d": ("reflection_pad3d_backward",),
    "torch.nn.NLLLoss": ("nll_loss2d_forward", "nll_loss2d_backward"),
    "torch.nn.CTCLoss": ("_ctc_loss_backward",),
    "torch.nn.EmbeddingBag": ("_embedding_bag_dense_backward",),
    "torch.Tensor.put_": ("put_", "put"),
    "torch.histc": ("histc",),
    "torch.bincount": ("bincount",),
    "torch.median": ("median",),
    "torch.nn.functional.grid_sample": ("grid_sampler_2d_backward", "grid_sampler_3d_backward"),
    "torch.Tensor.scatter_reduce": ("scatter_reduce",),
    "torch.Tensor.resize_": ("resize_",),
}
BACK = ("to", "_to_copy", "copy_")  # operations that may move a tensor between devices


@dataclass
class Trace(TorchDispatchMode):
    """What runs inside. operations: names, with overloads ("aten.mm.default"). waits: those that
    ask a device for a value. strays: operations on a CPU tensor, alone or beside one elsewhere."""

    operations: set[str] = field(default_factory=set)
    waits: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__ if hasattr(func, "overloadpacket") else str(func)
        self.operations.add(str(func))
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        there = [x for x in given if x.is_meta]
        if name not in BACK and any(x.dim() and not x.is_meta for x in given):
            self.strays.append(str(func))
        if there and (name in ANSWERS or _chooses(name, given)):
            self.waits.append(str(func))
        if there and name in BACK and torch.device("cpu") in (*args, *kwargs.values()):
            self.waits.append(str(func))
            return torch.zeros(there[0].shape, dtype=there[0].dtype)
        answer = ANSWERS.get(name) if there else None
        return (answer or func)(*args, **kwargs)

    @property
    def refused(self) -> dict[str, list[str]]:
        """Of the operations those that a deterministic run on CUDA would stop at."""
        ran = {name.split(".")[1] for name in self.operations if name.startswith("aten.")}
        found = {published: sorted(ran.intersection(names)) for published, names in REFUSED.items()}
        return {published: names for published, names in found.items() if names}


def _chooses(name: str, given: Sequence[Tensor]) -> bool:
    """Whether the number of results depends on values: where is a mask true?"""
    index = name.startswith("index") and any(x.dtype == torch.bool for x in given[1:])
    return name in ("nonzero", "masked_select") or index


def _unique(x: Tensor, *rest: Any, **others: Any) -> tuple[Tensor, Tensor, Tensor]:
    """As if all were different."""
    flat = x.flatten()
    return flat, torch.empty_like(x, dtype=torch.long), torch.empty_like(flat, dtype=torch.long)


def _unique_rows(x: Tensor, dim: int, *rest: Any, **others: Any) -> tuple[Tensor, Tensor, Tensor]:
    count = torch.empty(x.shape[dim], dtype=torch.long, device=x.device)
    return x.clone(), count, count.clone()


def _scalar(x: Tensor) -> Any:
    return {torch.bool: False}.get(x.dtype, 1.0 if x.is_floating_point() else 1)


# What a tensor without values says when it is asked for them.
ANSWERS: Mapping[str, Callable[..., Any]] = {
    "_local_scalar_dense": _scalar,
    "item": _scalar,  # in inference mode
    "is_nonzero": lambda x: False,
    "equal": lambda a, b: True,
    "_unique2": _unique,
    "unique_dim": _unique_rows,
    "unique_consecutive": _unique,
}


# --- a model's work ------------------------------------------------------------------------------


@contextmanager
def there(model: nn.Module) -> Iterator[None]:
    """Inside, a model is on the meta device, its values gone."""
    model.to("meta")
    autocast = torch.autocast
    torch.autocast = _autocast  # type: ignore[misc, assignment]  # it knows no meta device
    try:
        with _config.patch(meta_nonzero_assume_all_nonzero=True):  # type: ignore[attr-defined]
            yield
    finally:
        torch.autocast = autocast  # type: ignore[misc]


@contextmanager
def moved(model: nn.Module, batch: Batch) -> Iterator[Batch]:
    """Inside, model and batch are on the meta device; afterwards the model has its values again."""
    model.loss(batch)  # type: ignore[operator]  # what is built at the first call is built of values
    values = {k: v.clone() for k, v in model.state_dict().items()}
    with there(model):
        yield replace(
            batch,
            images=batch.images.to("meta"),
            tokens=batch.tokens.to("meta"),
            lengths=batch.lengths.to("meta"),
        )
    model.to_empty(device="cpu")
    model.load_state_dict(values, strict=False)


def _autocast(kind: str, **options: Any) -> AbstractContextManager[Any]:
    return nullcontext() if kind == "meta" else torch.amp.autocast_mode.autocast(kind, **options)


def trained(model: Any, batch: Batch) -> Trace:
    """Forward and backward of all terms of a training step."""
    model.train()
    with moved(model, batch) as far, Trace() as trace:
        terms = model.loss(far)
        torch.stack(list(terms.values())).sum().backward()
    model.zero_grad(set_to_none=True)
    return trace


def decoded(model: Any, batch: Batch, specs: Sequence[DecodeSpec]) -> Trace:
    """Reports by each way of decoding, and the likelihoods of given ones."""
    model.eval()
    with moved(model, batch) as far, Trace() as trace:
        for spec in specs:
            generate(model, far.images, spec)
        if hasattr(model, "log_probs"):
            with torch.no_grad():
                model.log_probs(far)
    return trace
