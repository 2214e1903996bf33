"""What a caller gives to `bench.score`: lists, generators, maps, arrays, columns of a table.

Whatever is none of these is answered by the argument's name, before anything is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from bench.errors import DataError

_LISTS = 'give a list of texts ["...", "..."], or a map {"study id": "..."}'


def texts(name: str, given: Any) -> Mapping[str, str]:
    """Study id -> text; the numbers from 1 for what has an order and no ids.

    None and NaN among the texts (a table's empty cell) are empty reports.
    """
    if isinstance(given, Mapping):
        return _named(name, given)
    found = listed(name, given)
    return {str(i): _text(f"{name}[{i - 1}]", text) for i, text in enumerate(found, start=1)}


def listed(name: str, given: Any, hint: str = _LISTS) -> list[Any]:
    """The elements of anything that has an order."""
    if isinstance(given, (str, bytes)):
        raise DataError(f"{name} is one text", hint)
    if hasattr(given, "columns"):
        raise DataError(f"{name} is a table", "give one of its columns")
    if isinstance(given, (set, frozenset)):
        raise DataError(f"{name} is a set, which has no order", hint)
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise DataError(f"{name} is {_kind(given)}", hint)
    try:
        return list(given.tolist() if hasattr(given, "tolist") else given)
    except TypeError:  # an array without dimensions
        raise DataError(f"{name} is {_kind(given)} of one element", hint) from None


def _kind(given: Any) -> str:
    return "None" if given is None else f"of type {type(given).__name__}"


def _named(name: str, given: Mapping[Any, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, text in given.items():
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            raise DataError(
                f"{name}: the id {key!r} is {_kind(key)}", "ids are texts or whole numbers"
            )
        if str(key) in found:
            raise DataError(f"{name}: the id {key!r} is given twice, as text and number", "")
        found[str(key)] = _text(f"{name}[{key!r}]", text)
    return found


def _text(place: str, text: Any) -> str:
    if isinstance(text, str):
        return str(text)  # numpy's too
    if text is None or (isinstance(text, float) and math.isnan(text)) or str(text) == "<NA>":
        return ""
    raise DataError(f"{place} is {_kind(text)}: {str(text)[:40]}", "give each report as a text")


def refuse_other_index(predictions: Any, references: Any) -> None:
    """Two columns of tables (pandas' Series) whose rows are named alike, but in another order."""
    sides = [getattr(side, "index", None) for side in (predictions, references)]
    if any(side is None or callable(side) for side in sides):
        return
    names = [list(side) for side in sides]  # type: ignore[arg-type]
    if names[0] != names[1]:
        raise DataError(
            "predictions and references have other indices",
            "match them by index: predictions.to_dict(), references.to_dict(); or by place: "
            "predictions.tolist(), references.tolist()",
        )


def names(name: str, given: Any, known: Collection[str] | None = None) -> list[str]:
    """Names of metrics or treatments."""
    example = f'["{next(iter(known))}"]' if known else '["BLEU", "CIDEr"]'
    found = listed(name, given, f"give a list: {example}")
    for i, value in enumerate(found):
        if not isinstance(value, str):
            raise DataError(f"{name}[{i}] is {_kind(value)}", f"give names: {example}")
    return found


def refuse_type(name: str, given: Any, kinds: tuple[type, ...], wanted: str) -> None:
    """DataError for a plain argument of another type."""
    if not isinstance(given, kinds):
        raise DataError(f"{name} is {_kind(given)}", f"give {wanted}")


def refuse_uncallable(name: str, given: Callable[..., Any]) -> None:
    """DataError for what cannot be called."""
    if not callable(given):
        raise DataError(f"{name} is {_kind(given)}", "give a function (done, total)")
