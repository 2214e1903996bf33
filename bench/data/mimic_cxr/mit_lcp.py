"""The sections of a MIMIC-CXR report as MIT-LCP's published parser divides it.

https://github.com/MIT-LCP/mimic-cxr (folder `txt`, as of July 2020): what its
`create_section_files.py` writes to `mimic_cxr_sectioned.csv` and, per study, as the conclusion that
CheXpert's labels were made of. The lists of headings and of single studies are its facts; the code
is ours and was held against the original on every text of the tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from bench.errors import DataError

NAME, VERSION = "mit-lcp", 1

SECTIONED = (
    "impression",
    "findings",
    "last_paragraph",
    "comparison",
)  # its file's columns, in order
CONCLUSION = "conclusion"

_HEADING = re.compile(r"\n ([A-Z ()/,-]+):\s")
_PARAGRAPH = "\n \n"

# Section -> headings that it has under other names, in small letters.
_SAME: Mapping[str, Sequence[str]] = {
    "impression": (
        "conclusion", "findings and impression", "findings/impression", "findings/ impression",
        "ndication", "impresson", "imprression", "imoression", "impressoin", "imprssion",
        "impresion", "imperssion", "mpression", "impession",
    ),
    "findings": (
        "chest, two views", "finding", "findins", "findindgs", "findgings", "findngs", "findnings",
        "finidngs", "reference findings",
    ),
    "comparison": (
        "comparisons", "reference exam", "comparison exam", "comparison film", "comparision",
        "comparsion", "comparrison", "comparisions",
    ),
    "indication": (
        "reason for examination", "reason for exam", "clinical indication", "idication",
    ),
    "history": ("clinical history", "clinical information", "patient history", "pfi"),
    "examination": ("exam", "type of examination"),
    "recommendations": ("recommendation(s)", "recommendation"),
    "wet read": ("wetread",),
}  # fmt: skip
_OWN = (
    "preamble", "impression", "comparison", "indication", "findings", "examination", "technique",
    "history", "notification", "addendum", "date", "comment", "wet read", "recommendations",
)  # fmt: skip
_NAMES = {name: name for name in _OWN} | {
    heading: section for section, headings in _SAME.items() for heading in headings
}
# A heading that holds one of these words is that section, the first of them.
_WITHIN = ("impression", "findings", "history", "comparison", "addendum")
# One that holds one of these describes the whole study: findings.
_VIEWS = (
    "chest", "portable", "pa and lateral", "lateral and pa", "ap and lateral", "lateral and ap",
    "frontal and", "two views", "frontal view", "pa view", "ap view", "one view", "lateral view",
    "bone window", "frontal upright", "frontal semi-upright", "ribs", "pa and lat",
)  # fmt: skip

# Studies whose conclusion stands in a section of another name: section -> study numbers.
_MISNAMED: Mapping[str, str] = {
    "recommendations": "50913680 59768032 59067458 59087630 58157373 56482935 58375018",
    "examination": "59363654 53356173 50743547 59215320 55157853",
    "technique": "59279892 53202765 50808053",
    "indication": "57936451 50058765 51966317 55124749 54365831 54654948",
    "note": "56451190",
    "history": "51491012",
}
_SECTION_OF_STUDY = {f"s{n}": name for name, ids in _MISNAMED.items() for n in ids.split()}
# Studies whose conclusion stands between two letters of the file: study number, first, after last.
# The last eight have none.
_CUT = """
50525523 201 349, 57564132 233 554, 59982525 313 717, 53488209 149 475, 54875119 234 988,
50196495 59 399, 56579911 59 218, 52648681 292 631, 59889364 172 453, 53514462 73 377,
59505494 59 450, 53182247 59 412, 51410602 47 320, 56412866 522 822, 54986978 59 306,
59003148 262 505, 57150433 61 394, 56760320 219 457, 59562049 158 348, 52674888 145 296,
55258338 192 568, 59330497 140 655, 52119491 179 454, 58235663 0 0, 50798377 0 0, 54168089 0 0,
53071062 0 0, 56724958 0 0, 54231141 0 0, 53607029 0 0, 52035334 0 0
"""
_LETTERS = {
    f"s{n}": (int(first), int(last))
    for n, first, last in (entry.split() for entry in _CUT.split(","))
}


def sections(report: str, study: str = "") -> dict[str, str]:
    """Section -> text as published, white space inside it kept: `SECTIONED` and the conclusion.

    study: "s50414267"; studies that the original treats singly have a conclusion, and no other
    section: its file of sections leaves them out. Empty sections are left out.
    """
    if study in _LETTERS:
        first, last = _LETTERS[study]
        return _kept({CONCLUSION: report[first:last]})
    divided = divide(report)
    if study in _SECTION_OF_STUDY:
        return _kept({CONCLUSION: _last(divided, _SECTION_OF_STUDY[study], study)})
    last_of = {name: text.strip() for name, text in divided}  # the last section of a name counts
    found = {name: last_of[name] for name in SECTIONED if name in last_of}
    return _kept({**found, CONCLUSION: next(iter(found.values()), "")})


def _kept(found: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in found.items() if text}


def _last(divided: Sequence[tuple[str, str]], name: str, study: str) -> str:
    texts = [text for found, text in divided if found == name]
    if not texts:
        raise DataError(
            f"report {study} has no section {name!r}, which MIT-LCP's list names for it",
            "its text is not that of the release: get this report again",
        )
    return texts[-1].strip()


def divide(report: str) -> list[tuple[str, str]]:
    """(section, text) of a whole report, in order; a text without headings is "full report"."""
    divided = [(_name(heading), text) for heading, text in _divided(report)]
    found = [(n, t) for n, t in divided if n not in ("impression", "findings") or t.strip()]
    if {"impression", "findings"} & {name for name, _ in found}:
        return found
    name, text = found[-1]
    before, paragraph, after = text.partition(_PARAGRAPH)
    return [*found[:-1], (name, before), ("last_paragraph", after)] if paragraph else found


def _divided(report: str) -> Iterator[tuple[str, str]]:
    match = _HEADING.search(report)
    if match is None:
        yield "full report", report
        return
    yield "preamble", report[: match.start(1)]
    while match:
        # The next heading is looked for from the end of this one's line.
        line = report.find("\n", match.end())
        following = _HEADING.search(report, line if line >= 0 else match.end())
        yield match[1], report[match.end() : following.start() if following else len(report)]
        match = following


def _name(heading: str) -> str:
    name = heading.lower().strip()
    if name in _NAMES:
        return _NAMES[name]
    for part in _WITHIN:
        if part in name:
            return part
    return "findings" if any(view in name for view in _VIEWS) else name
