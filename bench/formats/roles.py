"""Which field of a file is the id, the prediction, the reference: by name, or asked for.

Names are those that public projects use. A file in which two fields could be meant is refused with
the option that decides; nothing is chosen between them.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from shlex import quote

from bench.data.study import SECTIONS
from bench.errors import DataError, unknown
from bench.formats.names import (
    EITHER,
    FINDINGS,
    IDS,
    IMPRESSION,
    KEY,
    PREDICTIONS,
    REFERENCES,
    SPLIT,
    TEXT,
    plain,
)
from bench.formats.rows import Rows


@dataclass(frozen=True)
class Columns:
    """Names that a user gave; "" leaves one to be recognised.

    in_order: reports without ids are meant to be paired by their place.
    """

    id: str = ""
    report: str = ""
    reference: str = ""
    section: str = ""
    in_order: bool = False


RECOGNISED = Columns()  # nothing given: all by name
_NAME = 4  # words that a field's name has at most
_ID_LENGTH = 64  # characters that an id has at most
_BLANK = ("", "unnamed:_0", "index", SPLIT)  # what pandas numbers rows under; no study's name


def _fitting(rows: Rows, known: Sequence[str]) -> list[str]:
    return [name for name in rows.names if plain(name) in known]


def _given(rows: Rows, name: str) -> str:
    if name not in rows.names:
        raise unknown(f"column of {rows.path}", name, rows.names)
    return name


def _one(rows: Rows, found: Sequence[str], what: str, option: str) -> str:
    """The single one; asks where there are more."""
    if len(found) > 1:
        raise DataError(
            f"{rows.path}: {what} could be {' or '.join(map(repr, found))}",
            f"say which one: {option} {found[0]}",
        )
    return found[0] if found else ""


def id_of(rows: Rows, columns: Columns, texts: Sequence[str] = (), asking: bool = True) -> str:
    """The field of the ids; "" where the file has none.

    `texts`: the fields of the reports. A further one that could be the ids is asked about (if
    `asking`): reports are paired by their place only where nothing says otherwise, or `in_order`
    does.
    """
    if columns.id:
        return _given(rows, columns.id)
    found = KEY if KEY in rows.names else ""
    found = found or _one(rows, _fitting(rows, IDS), "the id", "--id-column")
    if found and columns.in_order:
        raise DataError(f"{rows.path} has ids ({shown(found)})", "leave --in-order out")
    if asking and not found and not columns.in_order and (maybe := _like_ids(rows, texts)):
        raise DataError(
            f"{rows.path}: no known name of an id, but {maybe!r} is another one in each row",
            f"ids: --id-column {quote(maybe)}; none, reports paired by their place: --in-order",
        )
    return found


def _like_ids(rows: Rows, texts: Sequence[str]) -> str:
    """A field that could name the studies: other short words or whole numbers in every row."""
    others = (n for n in rows.names if n not in texts and not _numbers_rows(rows, n))
    return next((name for name in others if _could_be_ids(rows, name)), "")


def _numbers_rows(rows: Rows, name: str) -> bool:
    """Whether it is a split, or a count of the rows as pandas writes it: numbers that rise."""
    if plain(name) not in _BLANK or plain(name) == SPLIT:
        return plain(name) == SPLIT
    values = [str(row.fields.get(name)).strip() for row in rows.rows]
    if not all(value.isdecimal() for value in values):
        return not any(values)
    return all(int(a) < int(b) for a, b in pairwise(values))


def _could_be_ids(rows: Rows, name: str) -> bool:
    values = [row.fields.get(name) for row in rows.rows]
    if len(values) < 2 or any(isinstance(v, bool) or not isinstance(v, (str, int)) for v in values):
        return False
    names = [str(value).strip() for value in values]
    if len(set(names)) < len(names) or not all(names) or _are_fractions(names):
        return False
    return max(map(len, names)) <= _ID_LENGTH and not any(len(n.split()) > 2 for n in names)


def _are_fractions(names: Sequence[str]) -> bool:
    """Whether they are measurements, as of a score: numbers with a point."""
    try:
        return any("." in name for name in names) and all(float(name) < 1e9 for name in names)
    except ValueError:
        return False


def predictions_of(rows: Rows, columns: Columns) -> tuple[str, ...]:
    """The fields of the predictions: one, or the sections where a system wrote sections."""
    if columns.report:
        return (_given(rows, columns.report),)
    found = _fitting(rows, PREDICTIONS) or _fitting(rows, EITHER)
    if not found and has_sections(rows):
        return _sections(rows, columns)
    name = _one(rows, found, "the prediction", "--report-column")
    if not name:
        raise _absent(rows, (*PREDICTIONS, *EITHER), "prediction", "--report-column")
    return (name,)


def reports_of(rows: Rows, columns: Columns) -> tuple[str, ...]:
    """The fields of the reports where it does not matter who wrote them."""
    if columns.report:
        return (_given(rows, columns.report),)
    known = (*PREDICTIONS, *REFERENCES, *EITHER)
    written = _fitting(rows, PREDICTIONS)
    alone = has_sections(rows) and not _fitting(rows, known)
    if columns.section or alone or (is_sectioned(rows) and not written):
        return _sections(rows, columns)
    name = _one(rows, _fitting(rows, known), "the report", "--report-column")
    if not name:
        raise _absent(rows, known, "report", "--report-column")
    return (name,)


def is_sectioned(rows: Rows) -> bool:
    """Whether findings and impression are fields of their own, as in ReXrank's files."""
    return bool(_fitting(rows, FINDINGS) and _fitting(rows, IMPRESSION))


def has_sections(rows: Rows) -> bool:
    """Whether at least one of them is."""
    return bool(_fitting(rows, FINDINGS) or _fitting(rows, IMPRESSION))


def section_of(fields: Sequence[str]) -> str:
    """Which section these fields are, one of SECTIONS; "" where they are none."""
    names = [plain(name) for name in fields]
    there = (any(n in FINDINGS for n in names), any(n in IMPRESSION for n in names))
    known = {(True, False): SECTIONS[0], (False, True): SECTIONS[1], (True, True): SECTIONS[2]}
    return known.get(there, "")


def references_of(rows: Rows, columns: Columns, beside: Sequence[str] = ()) -> tuple[str, ...]:
    """The fields that make up the reference: one, or findings and impression.

    `beside`: the prediction in the same file, where there is one; () where no field is a reference.
    """
    if columns.reference:
        if columns.section:
            raise DataError(
                f"section={columns.section} beside --reference-column {columns.reference}",
                "say one of them: a section is the fields findings and impression",
            )
        return (_given(rows, columns.reference),)
    if columns.section or is_sectioned(rows):
        return _sections(rows, columns)
    if named := _fitting(rows, REFERENCES):
        return (_one(rows, named, "the reference", "--reference-column"),)
    others = [name for name in _fitting(rows, EITHER) if name not in beside]
    if not others and has_sections(rows) and not section_of(beside):
        return _sections(rows, columns)
    if beside and others:
        raise DataError(
            f"{rows.path}: {others[0]!r} may be the reference of {beside[0]!r}, or another "
            "prediction",
            f"say so: --reference-column {others[0]}",
        )
    if not beside and not others:
        raise _absent(rows, (*REFERENCES, *EITHER), "reference", "--reference-column")
    return () if beside else (_one(rows, others, "the reference", "--reference-column"),)


def _sections(rows: Rows, columns: Columns) -> tuple[str, ...]:
    """The fields of the section asked for; of the only one where there is one alone."""
    parts = (_fitting(rows, FINDINGS)[:1], _fitting(rows, IMPRESSION)[:1])
    if not columns.section:
        if all(parts):
            raise DataError(
                f"{rows.path} has findings and impression",
                "say which text is meant: section=findings, section=impression or section=both",
            )
        return tuple(parts[0] or parts[1])
    if columns.section not in SECTIONS:
        raise unknown("section", columns.section, SECTIONS)
    both = columns.section == SECTIONS[2]
    wanted = parts if both else (parts[SECTIONS.index(columns.section)],)
    if not all(wanted):
        there = ", ".join(n for n in rows.names if n != TEXT) or "no fields"
        raise DataError(
            f"section={columns.section}: {rows.path} ({rows.form}) has the fields {there}",
            "sections are fields findings and impression (section_findings, section_impression); "
            "elsewhere leave section= out",
        )
    return tuple(name for part in wanted for name in part)


def shown(name: str) -> str:
    """A field's name as it is told."""
    return {KEY: "the keys", TEXT: "the texts"}.get(name, name)


def _absent(rows: Rows, known: Sequence[str], what: str, option: str) -> DataError:
    """No field has a known name: the nearest of those that are there, and how to name it."""
    there = [name for name in rows.names if name not in (KEY, TEXT)]
    if not rows.rows:
        raise DataError(f"{rows.path} ({rows.form}) has no reports", "give one a study")
    if any(len(name.split()) > _NAME for name in there):
        raise DataError(
            f"{rows.path} ({rows.form}): line 1 is a report, no header: {', '.join(there)[:80]}",
            "write a header above it, such as study_id,report",
        )
    near = {
        name: match[0]
        for name in there
        if (match := difflib.get_close_matches(plain(name), known, n=1, cutoff=0.6))
    }
    found = ", ".join(there) or "nothing"
    meant = next(iter(near), "COLUMN")
    nearest = f"rename {meant!r} to {near[meant]!r}, or " if near else ""
    names = sorted(set(known) - {TEXT})
    return DataError(
        f"{rows.path} ({rows.form}): no {what} among its fields; found: {found}",
        f"{nearest}name it: {option} {meant}; known names: {', '.join(names)}",
    )
