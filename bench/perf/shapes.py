"""FLOPs of work on the meta device, where a shape that came up before is not worked out again.

There torch finds the shape of a sum or a product in Python, in a tenth of a millisecond or more. A
model repeats itself, by layers, words and hypotheses: what an operation gave for such tensors
before is what it gives now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from bench.perf.elsewhere import Trace

PLAIN = (bool, int, float, str, torch.dtype, torch.device, torch.layout, torch.memory_format,
         type(None))  # fmt: skip


class Shapes(TorchDispatchMode):
    """`total`: FLOPs of what runs inside, by torch's formulas as `bench.engine.flops` has them.
    `started`: operations that start a kernel on a GPU."""

    known: ClassVar[dict[Any, tuple[Any, int]]] = {}  # what results look like, and their FLOPs

    def __init__(self) -> None:
        super().__init__()
        self.total = self.started = 0
        self.trace = Trace()  # answers what asks a tensor for its value

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.is_view:  # cheap as it is
            return func(*args, **kwargs)
        self.started += 1
        key = _key(func, args, kwargs)
        if key in self.known:
            form, flops = self.known[key]
            self.total += flops
            return _made(form)
        out = self.trace.__torch_dispatch__(func, types, args, kwargs)
        formula: Callable[..., int] | None = flop_registry.get(func._overloadpacket)
        flops = formula(*args, **kwargs, out_val=out) if formula else 0
        self.total += flops
        if key is not None and not _shares((args, kwargs), out):
            self.known[key] = _form(out), flops
        return out


def _key(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What the results' shapes depend on; None of an operation that does more than make tensors."""
    if not _makes(func):
        return None
    try:
        return func, _form(args), _form(tuple(kwargs.items()))
    except TypeError:
        return None


@cache
def _makes(func: Any) -> bool:
    """Whether an operation makes new tensors of those it is given: no view, nothing in place."""
    schema = func._schema
    everything = (*schema.arguments, *schema.returns)
    tensors = all(str(result.type) == "Tensor" for result in schema.returns)
    return tensors and bool(schema.returns) and not any(x.alias_info for x in everything)


class _Form(tuple[Any, ...]):
    """(shape, stride, dtype) of a tensor on the meta device."""

    __slots__ = ()


def _form(value: Any) -> Any:
    """A value without what no shape depends on; TypeError where that is not known."""
    if isinstance(value, Tensor) and value.is_meta:
        return _Form((value.shape, value.stride(), value.dtype))
    if isinstance(value, (tuple, list)):
        return tuple(map(_form, value))
    if isinstance(value, PLAIN):
        return type(value), value  # 1 and 1.0 are equal and make other dtypes
    raise TypeError(type(value))


def _made(form: Any) -> Any:
    """Results that look as `form` says."""
    if isinstance(form, _Form):
        shape, stride, dtype = form
        return torch.empty_strided(shape, stride, dtype=dtype, device="meta")
    return None if form == (type(None), None) else tuple(map(_made, form))


def _shares(given: Any, out: Any) -> bool:
    """Whether a result is in the memory of an argument, as some are whose signature hides it; or
    is on no meta device."""
    before = {x.untyped_storage()._cdata for x in _tensors(given)}
    found = list(_tensors(out))
    return any(not x.is_meta or x.untyped_storage()._cdata in before for x in found) or not found


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
