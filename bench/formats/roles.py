"""Which field of a file is the id, the prediction, the reference: by name, or asked for.

Names are those that public projects use. A file in which two fields could be meant is refused with
the option that decides; nothing is chosen between them.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import DataError, unknown
from bench.formats.rows import KEY, TEXT, Rows

IDS = ("study_id", "id", "dicom_id", "uid", "key", "image_id", "study", "sample_id", "ids")
PREDICTIONS = (
    "prediction", "predictions", "predicted", "pred", "preds", "generated", "generated_report",
    "predicted_report", "generated_text", "hyp", "hyps", "hypothesis", "hypotheses", "candidate",
    "model_prediction", "res",
)  # fmt: skip
REFERENCES = (
    "reference", "references", "ref", "refs", "gt", "gts", "ground_truth", "groundtruth",
    "reference_report", "ground_truth_report",
)  # fmt: skip
EITHER = ("report", "reports", "text", "caption", TEXT)  # as the file is one or the other
FINDINGS, IMPRESSION = ("section_findings", "findings"), ("section_impression", "impression")
SECTIONS = ("findings", "impression", "both")


@dataclass(frozen=True)
class Columns:
    """Names that a user gave; "" leaves one to be recognised."""

    id: str = ""
    report: str = ""
    reference: str = ""
    section: str = ""


RECOGNISED = Columns()  # nothing given: all by name


def plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


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


def id_of(rows: Rows, columns: Columns) -> str:
    """The field of the ids; "" where the file has none."""
    if columns.id:
        return _given(rows, columns.id)
    if KEY in rows.names:
        return KEY
    return _one(rows, _fitting(rows, IDS), "the id", "--id-column")


def prediction_of(rows: Rows, columns: Columns) -> str:
    """The field of the predictions."""
    if columns.report:
        return _given(rows, columns.report)
    found = _fitting(rows, PREDICTIONS) or _fitting(rows, EITHER)
    name = _one(rows, found, "the prediction", "--report-column")
    if not name:
        raise _absent(rows, (*PREDICTIONS, *EITHER), "prediction", "--report-column")
    return name


def reports_of(rows: Rows, columns: Columns) -> tuple[str, ...]:
    """The fields of the reports where it does not matter who wrote them."""
    if columns.report:
        return (_given(rows, columns.report),)
    if is_sectioned(rows) and not _fitting(rows, PREDICTIONS):
        return _sections(rows, columns)
    known = (*PREDICTIONS, *REFERENCES, *EITHER)
    name = _one(rows, _fitting(rows, known), "the report", "--report-column")
    if not name:
        raise _absent(rows, known, "report", "--report-column")
    return (name,)


def is_sectioned(rows: Rows) -> bool:
    """Whether findings and impression are fields of their own, as in ReXrank's files."""
    return bool(_fitting(rows, FINDINGS) and _fitting(rows, IMPRESSION))


def references_of(rows: Rows, columns: Columns, beside: str = "") -> tuple[str, ...]:
    """The fields that make up the reference: one, or findings and impression.

    `beside`: the prediction in the same file, where there is one; () where no field is a reference.
    """
    if columns.reference:
        return (_given(rows, columns.reference),)
    if is_sectioned(rows):
        return _sections(rows, columns)
    if named := _fitting(rows, REFERENCES):
        return (_one(rows, named, "the reference", "--reference-column"),)
    others = [name for name in _fitting(rows, EITHER) if name != beside]
    if beside and others:
        raise DataError(
            f"{rows.path}: {others[0]!r} may be the reference of {beside!r}, or another prediction",
            f"say so: --reference-column {others[0]}",
        )
    if not beside and not others:
        raise _absent(rows, (*REFERENCES, *EITHER), "reference", "--reference-column")
    return () if beside else (_one(rows, others, "the reference", "--reference-column"),)


def _sections(rows: Rows, columns: Columns) -> tuple[str, ...]:
    findings, impression = _fitting(rows, FINDINGS)[0], _fitting(rows, IMPRESSION)[0]
    chosen = {"findings": (findings,), "impression": (impression,), "both": (findings, impression)}
    if not columns.section:
        raise DataError(
            f"{rows.path} has findings and impression",
            "say which text is meant: section=findings, section=impression or section=both",
        )
    if columns.section not in chosen:
        raise unknown("section", columns.section, SECTIONS)
    return chosen[columns.section]


def _absent(rows: Rows, known: Sequence[str], what: str, option: str) -> DataError:
    """No field has a known name: the nearest of those that are there, and how to name it."""
    there = [name for name in rows.names if name not in (KEY, TEXT)]
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
