"""Types and ranges of settings: one schema, on the fields of the specs and in the YAML files.

A field of a spec says its range (`within`); a key of the configuration has the type of the YAML's
value, and a parameter of the project's models the range of its name (`PARAMETERS`); an option of a
command line has its own (`ranged`). All are checked before anything is named after a setting,
planned or computed.
"""

from __future__ import annotations

import argparse
import math
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from typing import Any

from bench.errors import BenchError, unknown

RANGE = "range"
SCALARS = (bool, int, float, str)
NEEDED = ("", "dataset.", "budget.", "model.")  # where no setting may be null that has a value
OF_FIELDS: Mapping[str, tuple[float, float]] = {"rates": (0.0, 1e3)}  # that hold several numbers


def within(low: float, high: float, default: Any = MISSING, more: Mapping[str, Any] = {}) -> Any:
    """A dataclass field of numbers from `low` to `high`, ends included."""
    return field(default=default, metadata={RANGE: (low, high), **more})


def refuse_odd(value: Any, where: str = "") -> None:
    """BenchError that names a field of a spec, or of one in it, of another type or range."""
    hints = typing.get_type_hints(type(value))
    for one in fields(value):
        name = f"{where}.{one.name}".lstrip(".")
        for item in leaves(getattr(value, one.name)):
            if is_dataclass(item):
                refuse_odd(item, name)
            elif isinstance(item, SCALARS):
                _refuse_type(name, item, hints[one.name])
                if one.name == "name":
                    refuse_no_name(name, item)
                _refuse_range(name, item, one.metadata.get(RANGE, OF_FIELDS.get(one.name)))


def leaves(value: Any) -> Iterator[Any]:
    """What mappings and sequences in each other hold at last."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def _refuse_type(name: str, value: Any, hint: Any) -> None:
    """Of a field that is one plain value; what holds several was converted with its types."""
    taken = tuple(t for t in (hint, *typing.get_args(hint)) if t in SCALARS)
    plain = hint in SCALARS or type(None) in typing.get_args(hint)
    if plain and taken and not is_a(value, *taken):
        raise expected(name, taken[0], value)


def is_a(value: Any, *kinds: type) -> bool:
    """Whether a value is of one of these types; a whole number is a number, true is neither."""
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or (float in kinds and isinstance(value, int))


def refuse_no_name(key: str, name: object) -> None:
    """BenchError for what cannot be a folder's name: files are named after it."""
    if not re.fullmatch(r"[\w][\w .+()@-]*", str(name)):
        raise BenchError(f"{key}={name} is no name", "give letters, digits, dots, - and _")


def _refuse_range(name: str, value: Any, ends: tuple[float, float] | None) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise BenchError(f"{name}={value:g}", "give a finite number")
    if ends is not None and not isinstance(value, (str, bool)) and not ends[0] <= value <= ends[1]:
        raise BenchError(f"{name}={value:g}", f"give a number from {ends[0]:g} to {ends[1]:g}")


def expected(name: str, kind: type, value: Any) -> BenchError:
    """The error for a value of another type."""
    called = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[kind]
    return BenchError(f"{name}={value}: expected {called}", f"write {name}=VALUE with {called}")


# --- configurations --------------------------------------------------------------------------


def refuse_other_types(given: Mapping[str, Any], known: Mapping[str, Any], where: str = "") -> None:
    """BenchError for a plain value where `known`, the YAML files' own, has one of another type."""
    for key, value in given.items():
        name, before = f"{where}{key}", known.get(key)
        if isinstance(value, Mapping) and is_a(before, bool, int, float):
            raise expected(name, type(before), value)
        if isinstance(value, Mapping):
            inner = before if isinstance(before, Mapping) else {}
            refuse_other_types(value, inner, f"{name}.")
        elif isinstance(before, Mapping) and before and value is not None:
            raise of_several(name, value, before)
        elif value is None and before is not None and where in NEEDED:
            raise needed(name)
        elif isinstance(value, float) and not math.isfinite(value):
            raise BenchError(f"{name}={value:g}", "give a finite number")
        elif isinstance(value, list) and is_a(before, bool, int, float):
            raise expected(name, type(before), value)
        elif isinstance(value, SCALARS) and isinstance(before, SCALARS):
            _refuse_other(name, value, type(before))


def needed(name: str) -> BenchError:
    """For a null where only a value has a meaning."""
    return BenchError(f"{name}=null: {name} is needed", "leave it out, or give a value")


def of_several(name: str, value: Any, known: Mapping[str, Any]) -> BenchError:
    """The error for one value where there are several."""
    return BenchError(
        f"{name}={value}: {name} is not one value but {', '.join(known)}",
        f"write {name}.{next(iter(known))}=VALUE",
    )


def _refuse_other(name: str, value: Any, kind: type) -> None:
    if kind is str and not isinstance(value, str):
        raise expected(name, str, value)
    if kind is bool and not isinstance(value, bool):
        raise expected(name, bool, value)
    if kind in (int, float) and not _is_number(value):
        raise expected(name, float, value)


def _is_number(value: Any) -> bool:
    """Whether it must be whole says its field: a rate may be written as 0."""
    if isinstance(value, str):  # YAML 1.1 reads 1e-4 as a text
        try:
            return math.isfinite(float(value))
        except ValueError:
            return False
    return not isinstance(value, bool)


# --- parameters of models --------------------------------------------------------------------

# By the last name of a setting; a whole number where both ends are whole, else any.
Range = tuple[float, float]
SIDE, WIDTH = (1, 8192), (1, 16384)
SHARE = (0.0, 1.0)
DROPPED = (0.0, 0.99)  # 1 would leave nothing
PARAMETERS: Mapping[str, Range] = {
    **dict.fromkeys(("d", "d_ff", "basis", "rows", "hidden", "dimensions", "width"), WIDTH),
    **dict.fromkeys(("layers", "depth", "blocks", "slots", "heads"), (1, 256)),
    **dict.fromkeys(("size", "resize", "patch", "upsample", "factor", "grid"), SIDE),
    **dict.fromkeys(("dropout", "visual_dropout"), DROPPED),
    **dict.fromkeys(("flip", "kl_ramp"), SHARE),
    **dict.fromkeys(("kl_weight", "usage_weight", "sharpness", "k"), (0.0, 1e6)),
    "rate": (0.0, 1e3),
    **dict.fromkeys(("views", "image_views"), (1, 64)),
    "topk": (1, 65536),
    "rank": (1, 65536),
    "codebook_size": (2, 2**20),
    "prototypes": (2, 65536),
    "pieces": (8, 2**20),
    "max_pieces": (2, 65536),
}
CHOICES: Mapping[str, tuple[str, ...]] = {  # of how an image is prepared
    "mode": ("squash", "short", "pad"),
    "evaluate": ("squash", "center"),
    "filter": ("lanczos", "bilinear"),
}
SPLIT = ("d", "width")  # what is divided among `heads` that are named beside it


def refuse_odd_parameters(given: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    """BenchError for a parameter of the project's models that is out of its range.

    What is as `known`, the YAML files' own, is not looked at.
    """
    for key, value in given.items():
        name, before = f"{where}.{key}", known.get(key)
        if isinstance(value, Mapping):
            refuse_odd_parameters(value, before if isinstance(before, Mapping) else {}, name)
        elif value is None and is_a(before, int, float) and _ends(where, key):
            raise needed(name)
        elif key in CHOICES and value not in CHOICES[key]:
            raise unknown(name, str(value), CHOICES[key])
        elif (ends := _ends(where, key)) and value != before and is_a(value, int, float):
            _refuse_parameter(name, value, ends)
    for key in SPLIT:
        if _wholes(given, key, "heads") and given[key] % given["heads"]:
            raise BenchError(
                f"{where}.{key}={given[key]} is not a multiple of {where}.heads={given['heads']}",
                f"each head has {where}.{key} / {where}.heads channels",
            )
    if _wholes(given, "size", "resize") and given["size"] > given["resize"]:
        raise BenchError(
            f"{where}.size={given['size']} is more than {where}.resize={given['resize']}",
            "images are resized first, and squares of `size` pixels are cut out of them",
        )


def _ends(where: str, key: str) -> Range | None:
    return OF_FIELDS.get(where.rpartition(".")[2]) or PARAMETERS.get(key)


def _wholes(given: Mapping[str, Any], *keys: str) -> bool:
    return all(is_a(given.get(key), int) for key in keys)


def _refuse_parameter(name: str, value: Any, ends: Range) -> None:
    if is_a(ends[0], int) and not is_a(value, int):
        raise expected(name, int, value)
    _refuse_range(name, value, ends)


# --- command lines ---------------------------------------------------------------------------


def ranged(low: float, high: float = math.inf, kind: type = int) -> Callable[[str], Any]:
    """For an argument parser: numbers from `low` to `high`."""

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            called = "a whole number" if kind is int else "a number"
            most = f" to {high:g}" if high < math.inf else " up"
            raise argparse.ArgumentTypeError(f"{text!r} is not {called} from {low:g}{most}")
        return value

    return read
