"""Reads the tensors of a pickled `dall_e` module without running anything that the file names.

A saved module is a pickle of objects that refer to raw storages, in a zip archive (torch >= 1.6)
or one after the other (before). The unpickler here knows a table of names and calls nothing else:
modules become empty nodes, tensors become places in a storage.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

MAGIC = 0x1950A86A20F9469CFC6C  # first object of torch's older format


class Node:
    """Stands for a module: its parameters and children, and no code."""


@dataclass(frozen=True)
class View:
    """A tensor as a place in the storage `key`."""

    key: str
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def of(self, storages: dict[str, Tensor]) -> Tensor:
        return storages[self.key].as_strided(self.size, self.stride, self.offset).clone()


def _view(key: str, offset: int, size: Any, stride: Any, *rest: Any) -> View:
    return View(key, offset, tuple(size), tuple(stride))


def _parameter(data: View, *rest: Any) -> View:
    return data


def _nothing(*rest: Any) -> None:
    return None


KNOWN: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "__builtin__.set": set,
    "builtins.set": set,
    "torch.FloatStorage": "FloatStorage",
    "torch.device": _nothing,
    "torch._utils._rebuild_tensor_v2": _view,
    "torch._utils._rebuild_parameter": _parameter,
    "dall_e.encoder.Encoder": Node,
    "dall_e.encoder.EncoderBlock": Node,
    "dall_e.utils.Conv2d": Node,
    "torch.nn.modules.activation.ReLU": Node,
    "torch.nn.modules.container.Sequential": Node,
    "torch.nn.modules.linear.Identity": Node,
    "torch.nn.modules.pooling.MaxPool2d": Node,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return KNOWN[f"{module}.{name}"]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        """("storage", type, key, ...) to its key; ("module", class, source, ...) to the class."""
        if pid[0] == "module":
            return pid[1]
        if pid[0] == "storage" and pid[1] == "FloatStorage":
            return str(pid[2])
        raise pickle.UnpicklingError(f"it holds a {pid[0]} that is not float32")


def read_pickle(path: Path | str) -> dict[str, Tensor]:
    """The state dict of the pickled encoder; ValueError for a truncated or foreign file."""
    try:
        root, storages = (_read_zip if zipfile.is_zipfile(path) else _read_legacy)(Path(path))
        if not isinstance(root, Node):
            raise ValueError(f"it holds a {type(root).__name__}")
        return {name: view.of(storages) for name, view in _views(root, "")}
    except OSError:
        raise
    except Exception as error:
        # Foreign bytes can make an unpickler fail with an exception of almost any kind.
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"{path} is not a whole pickled dall_e Encoder ({reason}); fetch it again"
        ) from None


def _views(node: Any, prefix: str) -> Iterator[tuple[str, View]]:
    for name, view in node._parameters.items():
        yield prefix + name, view
    for name, child in node._modules.items():
        yield from _views(child, f"{prefix}{name}.")


def _read_zip(path: Path) -> tuple[Any, dict[str, Tensor]]:
    with zipfile.ZipFile(path) as archive:
        found = {name.partition("/")[2]: name for name in archive.namelist()}
        with archive.open(found["data.pkl"]) as file:
            root = _Unpickler(file).load()
        data = {k.removeprefix("data/"): v for k, v in found.items() if k.startswith("data/")}
        return root, {key: _floats(archive.read(name)) for key, name in data.items()}


def _read_legacy(path: Path) -> tuple[Any, dict[str, Tensor]]:
    with path.open("rb") as file:
        if _Unpickler(file).load() != MAGIC:
            raise ValueError("no torch file")
        for _ in range(2):  # version of the format; byte order and sizes of the machine
            _Unpickler(file).load()
        root = _Unpickler(file).load()
        keys = _Unpickler(file).load()
        return root, {str(key): _storage(file) for key in keys}


def _storage(file: IO[bytes]) -> Tensor:
    (count,) = struct.unpack("<q", file.read(8))
    data = file.read(4 * count)
    if len(data) != 4 * count:
        raise ValueError("truncated")
    return _floats(data)


def _floats(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.float32)
