"""From what the release lists to studies: images that are here, the text that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from bench.data.mimic_cxr import excluded as why
from bench.data.mimic_cxr.excluded import IMAGES, STUDIES, Excluded
from bench.data.mimic_cxr.files import Files, cut_off, look
from bench.data.mimic_cxr.layout import Layout
from bench.data.mimic_cxr.listed import Entry, Listed, listed
from bench.data.mimic_cxr.prepared import texts
from bench.data.mimic_cxr.sections import COMBINED, FINDINGS, IMPRESSION
from bench.data.study import Image, Study


@dataclass
class Reading:
    """The studies of a layout, and all that was found on the way.

    `missing`, `empty`, `cut`: keys of images without a file, with an empty one, or with one that
    ends too early (looked for where `subset` is "present"); `unreported`: studies without a report.
    Where `subset` is "present" they are left out and counted.
    """

    listed: Listed
    files: Files
    excluded: Excluded
    studies: tuple[Study, ...] = ()
    missing: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    unreported: list[str] = field(default_factory=list)


def read(layout: Layout) -> Reading:
    """All studies that the choices ask for; DataError for tables or reports that are damaged."""
    excluded = Excluded()
    found = listed(layout, excluded)
    keys = [i.key for e in found.entries for i in e.images]
    files = look(layout, keys)
    reading = Reading(found, files, excluded)
    if layout.choices.subset == "present":
        reading.cut = cut_off(files, keys)
    entries = list(_with_images(layout, reading))
    reading.studies = tuple(_studies(layout, entries, reading))
    return reading


def _with_images(layout: Layout, reading: Reading) -> Iterator[Entry]:
    present, cut = layout.choices.subset == "present", set(reading.cut)
    for entry in reading.listed.entries:
        here = [i for i in entry.images if _is_here(i, reading) and i.key not in cut]
        if not present or len(here) == len(entry.images):
            yield entry
        elif here:
            entry.images = here
            yield entry
        else:
            reading.excluded.add(STUDIES, why.NO_IMAGE_FILE, entry.name)
    if present:
        left_out = (
            (reading.missing, why.NO_FILE),
            (reading.empty, why.EMPTY_FILE),
            (reading.cut, why.CUT_FILE),
        )
        for keys, reason in left_out:
            for key in keys:
                reading.excluded.add(IMAGES, reason, key)


def _is_here(image: Image, reading: Reading) -> bool:
    state = reading.files.states.get(image.key)
    if state is None:
        reading.missing.append(image.key)
    elif not state.size:
        reading.empty.append(image.key)
    return bool(state and state.size)


def _studies(layout: Layout, entries: list[Entry], reading: Reading) -> Iterator[Study]:
    for entry, parts in _with_sections(layout, entries):
        if parts is None:
            reading.unreported.append(entry.name)
            if layout.choices.subset == "present":
                reading.excluded.add(STUDIES, why.NO_REPORT, entry.name)
            continue
        one_line = {name: " ".join(text.split()) for name, text in parts.items()}
        report = wanted(one_line, layout.choices.section)
        if report:
            used = FINDINGS if layout.choices.section == "findings" else ""
            rest = {k: v for k, v in one_line.items() if k != used}
            yield from _of(entry, report, rest, layout.choices.by_image)
        else:
            reading.excluded.add(STUDIES, _why(one_line), entry.name)


def _with_sections(
    layout: Layout, entries: list[Entry]
) -> Iterator[tuple[Entry, Mapping[str, str] | None]]:
    if not layout.by_tables:
        yield from ((e, {FINDINGS: e.report} if e.report else {}) for e in entries)
        return
    of = texts(layout, [(e.patient, e.study) for e in entries])
    yield from ((e, of(e.patient, e.study)) for e in entries)


def wanted(parts: Mapping[str, str], section: str) -> str:
    """The text that a model is to write, "" where the report has none.

    "both" is findings, then impression, and needs the two of them, or their common section.
    """
    if section != "both":
        return parts.get(section, "")
    if FINDINGS in parts and IMPRESSION in parts:
        return f"{parts[FINDINGS]} {parts[IMPRESSION]}"
    return parts.get(COMBINED, "")


def _why(parts: Mapping[str, str]) -> str:
    if COMBINED in parts:
        return why.COMBINED
    return why.ANOTHER_ALONE if {FINDINGS, IMPRESSION} & set(parts) else why.NO_SECTION


def _of(entry: Entry, report: str, rest: Mapping[str, str], by_image: bool) -> Iterable[Study]:
    if not by_image:
        images = tuple(entry.images)
        return [Study(entry.name, entry.patient, entry.split, images, report, sections=rest)]
    names = [i.key.rpartition("/")[2] for i in entry.images]
    if len(names) == 1 and entry.report is not None:  # an annotation's own
        names = [entry.name]
    return [
        Study(name, entry.patient, entry.split, (image,), report, sections=rest)
        for name, image in zip(names, entry.images, strict=True)
    ]
