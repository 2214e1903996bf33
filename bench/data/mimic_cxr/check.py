"""`bench data check mimic_cxr`: what is here, what is damaged, and what is left out, by reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.data.check import Finding, Report, check
from bench.data.mimic_cxr import dataset
from bench.data.mimic_cxr.choices import chosen
from bench.data.mimic_cxr.excluded import IMAGES, NO_POSITION, SCORING, STUDIES
from bench.data.mimic_cxr.files import cut_off
from bench.data.mimic_cxr.layout import Layout, locate
from bench.data.mimic_cxr.prepared import command, place
from bench.data.mimic_cxr.prepared import read as read_prepared
from bench.data.mimic_cxr.reading import Reading, read
from bench.data.mimic_cxr.reports import PARSERS, source_of
from bench.data.mimic_cxr.tables import SOURCES
from bench.errors import some

PUBLISHED = (377_110, 227_827)  # images and studies that MIMIC-CXR-JPG's split file lists
_INSTEAD = "take what is here: dataset.subset=present"
MANY = 0.05  # share of images without a position from which on it is worth a warning


def check_mimic_cxr(root: Path, **choices: Any) -> Report:
    """What `check` says of any dataset, and the files, reports and exclusions of this one."""
    layout = locate(root, chosen(choices))
    reading = read(layout)
    data = dataset(layout, reading)
    return Report(data.name, (*_findings(layout, reading), *check(data).findings))


def _findings(layout: Layout, reading: Reading) -> Iterator[Finding]:
    yield _source(layout, reading)
    if reading.listed.rowless:
        yield _rowless(layout, reading)
    yield _images(layout, reading)
    if layout.by_tables:
        yield _reports(layout, reading)
    yield _left_out(IMAGES, reading)
    yield _left_out(STUDIES, reading)


def _source(layout: Layout, reading: Reading) -> Finding:
    found = (reading.listed.images, reading.listed.studies)
    path = layout.split if layout.by_tables else layout.annotation
    text = f"{path}: {found[0]:,} images of {found[1]:,} studies"
    notes = []
    if layout.by_tables and found != PUBLISHED:
        notes.append("not the published release ({:,} of {:,})".format(*PUBLISHED))
    if layout.by_tables and layout.annotation and layout.choices.source == "auto":
        notes.append(
            f"{layout.annotation.name} is here too and is not read (dataset=mimic_cxr_r2gen reads "
            "it)"
        )
    figures = {"images": found[0], "studies": found[1]}
    return Finding("source", "warn" if notes else "ok", "; ".join([text, *notes]), figures)


def _rowless(layout: Layout, reading: Reading) -> Finding:
    """Images whose view nobody knows: left out of frontal ones, and "other" among all views."""
    lost, path = reading.listed.rowless, layout.metadata
    text = f"no row in {path} of {len(lost):,} images ({some(lost, 3)})"
    needed = layout.choices.views == "frontal" and layout.choices.subset == "whole"
    fix = f"the table is cut off or of another release, get it again: {SOURCES}"
    return Finding("metadata", "fail" if needed else "warn", text, {"missing": len(lost)}, fix)


def _images(layout: Layout, reading: Reading) -> Finding:
    """Of the listed images of the wanted views, those whose file is here and whole."""
    whole = layout.choices.subset == "whole"
    keys = [i.key for e in reading.listed.entries for i in e.images]
    cut = cut_off(reading.files, keys) if whole else reading.cut
    lost = {"missing": reading.missing, "empty": reading.empty, "cut off": cut}
    total = len(reading.files.states) + len(reading.missing)
    good = total - sum(map(len, lost.values()))
    bad = lost if whole else {name: n for name, n in lost.items() if name != "missing"}
    parts = [f"{name}: {len(n):,} ({some(n, 3)})" for name, n in bad.items() if n]
    text = "; ".join([f"{good:,} of {total:,} whole in {reading.files.folder}", *parts])
    fix = f"complete the release ({SOURCES}), or {_INSTEAD if good else SCORING}"
    figures = {name.replace(" ", "_"): float(len(n)) for name, n in lost.items()}
    status = "ok" if not any(bad.values()) else "fail" if whole else "warn"
    return Finding("images", status, text, figures, fix)


def _reports(layout: Layout, reading: Reading) -> Finding:
    """Where they are, whether they were prepared, and how many are missing."""
    parser, lost = PARSERS[layout.choices.sections], reading.unreported
    whole = layout.choices.subset == "whole"
    source = source_of(layout, [(e.patient, e.study) for e in reading.listed.entries])
    path = place(layout, parser)
    found = source.path if source else layout.sectioned() or path
    how = "prepared" if path.exists() else f"not prepared (`{command(layout)}` saves time)"
    notes = [f"in {found}, divided by {parser.tag}, {how}"]
    worse = []
    if read_prepared(layout) is None:
        worse.append(f"{path.name} is damaged and not read: `{command(layout)}` makes it anew")
    if (archive := layout.archive()) and archive != found:
        worse.append(f"{archive} is damaged or holds fewer reports, and is not read")
    if lost:
        worse.append(f"missing: {len(lost):,} ({some(lost, 3)})")
    fix = f"unpack mimic-cxr-reports.zip again, or {_INSTEAD}"
    status = "fail" if lost and whole else "warn" if worse else "ok"
    return Finding("reports", status, "; ".join([*notes, *worse]), {"missing": len(lost)}, fix)


def _left_out(what: str, reading: Reading) -> Finding:
    found = list(reading.excluded.of(what))
    total = reading.listed.images if what == IMAGES else reading.listed.studies
    parts = [f"{count:,} {reason} (as {name})" for reason, count, name in found]
    parts[:1] = [f"of {total:,} listed: {part}" for part in parts[:1]]
    figures = {reason: float(count) for reason, count, _ in found}
    blank = reading.excluded.count(what, NO_POSITION)
    notes = []
    if blank > MANY * reading.listed.images:
        notes = ["ViewPosition is blank in many rows: dataset=mimic_cxr_all takes every view"]
    text = "; ".join([*parts, *notes]) or "none"
    return Finding(f"left out, {what}", "warn" if notes else "ok", text, figures)
