"""The sections of a MIMIC-CXR report by its headings: the project's own rules, with a version.

A heading stands at the start of a line, or after the end of a sentence, before a colon; a known
name also before a semicolon or a dash, and "FINDINGS" even before a period or two blanks. In
capitals any words form one; in small letters only the names below do, because "Note:" or "Lungs:"
inside findings is text. What a heading names is decided in this order: a known name or a
misspelling of one, something about the examination ("ADMITTING DIAGNOSIS"), a view ("PA AND LATERAL
CHEST RADIOGRAPH", whose text is the findings where no other is), a part of the body. Any other
heading in capitals is a sub-heading of the findings or the impression that it stands in ("PICC",
"COPD"), and elsewhere opens a section that is not wanted; a part of the body opens findings there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

NAME, VERSION = "bench", 3  # a change of any result is a new version: it enters run identity

FINDINGS, IMPRESSION, COMBINED = "findings", "impression", "combined"
SECTIONS = (FINDINGS, IMPRESSION, COMBINED)
OTHER, BODY, VIEW, PART = "other", "body", "view", "part"

_NAMES: Mapping[str, tuple[str, ...]] = {
    FINDINGS: ("findings", "finding", "report", "observations", "interpretation", "description"),
    IMPRESSION: (
        "impression", "impressions", "conclusion", "conclusions", "opinion", "summary",
        "assessment", "diagnosis", "final impression",
    ),
    COMBINED: (
        "findings and impression", "impression and findings", "findings impression",
        "impression findings", "findings conclusion", "findings and conclusion",
    ),
    OTHER: (
        "comparison", "comparisons", "indication", "indications", "technique", "techniques",
        "history", "clinical history", "clinical information", "clinical indication",
        "patient history", "medical history", "reason for exam", "reason for examination",
        "reason for study", "reason for the study", "reason for this examination", "reason",
        "exam", "examination", "type of examination", "exam type", "study", "procedure",
        "recommendation", "recommendations", "notification", "communication", "wet read",
        "wetread", "preliminary read", "preliminary report", "addendum", "final addendum",
        "attestation", "comment", "comments", "date", "time", "note to clinician",
        "provisional findings impression", "provisional findings impression pfi", "pfi",
        "reference exam", "reference examination", "reference study", "prior", "prior study",
        "prior studies", "prior exam", "comparison exam", "comparison film", "comparison study",
        "comparison studies", "previous study", "previous studies", "previous exam", "signed",
        "dictated by", "contrast", "final report", "dose", "follow up", "follow-up", "followup",
    ),
}  # fmt: skip


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SECTION_OF = {name: section for section, names in _NAMES.items() for name in names}
# Of these a misspelling is recognised: shorter words are too near to others.
_LONG = [name for name in _SECTION_OF if len(name) >= 7]
# In small letters before a colon these are words of a sentence as often as headings.
_CAPITALS_ONLY = _words("""
    report observations interpretation description opinion summary assessment diagnosis
    reason study procedure comment comments date time prior signed contrast dose exam note
""")
_BODY = _words("""
    lung lungs heart cardiac cardiac/mediastinum mediastinum mediastinal hila hilum hilar
    pleura pleural bones bone bony osseous skeletal skeleton tissues tissue lines tubes
    devices device support catheters airway airways trachea abdomen diaphragm diaphragms
    hemidiaphragms vessels vasculature vascular wall cardiomediastinal silhouette
    pneumothorax effusion effusions aorta spine parenchyma hardware neck esophagus thyroid
    adenopathy nodes tube line picc catheter pacemaker cardiovascular pulmonary rib ribs
""")
_VIEW = _words("""
    chest portable pa ap lateral lat frontal view views radiograph radiographs xray x-ray
    cxr upright semi-upright supine film films ribs rib babygram thorax
""")
_ANATOMY = _words("chest thorax rib ribs")  # views and parts of the body: "CHEST TUBE", "RIBS"
# A heading with one of these is about the examination, whatever else it holds.
_ABOUT = _words("""
    reason indication indications history comparison comparisons technique prior priors
    recommendation recommendations addendum reference contrast dose clinical date
    admitting referring ordering requesting attending radiologist resident physician
    preoperative postoperative dictated transcribed signed interpreted reviewed reported read
    notification notified communication discussed telephone protocol fluoroscopy
""")
_CAPITALS = r"[A-Z](?:[A-Z0-9 ,./()&'-]|(?<=\d):(?=\d))*"  # a time of day may be within it
_WORDS = r"[A-Z][A-Za-z/() -]*"
_NAME = r"[A-Z][A-Za-z/() ]*?"
_COLON = r"(?:(?<!\d):|:(?!\d))"  # not that of a time of day
_HEADING = re.compile(
    rf"^[ \t]*({_CAPITALS}|{_WORDS}){_COLON}|^[ \t]*({_CAPITALS})[ \t]*$"
    rf"|^[ \t]*({_NAME})[ \t]*(?:;|[-\u2013\u2014]+(?=\s))"
    # Before small letters, so that no sentence in capitals that wraps here is one.
    r"|^[ \t]*(FINDINGS?|IMPRESSIONS?|CONCLUSIONS?)[. \t](?=[ \t]+(?:[A-Z]?[a-z]|\d))"
    r"|(?<=[.!?])[ \t]+((?:FINDINGS?|IMPRESSIONS?|CONCLUSIONS?|COMPARISONS?|RECOMMENDATIONS?"
    rf"|NOTIFICATION)){_COLON}",
    re.MULTILINE,
)
_RULE = re.compile(r"^[ \t]*[_*=-]{8,}[ \t]*$", re.MULTILINE)  # lines between parts of a file
_LONGEST = 9  # words: what is longer is a sentence that happens to hold a colon


@dataclass(frozen=True)
class _Mark:
    """A heading: its section, and where it begins and ends in the report."""

    section: str
    start: int
    end: int


def sections(report: str) -> dict[str, str]:
    """The "findings", "impression" and "combined" of a report, white space normalised.

    A section of several parts (an addendum) is joined. What follows a combined heading
    ("FINDINGS AND IMPRESSION") is "combined" alone: it is not known to be findings.
    """
    parts: dict[str, list[str]] = {}
    for section, text in _parts(report):
        if text:
            parts.setdefault(section, []).append(text)
    viewed = parts.pop(VIEW, [])
    if viewed and FINDINGS not in parts and COMBINED not in parts:
        parts[FINDINGS] = viewed
    return {name: " ".join(parts[name]) for name in SECTIONS if name in parts}


def _parts(report: str) -> Iterator[tuple[str, str]]:
    """(section, its text) in reading order; sub-headings stay in the text that they divide."""
    section, start = OTHER, 0
    for mark in _marks(report):
        kept, after = _next(section, mark)
        if kept:
            continue
        yield section, _text(report[start : mark.start])
        section, start = after, mark.end
    yield section, _text(report[start:])


def _next(section: str, mark: _Mark) -> tuple[bool, str]:
    """(whether the text before goes on through this heading, the section after it)."""
    inside = section in (*SECTIONS, VIEW)
    if mark.section in (BODY, PART):
        return inside, section if inside else FINDINGS if mark.section == BODY else OTHER
    if mark.section == VIEW and inside:
        return False, section  # the heading itself is not a finding
    return False, mark.section


def _marks(report: str) -> Iterator[_Mark]:
    for match in _HEADING.finditer(report):
        colon, alone, dash, stop, within = match.groups()
        if dash is None:
            section = _section(colon or alone or stop or within, bare=alone is not None)
        else:
            section = _dashed(dash)
        if section == BODY:  # its words are kept where they open findings
            yield _Mark(section, match.start(), match.start())
        elif section:
            yield _Mark(section, match.start(), match.end())


def _text(part: str) -> str:
    return " ".join(_RULE.sub(" ", part).split())


@lru_cache(1 << 14)
def _dashed(heading: str) -> str | None:
    """What a name before a dash or semicolon opens: sentences have these marks too."""
    section = _known(" ".join(heading.lower().replace("/", " ").split()))
    return section if heading == heading.upper() or section in SECTIONS else None


@lru_cache(1 << 14)  # headings repeat from report to report
def _section(heading: str, bare: bool) -> str | None:
    """What a heading opens; None where it is text. bare: a line of its own without a colon."""
    words = re.findall(r"[a-z][a-z/-]*", heading.lower().replace("/", " "))
    name = " ".join(words)
    if not words or len(words) > _LONGEST:
        return None
    capitals = heading == heading.upper()
    section = _known(name)
    if bare:
        opens = section not in (None, OTHER) and capitals
        return section if opens or _closes(name) else None
    if section and (capitals or name not in _CAPITALS_ONLY):
        return section
    return _unknown(words) if capitals else None


def _closes(name: str) -> bool:
    """Whether a line of its own in these words ends a section, colon or not."""
    return name in ("final report", "final addendum", "wet read", "addendum")


def _known(name: str) -> str | None:
    if name in _SECTION_OF:
        return _SECTION_OF[name]
    alike = [x for x in _LONG if abs(len(x) - len(name)) <= 2]
    near = get_close_matches(name, alike, n=1, cutoff=0.84)
    return _SECTION_OF[near[0]] if near else None


def _unknown(words: list[str]) -> str:
    """Of a heading in capitals that is not one of the names."""
    findings = {"finding", "findings"} & set(words)
    impression = {"impression", "impressions", "conclusion"} & set(words)
    if findings or impression:
        return COMBINED if findings and impression else FINDINGS if findings else IMPRESSION
    if _ABOUT & set(words):
        return OTHER
    body, view = _BODY & set(words), _VIEW & set(words)
    if view - _ANATOMY or (view and not body):
        return VIEW
    return BODY if body else PART
