"""Frozen dataclasses as plain data and back: the canonical JSON that digests are of."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from bench.errors import BenchError, unknown

T = TypeVar("T")
DEEPEST = 32  # levels of what may be anything


def to_dict(value: Any) -> Any:
    """Dataclasses, mappings and tuples as plain dicts and lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: to_dict(getattr(value, name)) for name in _told(value)}
    if isinstance(value, Mapping):
        return {str(k): to_dict(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_dict(v) for v in value]
    return value


def _told(value: Any) -> list[str]:
    later = {f.name: f.default for f in dataclasses.fields(value) if "later" in f.metadata}
    names = (f.name for f in dataclasses.fields(value))
    return [n for n in names if n not in later or getattr(value, n) != later[n]]


def canonical_json(value: Any) -> str:
    """Sorted keys, no white space, ASCII only: equal data give equal bytes."""
    return json.dumps(to_dict(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """sha256 hex of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def from_dict(cls: type[T], data: Mapping[str, Any], where: str = "") -> T:
    """A frozen dataclass from plain data; unknown keys and wrong types are a user's error."""
    if not isinstance(data, Mapping):
        raise BenchError(f"{where or cls.__name__}: expected a mapping, got {data!r:.80}")
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in data:
        if key not in names:
            raise unknown(f"key in {where or cls.__name__}", str(key), names)
    values = {k: _convert(hints[k], v, f"{where}.{k}" if where else k) for k, v in data.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise BenchError(f"{where or cls.__name__}: {error}") from None


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        hint = next(a for a in arguments if a is not type(None))
        return _convert(hint, value, where)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise BenchError(f"{where}: expected a mapping, got {value!r}")
        return from_dict(typing.cast(type, hint), value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise BenchError(f"{where}: expected a list, got {value!r}")
        item = arguments[0]
        return tuple(_convert(item, v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise BenchError(f"{where}: expected a mapping, got {value!r}")
        return {str(k): _convert(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if hint is Any:
        _refuse_depth(value, where)
        return value
    return _scalar(hint, value, where)


def _refuse_depth(value: Any, where: str, left: int = DEEPEST) -> None:
    """BenchError for lists and mappings inside each other that nobody wrote by hand."""
    if isinstance(value, (Mapping, list, tuple)):
        if not left:
            raise BenchError(f"{where}: more than {DEEPEST} levels deep")
        for item in value.values() if isinstance(value, Mapping) else value:
            _refuse_depth(item, where, left - 1)


def _scalar(hint: type, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as a string
        try:
            return float(value)
        except ValueError:
            pass
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise BenchError(f"{where}: expected {hint.__name__}, got {value!r}")
    return value
