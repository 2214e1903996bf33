"""Reports by id out of a file, and predictions paired with their references.

Files without ids are paired line by line; ids are then the numbers from 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import DataError, some
from bench.formats import roles
from bench.formats.roles import RECOGNISED, Columns
from bench.formats.rows import KEY, TEXT, Row, Rows, read


@dataclass(frozen=True)
class Reports:
    """One text per study, in file order; `ids` is None where the file has none.

    `said`: what the file was taken for, in a few words. `empty`: how many texts have no words.
    `left_out`: ids of studies that lack the section asked for.
    """

    path: Path
    ids: tuple[str, ...] | None
    texts: tuple[str, ...]
    said: str
    left_out: tuple[str, ...] = ()

    @property
    def empty(self) -> int:
        return sum(not text.strip() for text in self.texts)

    def by_id(self) -> dict[str, str]:
        """Id -> text; the numbers from 1 where the file has no ids."""
        ids = self.ids or tuple(str(i + 1) for i in range(len(self.texts)))
        return dict(zip(ids, self.texts, strict=True))


@dataclass(frozen=True)
class Pairs:
    """Predictions (by id; some may be absent) and the references that they are compared with."""

    predictions: Mapping[str, str]
    references: Mapping[str, str]
    said: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def read_predictions(path: Path, columns: Columns = RECOGNISED) -> Reports:
    """The predictions of a file in any known form."""
    rows = read(path)
    return _reports(rows, roles.id_of(rows, columns), (roles.prediction_of(rows, columns),))


def read_references(path: Path, columns: Columns = RECOGNISED, split: str = "") -> Reports:
    """The references of a file in any known form."""
    rows = read(path, split)
    fields = roles.references_of(rows, columns)
    return _reports(rows, roles.id_of(rows, columns), fields)


def read_reports_of(rows: Rows, columns: Columns, fields: Sequence[str]) -> Reports:
    """The texts of these fields of rows that were read already."""
    return _reports(rows, roles.id_of(rows, columns), fields)


def read_reports(path: Path, columns: Columns = RECOGNISED, split: str = "") -> Reports:
    """The reports of a file, whoever wrote them; of two sections those that are there."""
    rows = read(path, split)
    fields = roles.reports_of(rows, columns)
    return _reports(rows, roles.id_of(rows, columns), fields, whole=False)


def read_pairs(
    predictions: Path, references: Path | None, columns: Columns = RECOGNISED, split: str = ""
) -> Pairs:
    """Predictions with the references of another file, or of fields of the same one.

    DataError where ids do not fit, or where one file has ids and the other has not.
    """
    if references is None:
        return _of_one_file(predictions, columns)
    made = read_predictions(predictions, columns)
    # The columns of a user are of the predictions' file, but for the reference.
    own = Columns(reference=columns.reference, section=columns.section)
    truth = read_references(references, own, split)
    said = (made.said, truth.said)
    if made.ids is None and truth.ids is None:
        _same_length(made, truth)
    elif made.ids is None or truth.ids is None:
        without, having = (made, truth) if made.ids is None else (truth, made)
        raise DataError(
            f"{without.path} has no ids, {having.path} has",
            "give both with ids (study_id), or both without, line by line",
        )
    return Pairs(made.by_id(), truth.by_id(), said, truth.left_out)


def _of_one_file(path: Path, columns: Columns) -> Pairs:
    rows = read(path)
    prediction = roles.prediction_of(rows, columns)
    fields = roles.references_of(rows, columns, beside=prediction)
    if not fields:
        raise DataError(
            f"{path} ({rows.form}) has predictions ({_shown(prediction)}) but no references",
            "give them with --references FILE, or name a dataset (dataset=iu_xray)",
        )
    key = roles.id_of(rows, columns)
    truth, made = _reports(rows, key, fields), _reports(rows, key, (prediction,))
    kept = truth.by_id()
    predictions = {i: text for i, text in made.by_id().items() if i in kept}
    said = f"{made.said}; {' and '.join(map(_shown, fields))} for reference"
    return Pairs(predictions, kept, (said,), truth.left_out)


def _reports(rows: Rows, key: str, fields: Sequence[str], whole: bool = True) -> Reports:
    """The texts of some fields, joined; a study without a section is left out.

    Of two sections both are needed, or, if not `whole`, one of them.
    """
    sectioned = roles.is_sectioned(rows) and fields[0] not in (TEXT, KEY)
    ids = _ids(rows, key) if key else None
    texts: list[str] = []
    kept: list[str] = []
    left_out: list[str] = []
    for i, row in enumerate(rows.rows):
        name = ids[i] if ids else str(i + 1)
        text = _joined(rows, row, fields, whole)
        if sectioned and not text.strip() and _is_section(fields):
            left_out.append(name)
            continue
        texts.append(text)
        kept.append(name)
    named = f"ids in {_shown(key)}, " if key else "no ids, "
    said = f"{rows.path}: {rows.form}, {named}reports in {' and '.join(map(_shown, fields))}"
    found = tuple(kept) if ids or left_out else None
    return Reports(rows.path, found, tuple(texts), said, tuple(left_out))


def _is_section(fields: Sequence[str]) -> bool:
    return any(roles.plain(name) in (*roles.FINDINGS, *roles.IMPRESSION) for name in fields)


def _shown(name: str) -> str:
    return {KEY: "the keys", TEXT: "the lines"}.get(name, name)


def _ids(rows: Rows, key: str) -> list[str]:
    ids = [_id(rows, row, key) for row in rows.rows]
    places: dict[str, str] = {}
    doubled = []
    for row, name in zip(rows.rows, ids, strict=True):
        if name in places:
            doubled.append(f"{name} ({_both(places[name], row.place)})")
        places.setdefault(name, row.place)
    if doubled:
        some_ids = "1 study id" if len(doubled) == 1 else f"{len(doubled)} study ids"
        raise DataError(
            f"{rows.path}: {some_ids} given twice: {some(doubled)}",
            "keep one report per study, or name the field of the ids: --id-column NAME",
        )
    return ids


def _both(first: str, second: str) -> str:
    """ "line 4", "line 8" -> "lines 4 and 8" """
    word, _, number = first.partition(" ")
    return f"{word}s {number} and {second.removeprefix(f'{word} ')}"


def _id(rows: Rows, row: Row, key: str) -> str:
    value = row.fields.get(key)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise DataError(
            f"{rows.path}, {row.place}: no id in {_shown(key)}: {value!r}",
            "give each study an id, a text or a whole number",
        )
    return str(value).strip()


def _joined(rows: Rows, row: Row, fields: Sequence[str], whole: bool) -> str:
    parts = [_field(rows, row, name) for name in fields]
    if len(parts) == 1:
        return parts[0]
    there = [part for part in parts if part.strip()]
    return " ".join(there) if len(there) == len(parts) or not whole else ""


def _field(rows: Rows, row: Row, name: str) -> str:
    """A text; null and NaN (pandas' empty cell) are an empty report."""
    value: Any = row.fields.get(name)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list):
        raise DataError(
            f"{rows.path}, {row.place}: {len(value)} texts in {_shown(name)}",
            "give one report per study: scores here are against one reference",
        )
    if not isinstance(value, str):
        raise DataError(
            f"{rows.path}, {row.place}: {_shown(name)} holds a {type(value).__name__}, no text",
            "name the field of the reports: --report-column NAME",
        )
    return value


def _same_length(made: Reports, truth: Reports) -> None:
    if len(made.texts) != len(truth.texts):
        raise DataError(
            f"{len(made.texts)} reports in {made.path} and {len(truth.texts)} in {truth.path}, "
            "both without ids",
            "give ids (study_id), or one line per study in both",
        )


def refers(path: Path, columns: Columns = RECOGNISED) -> bool:
    """Whether a file of predictions has its references, too."""
    rows = read(path)
    if columns.reference or roles.is_sectioned(rows):
        return True
    prediction = roles.prediction_of(rows, columns)
    return bool(roles.references_of(rows, columns, beside=prediction))
