"""JSON and JSON Lines as rows: maps of ids, lists of objects, lists or maps side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.errors import DataError, some
from bench.formats.names import KEY, SPLIT, TEXT, is_id, is_known, is_text
from bench.formats.rows import SPLIT_NAMES, Row, Rows

ANNOTATION = "R2Gen's annotation"
_FEW = 8  # lists of unknown names side by side; more are a map of ids


def read(path: Path, text: str) -> Rows:
    """The rows of a JSON file; of one object a line, too, where it is that."""
    try:
        found = json.loads(text, object_pairs_hook=lambda pairs: _map(path, pairs))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and len(text.strip().split("\n")) > 1:
            return read_lines(path, text)
        raise DataError(f"{path}, line {error.lineno}: {error.msg}", "mend the JSON") from None
    if isinstance(found, list):
        return Rows(path, "a JSON list", tuple(_listed(path, found)))
    if not isinstance(found, dict):
        raise DataError(
            f"{path} holds one {type(found).__name__}", 'give {"study id": "report", ...}'
        )
    return _mapped(path, found)


def read_lines(path: Path, text: str) -> Rows:
    """The rows of JSON Lines; blank lines are passed over."""
    return Rows(path, "JSON Lines", tuple(_lines(path, text)))


def _lines(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line, object_pairs_hook=lambda pairs: _map(path, pairs))
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}, line {number}: {error.msg}", "JSON Lines hold one JSON object a line"
            ) from None
        yield _entry(path, f"line {number}", entry)


def _map(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; one key twice is refused, where `json` would keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        doubled = [key for key in found if keys.count(key) > 1]
        raise DataError(f"{path}: keys given twice: {some(doubled)}", "keep one entry per study")
    return found


def _listed(path: Path, entries: list[Any]) -> Iterator[Row]:
    for number, entry in enumerate(entries, start=1):
        yield _entry(path, f"entry {number}", entry)


def _entry(path: Path, place: str, entry: Any) -> Row:
    if isinstance(entry, dict):
        return Row(place, entry)
    if isinstance(entry, str) or entry is None:
        return Row(place, {TEXT: entry})
    raise DataError(
        f"{path}, {place}: a {type(entry).__name__}, neither a report nor an object",
        'give [{"study_id": "1", "report": "..."}, ...]',
    )


def _mapped(path: Path, found: dict[str, Any]) -> Rows:
    """A map is recognised by its names: of splits, of fields, or else of studies."""
    lists = {key: value for key, value in found.items() if isinstance(value, list)}
    named = {key: value for key, value in found.items() if is_known(key)}
    if lists and set(found) <= set(SPLIT_NAMES) and _are_entries(lists):
        return _annotation(path, lists)
    if len(named) == 1 and is_text(*named) and _is_file(*named.values()):
        return _within(path, *named.items())
    if len(named) > 1 and all(isinstance(value, dict) for value in named.values()):
        return _side_by_side(path, named)
    long = {name: value for name, value in lists.items() if len(value) > 1}
    tables = bool(long) and len(found) <= _FEW and _are_entries(long) and not _has_digit(long)
    if not tables and lists and len(lists) == len(found) and _are_columns(lists):
        return _columns(path, lists)
    if named and not any(isinstance(value, (list, dict)) for value in found.values()):
        return Rows(path, "one JSON object", (Row("the object", found),))
    if len(found) <= len(lists) + 3 and (inner := lists.get("annotations")):  # COCO's captions
        return Rows(path, "COCO's annotations", tuple(_listed(path, inner)))
    if tables:
        raise DataError(
            f"{path}: lists of objects under {some(long)}",
            "write the list that is meant alone into a file: [{...}, ...]",
        )
    return Rows(path, "a JSON map of ids", tuple(_keyed(path, found)))


def _has_digit(names: Iterable[str]) -> bool:
    """Whether one of the names is rather an id."""
    return any(letter.isdigit() for name in names for letter in name)


def _are_entries(lists: Mapping[str, list[Any]]) -> bool:
    return all(isinstance(entry, dict) for values in lists.values() for entry in values)


def _is_file(value: Any) -> bool:
    """Whether a value holds many reports: a map of ids, or a list of objects."""
    if isinstance(value, dict):
        return all(isinstance(v, (str, list, dict)) or v is None for v in value.values())
    return isinstance(value, list) and bool(value) and _are_entries({"": value})


def _within(path: Path, item: tuple[str, Any]) -> Rows:
    """{"model": ..., "predictions": {...}}: what is under the known name."""
    name, value = item
    if isinstance(value, list):
        return Rows(path, f"a JSON list in {name}", tuple(_listed(path, value)))
    return Rows(path, f"a JSON map of ids in {name}", tuple(_keyed(path, value)))


def _side_by_side(path: Path, maps: Mapping[str, dict[str, Any]]) -> Rows:
    """{"gts": {"1": ...}, "res": {"1": ...}}: maps of one set of ids.

    Where one of them is the ids, the keys are but numbers of rows, as pandas' to_json writes them.
    """
    ids = list(next(iter(maps.values())))
    for name, found in maps.items():
        if strange := sorted(set(found) ^ set(ids)):
            raise DataError(
                f"{path}: ids that {name} or {next(iter(maps))} alone has: {some(strange)}",
                "give every study in each map",
            )
    numbers = any(is_id(name) for name in maps)
    rows = (
        Row(f"key {i!r}", ({} if numbers else {KEY: i}) | {name: m[i] for name, m in maps.items()})
        for i in ids
    )
    return Rows(path, f"JSON maps {' and '.join(maps)}", tuple(rows))


def _are_columns(lists: Mapping[str, list[Any]]) -> bool:
    """Lists whose names are fields; not a map of ids whose reports are lists of one, as the COCO
    scorers take them."""
    if any(is_known(name) for name in lists):
        return True
    return len(lists) <= _FEW and any(len(values) > 1 for values in lists.values())


def _annotation(path: Path, splits: Mapping[str, list[Any]]) -> Rows:
    entries = [{**e, SPLIT: name} for name, found in splits.items() for e in found]
    return Rows(path, ANNOTATION, tuple(_listed(path, entries)))


def _columns(path: Path, lists: Mapping[str, list[Any]]) -> Rows:
    """{"references": [...], "hypotheses": [...]}: entry i of each list is of report i."""
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise DataError(f"{path}: lists of different lengths: {said}", "give one entry per study")
    rows = zip(*lists.values(), strict=True)
    named = (dict(zip(lists, values, strict=True)) for values in rows)
    entries = (Row(f"entry {i}", fields) for i, fields in enumerate(named, start=1))
    return Rows(path, f"JSON lists {' and '.join(lists)}", tuple(entries))


def _keyed(path: Path, found: Mapping[str, Any]) -> Iterator[Row]:
    for key, value in found.items():
        while isinstance(value, list) and len(value) == 1:  # as the COCO scorers take them
            value = value[0]
        if isinstance(value, list):  # several texts: refused where they are read
            yield Row(f"key {key!r}", {KEY: key, TEXT: value})
            continue
        row = _entry(path, f"key {key!r}", value)
        yield Row(row.place, {KEY: key, **row.fields})
