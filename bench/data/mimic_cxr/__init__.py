"""MIMIC-CXR (Johnson et al., Scientific Data 2019) as people have it, in `<root>/mimic_cxr/`.

- PhysioNet's: tables of splits and metadata, images `files/p10/p10000032/s50414267/<dicom>.jpg` and
  the reports of MIMIC-CXR. One study is one item with all its images of the wanted views, or each
  of its images is one (`items`).
- R2Gen's: `annotation.json` and images `images/p10/…/<dicom>.jpg`.

`layout` finds the parts, `listed` reads the lists, `files` looks for images, `sections` (ours) and
`mit_lcp` divide reports, `reading` joins them and counts what is left out. Tables and texts are in
memory, pixels are not.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.data.mimic_cxr import prepared
from bench.data.mimic_cxr.choices import Choices, chosen
from bench.data.mimic_cxr.excluded import IMAGES, REMEDIES, STUDIES, Excluded
from bench.data.mimic_cxr.layout import FOLDER, Layout, locate
from bench.data.mimic_cxr.listed import listed
from bench.data.mimic_cxr.reading import Reading, read
from bench.data.mimic_cxr.reports import PARSERS
from bench.data.mimic_cxr.tables import SOURCES
from bench.data.study import Dataset
from bench.data.text import MAX_LENGTHS, MIN_COUNTS
from bench.errors import BenchError, DataError, some

NAME = FOLDER
CLEANING = "mimic"  # R2Gen's, for this dataset
MIN_COUNT, MAX_LENGTH = MIN_COUNTS[CLEANING], MAX_LENGTHS[CLEANING]


def load(root: Path, **choices: Any) -> Dataset:
    """The studies that `Choices` ask for, by default those with findings and a frontal image.

    DataError where images or reports are missing and `subset` is "whole". A release without any
    image loads: texts can be scored.
    """
    layout = locate(root, chosen(choices))
    reading = read(layout)
    _refuse_gaps(layout, reading)
    return dataset(layout, reading)


def dataset(layout: Layout, reading: Reading) -> Dataset:
    """What was read, as a dataset; DataError where no study is left."""
    if not reading.studies:
        raise _nothing(layout, reading)
    return Dataset(
        name=layout.choices.name,
        studies=reading.studies,
        manifest=_digest(layout, reading),
        read=reading.files.read,
        cleaning=CLEANING,
        min_count=MIN_COUNT,
        max_length=MAX_LENGTH,
        section=layout.choices.section,
        fingerprint=reading.files.fingerprint,
    )


def _nothing(layout: Layout, reading: Reading) -> DataError:
    """What left no study, and what to do about the commonest reason."""
    left_out = [
        f"{what}: " + ", ".join(f"{count:,} {reason}" for reason, count, _ in found)
        for what in (IMAGES, STUDIES)
        if (found := list(reading.excluded.of(what)))
    ]
    return DataError(
        f"no study in {layout.folder} has {layout.choices.section} and an image "
        f"({'; '.join(left_out) or 'none is listed'})",
        REMEDIES.get(reading.excluded.commonest(), f"complete the release: {SOURCES}"),
    )


def prepare(root: Path, **choices: Any) -> Path:
    """Gather the sections of all listed studies in one file beside the release: see `prepared`."""
    layout = locate(root, replace(chosen(choices), views="all"))
    if not layout.by_tables:
        raise BenchError(
            f"{layout.annotation} needs no preparation", "it holds the reports already"
        )
    entries = listed(layout, Excluded()).entries
    return prepared.write(layout, [(e.patient, e.study) for e in entries])


def _refuse_gaps(layout: Layout, reading: Reading) -> None:
    if layout.choices.subset == "present":
        return
    if (rowless := reading.listed.rowless) and layout.choices.views == "frontal":
        raise DataError(
            f"{len(rowless):,} of {reading.listed.images:,} listed images have no row in "
            f"{layout.metadata}: {some(rowless, 3)}",
            f"the table is cut off or of another release, get it again: {SOURCES}; or leave these "
            "images out: dataset.subset=present",
        )
    lost = [*reading.missing, *reading.empty]
    total = sum(len(e.images) for e in reading.listed.entries)
    if lost and len(reading.missing) < total:
        raise DataError(
            f"{len(lost):,} of {total:,} images in {reading.files.folder} are missing or empty: "
            f"{some(lost, 3)}",
            "dataset.subset=present takes the studies that are here, as a dataset of its own "
            f"(`bench data check {NAME} dataset.subset=present` counts them); or complete the "
            f"release: {SOURCES}",
        )
    if reading.unreported:
        names = some((f"{name}.txt" for name in reading.unreported), 3)
        raise DataError(
            f"{len(reading.unreported):,} studies have no report: {names}",
            "unpack mimic-cxr-reports.zip of MIMIC-CXR again, or take what is here: "
            "dataset.subset=present",
        )


def _digest(layout: Layout, reading: Reading) -> str:
    """Of rules, ids, splits, patients, texts, views, and the sizes of the image files."""
    choices, studies = layout.choices, reading.studies
    rules = PARSERS[choices.sections].tag if layout.by_tables else "annotation"
    state = hashlib.sha256(f"{rules} {choices.section} {choices.draft}\n".encode())
    state.update(reading.files.sizes(i.key for s in studies for i in s.images).encode())
    for s in studies:
        text = hashlib.sha256(" ".join(s.report.split()).encode()).hexdigest()
        images = " ".join(f"{i.key}:{i.view}" for i in s.images)
        state.update(f"{s.id},{s.patient},{s.split},{text},{images}\n".encode())
    return state.hexdigest()


__all__ = ["NAME", "Choices", "dataset", "load", "prepare"]
