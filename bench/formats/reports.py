"""Reports by id out of a file, and predictions paired with their references.

Files without ids are paired line by line; ids are then the numbers from 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.errors import DataError, some, unknown
from bench.formats import roles
from bench.formats.names import is_text
from bench.formats.oddities import noticed
from bench.formats.reading import read
from bench.formats.roles import RECOGNISED, Columns, shown
from bench.formats.rows import Row, Rows, refuse_split


@dataclass(frozen=True)
class Reports:
    """One text per study, in file order; `ids` are the numbers from 1 unless the file has ids
    (`named`).

    `said`: what the file was taken for, in a few words. `left_out`: ids of studies that lack the
    section asked for. `section`: the one that the texts are, "" where the file has none;
    `sections`: id -> every section that the file has of it.
    """

    path: Path
    ids: tuple[str, ...]
    named: bool
    texts: tuple[str, ...]
    said: str
    left_out: tuple[str, ...] = ()
    section: str = ""
    sections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def empty(self) -> int:
        return sum(not text.strip() for text in self.texts)

    def by_id(self) -> dict[str, str]:
        """Id -> text; the numbers from 1 where the file has no ids."""
        return dict(zip(self.ids, self.texts, strict=True))


@dataclass(frozen=True)
class Pairs:
    """Predictions (by id; some may be absent) and the references that they are compared with.

    `said`: what the files were taken for, and what is odd in their texts, a line each. `sections`:
    id -> every section that the file has of it.
    """

    predictions: Mapping[str, str]
    references: Mapping[str, str]
    said: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    section: str = ""
    sections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read_predictions(path: Path, columns: Columns = RECOGNISED, split: str = "") -> Reports:
    """The predictions of a file in any known form."""
    rows = read(path, split)
    return _predictions(rows, columns)


def _predictions(rows: Rows, columns: Columns) -> Reports:
    return _reports(rows, columns, roles.predictions_of(rows, columns), whole=False)


def read_references(path: Path, columns: Columns = RECOGNISED, split: str = "") -> Reports:
    """The references of a file in any known form."""
    rows = read(path, split)
    refuse_split(rows, split)
    return read_reports_of(rows, columns, roles.references_of(rows, columns))


def read_reports_of(rows: Rows, columns: Columns, fields: Sequence[str]) -> Reports:
    """The texts of these fields of rows that were read already; without a section left out."""
    return _without(_reports(rows, columns, fields))


def read_reports(path: Path, columns: Columns = RECOGNISED, split: str = "") -> Reports:
    """The reports of a file, whoever wrote them; of two sections those that are there."""
    rows = read(path, split)
    refuse_split(rows, split)
    fields = roles.reports_of(rows, columns)
    return _without(_reports(rows, columns, fields, whole=False, asking=False))


def read_pairs(
    predictions: Path, references: Path | None, columns: Columns = RECOGNISED, split: str = ""
) -> Pairs:
    """Predictions with the references of another file, or of fields of the same one.

    DataError where ids do not fit, or where one file has ids and the other has not.
    """
    rows = read(predictions, split)
    if references is None:
        refuse_split(rows, split)
        return _of_one_file(rows, columns)
    truth_rows = read(references, split)
    if not rows.splits:
        refuse_split(truth_rows, split)
    made, truth = _of_two(rows, truth_rows, columns)
    if made.named != truth.named and columns.in_order and not truth.left_out:
        made, truth = _by_place(made, truth)
    if made.named != truth.named:
        without, having = (truth, made) if made.named else (made, truth)
        raise DataError(
            f"{without.path} has no ids, {having.path} has",
            "give both with ids (study_id), or both without; in one order: --in-order",
        )
    if not made.named:
        _same_length(made, truth)
        _same_order(rows, truth_rows, columns)
    return _paired(made, truth, (made.said, truth.said))


def _of_two(rows: Rows, truth_rows: Rows, columns: Columns) -> tuple[Reports, Reports]:
    """Both files read; a name that a user gives is that of each file that has it."""
    if columns.id and columns.id not in (*rows.names, *truth_rows.names):
        raise unknown(f"column of {rows.path}", columns.id, rows.names)
    sides = [
        columns if columns.id in side.names else replace(columns, id="")
        for side in (rows, truth_rows)
    ]
    if columns.in_order:  # one file's ids are both's; ids of both leave nothing to be told
        apart = [replace(side, in_order=False) for side in sides]
        files = zip((rows, truth_rows), apart, strict=True)
        having = [bool(roles.id_of(*file, asking=False)) for file in files]
        if having[0] != having[1]:
            sides = [replace(s, in_order=not has) for s, has in zip(sides, having, strict=True)]
    # A section is of the references; of predictions only where they come in sections, too.
    made = _predictions(rows, sides[0])
    own = replace(sides[1], report="")
    return made, read_reports_of(truth_rows, own, roles.references_of(truth_rows, own))


def _of_one_file(rows: Rows, columns: Columns) -> Pairs:
    fields = roles.predictions_of(rows, columns)
    reference = roles.references_of(rows, columns, beside=fields)
    if not reference or set(reference) & set(fields):
        raise DataError(
            f"{rows.path} ({rows.form}) has predictions ({_joined_names(fields)}) but no "
            "references",
            "give them with --references FILE, or name a dataset (dataset=iu_xray)",
        )
    made = _reports(rows, columns, fields, whole=False, beside=reference)
    truth = _without(_reports(rows, columns, reference, beside=fields))
    return _paired(made, truth, (f"{made.said}; {_joined_names(reference)} for reference",))


def _paired(made: Reports, truth: Reports, said: tuple[str, ...]) -> Pairs:
    """Both sides; what is predicted of a study without the section is not compared."""
    without = set(truth.left_out)
    predictions = {i: text for i, text in made.by_id().items() if i not in without}
    odd = (*noticed("predictions", predictions.values()), *noticed("references", truth.texts))
    return Pairs(
        predictions, truth.by_id(), (*said, *odd), truth.left_out, truth.section, truth.sections
    )


def _reports(
    rows: Rows,
    columns: Columns,
    fields: Sequence[str],
    whole: bool = True,
    beside: Sequence[str] = (),
    asking: bool = True,
) -> Reports:
    """The texts of some fields, joined. Of two sections both are needed, or, if not `whole`, one.

    `beside`: further fields of the file that are reports. `asking`: whether what could be ids is
    asked about.
    """
    key = roles.id_of(rows, columns, (*fields, *beside), asking)
    ids = _ids(rows, key) if key else tuple(str(i) for i in range(1, len(rows.rows) + 1))
    texts = tuple(_joined(rows, row, fields, whole) for row in rows.rows)
    named = f"ids in {shown(key)}, " if key else "no ids, "
    said = f"{rows.path}: {rows.form}, {named}reports in {_joined_names(fields)}"
    section = roles.section_of(fields)
    sections = _sections(rows, ids) if section else {}
    return Reports(rows.path, ids, bool(key), texts, said, (), section, sections)


def _sections(rows: Rows, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    named = {name: roles.section_of((name,)) for name in rows.names}
    known = {name: section for name, section in named.items() if section}
    return {
        i: {section: _field(rows, row, name) for name, section in known.items()}
        for i, row in zip(ids, rows.rows, strict=True)
    }


def _without(reports: Reports) -> Reports:
    """Without the studies that lack the section that the texts are."""
    if not reports.section:
        return reports
    pairs = list(zip(reports.ids, reports.texts, strict=True))
    kept = [(i, text) for i, text in pairs if text.strip()]
    if not kept and pairs:
        raise DataError(
            f"{reports.path}: no study has the section {reports.section}", "ask for another one"
        )
    return replace(
        reports,
        ids=tuple(i for i, _ in kept),
        texts=tuple(text for _, text in kept),
        left_out=tuple(i for i, text in pairs if not text.strip()),
    )


def _joined_names(fields: Sequence[str]) -> str:
    return " and ".join(map(shown, fields))


def _ids(rows: Rows, key: str) -> tuple[str, ...]:
    ids = tuple(_id(rows, row, key) for row in rows.rows)
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
    if isinstance(value, float) and value.is_integer():  # as pandas writes numbers beside a blank
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise DataError(
            f"{rows.path}, {row.place}: no id in {shown(key)}: {value!r}",
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
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list):
        raise DataError(
            f"{rows.path}, {row.place}: {len(value)} texts in {shown(name)}",
            "give one report per study: scores here are against one reference; sentences of one "
            'report are joined: " ".join(sentences)',
        )
    if not isinstance(value, str):
        raise DataError(
            f"{rows.path}, {row.place}: {shown(name)} holds a {type(value).__name__}, no text",
            "name the field of the reports: --report-column NAME",
        )
    return value


def _same_length(made: Reports, truth: Reports) -> None:
    counts = len(made.ids), len(truth.ids) + len(truth.left_out)
    if counts[0] != counts[1]:
        raise DataError(
            f"{counts[0]} reports in {made.path} and {counts[1]} in {truth.path}",
            "give ids (study_id) in both, or one line per study",
        )


def _by_place(made: Reports, truth: Reports) -> tuple[Reports, Reports]:
    """Both with the ids of the one that has them."""
    _same_length(made, truth)
    ids = made.ids if made.named else truth.ids
    return replace(made, ids=ids, named=True), replace(truth, ids=ids, named=True)


def _same_order(rows: Rows, truth_rows: Rows, columns: Columns) -> None:
    """A field of both files whose values stand in another order: so may the reports."""
    if columns.in_order:
        return
    given = (columns.report, columns.reference)
    for name in rows.names:
        if name in given or is_text(name) or roles.section_of((name,)):
            continue
        sides = [[str(row.fields.get(name)) for row in side.rows] for side in (rows, truth_rows)]
        if sides[0] != sides[1] and sorted(sides[0]) == sorted(sides[1]):
            raise DataError(
                f"{rows.path} and {truth_rows.path} have no ids, and their {name} is in two orders",
                f"ids: --id-column {name}; reports are in one order all the same: --in-order",
            )


def refers(path: Path, columns: Columns = RECOGNISED, split: str = "") -> bool:
    """Whether a file of predictions has its references, too."""
    rows = read(path, split)
    if columns.reference or roles.is_sectioned(rows):
        return True
    fields = roles.predictions_of(rows, columns)
    return bool(roles.references_of(rows, columns, beside=fields))
