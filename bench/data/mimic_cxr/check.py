"""`bench data check mimic_cxr`: what is here, what is damaged, and what is left out, by reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.data.check import Finding, Report, check
from bench.data.mimic_cxr import dataset
from bench.data.mimic_cxr.choices import chosen
from bench.data.mimic_cxr.excluded import IMAGES, NO_POSITION, STUDIES
from bench.data.mimic_cxr.files import cut_off
from bench.data.mimic_cxr.layout import Layout, locate
from bench.data.mimic_cxr.prepared import place
from bench.data.mimic_cxr.reading import Reading, read
from bench.data.mimic_cxr.reports import PARSERS
from bench.data.mimic_cxr.tables import SOURCES
from bench.errors import some

PUBLISHED = (377_110, 227_827)  # images and studies that MIMIC-CXR-JPG's split file lists
MANY = 0.05  # share of images without a position from which on it is worth a warning


def check_mimic_cxr(root: Path, **choices: Any) -> Report:
    """What `check` says of any dataset, and the files, reports and exclusions of this one."""
    layout = locate(root, chosen(choices))
    reading = read(layout)
    data = dataset(layout, reading)
    return Report(data.name, (*_findings(layout, reading), *check(data).findings))


def _findings(layout: Layout, reading: Reading) -> Iterator[Finding]:
    yield _source(layout, reading)
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


def _images(layout: Layout, reading: Reading) -> Finding:
    keys = [i.key for e in reading.listed.entries for i in e.images]
    cut = cut_off(reading.files, keys)
    total = len(keys) if layout.choices.subset == "whole" else len(reading.files.states)
    lost = {"missing": reading.missing, "empty": reading.empty, "cut off": cut}
    if layout.choices.subset == "present":  # those are counted among what is left out
        lost = {"cut off": cut}
    good = total - sum(map(len, lost.values()))
    parts = [f"{name}: {len(n):,} ({some(n, 3)})" for name, n in lost.items() if n]
    text = "; ".join([f"{good:,} of {total:,} whole in {reading.files.folder}", *parts])
    fix = (
        f"complete the release ({SOURCES}), or take what is here: dataset.subset=present"
        if layout.choices.subset == "whole"
        else f"get the files that are cut off again: {SOURCES}"
    )
    figures = {name.replace(" ", "_"): float(len(n)) for name, n in lost.items()}
    return Finding("images", "fail" if any(lost.values()) else "ok", text, figures, fix)


def _reports(layout: Layout, reading: Reading) -> Finding:
    parser = PARSERS[layout.choices.sections]
    lost = reading.unreported if layout.choices.subset == "whole" else []
    ready = place(layout, parser).exists()
    how = "prepared" if ready else "not prepared (`bench data prepare mimic_cxr` saves time)"
    text = f"divided by {parser.tag}, {how}"
    if lost:
        text += f"; missing: {len(lost):,} ({some(lost, 3)})"
    fix = "unpack mimic-cxr-reports.zip again, or take what is here: dataset.subset=present"
    return Finding("reports", "fail" if lost else "ok", text, {"missing": len(lost)}, fix)


def _left_out(what: str, reading: Reading) -> Finding:
    found = list(reading.excluded.of(what))
    parts = [f"{count:,} {reason} (as {name})" for reason, count, name in found]
    figures = {reason: float(count) for reason, count, _ in found}
    blank = reading.excluded.count(what, NO_POSITION)
    notes = []
    if blank > MANY * reading.listed.images:
        notes = ["ViewPosition is blank in many rows: dataset=mimic_cxr_all takes every view"]
    text = "; ".join([*parts, *notes]) or "none"
    return Finding(f"left out, {what}", "warn" if notes else "ok", text, figures)
