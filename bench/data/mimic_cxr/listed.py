"""Which images and studies the release lists: PhysioNet's tables, or R2Gen's annotation."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.data.mimic_cxr.excluded import (
    IMAGES,
    NO_IMAGE,
    NO_METADATA,
    NO_POSITION,
    OTHER_VIEW,
    REPEATED,
    STUDIES,
    Excluded,
)
from bench.data.mimic_cxr.files import key_of
from bench.data.mimic_cxr.layout import METADATA_FILE, Layout
from bench.data.mimic_cxr.tables import SOURCES, rows, split_of
from bench.data.study import Image
from bench.errors import DataError

FRONTAL, LATERAL = ("AP", "PA"), ("LATERAL", "LL")
UNKNOWN = ""  # view of an image whose position is blank


@dataclass
class Entry:
    """A study as listed, with its images of the wanted views; `report` where the list has it.

    `name` is its id in the dataset: "s50414267", or an annotation's own.
    """

    name: str
    study: str
    patient: str
    split: str
    images: list[Image] = field(default_factory=list)
    report: str | None = None


@dataclass
class Listed:
    """Entries in the list's order, and how many images and studies it names in all.

    `rowless`: images that the metadata has no row of, where there is a table of it.
    """

    entries: list[Entry]
    images: int
    studies: int
    rowless: list[str] = field(default_factory=list)


def listed(layout: Layout, excluded: Excluded) -> Listed:
    """What the layout lists; images of other views, and studies without any, are counted."""
    found = _tables(layout, excluded) if layout.by_tables else _annotation(layout, excluded)
    for entry in found.entries:
        if not entry.images:
            excluded.add(STUDIES, NO_IMAGE, entry.name)
    found.entries = [entry for entry in found.entries if entry.images]
    return found


# --- views ---------------------------------------------------------------------------------------


class _Views:
    """Whether an image is of a wanted view; what is not, is counted."""

    def __init__(self, layout: Layout, excluded: Excluded) -> None:
        self.all, self.excluded = layout.choices.views == "all", excluded
        if layout.metadata is None and not self.all:
            raise DataError(
                f"which images are frontal is not known: {METADATA_FILE} is missing",
                f"put it into {layout.folder}, or take all views, as R2Gen does "
                "(dataset=mimic_cxr_r2gen or dataset=mimic_cxr_all)",
            )
        self._positions = _positions(layout.metadata) if layout.metadata else None
        self.rowless: list[str] = []

    def image(self, key: str) -> Image | None:
        dicom = key.rpartition("/")[2]
        view = (self._positions or {}).get(dicom)
        if view is None and self._positions is not None:
            self.rowless.append(dicom)
        if self.all or view == "frontal":
            return Image(key, view or "other")
        reason = {None: NO_METADATA, UNKNOWN: NO_POSITION}.get(view, OTHER_VIEW)
        self.excluded.add(IMAGES, reason, dicom)
        return None


def _positions(path: Path) -> dict[str, str]:
    """DICOM id -> "frontal", "lateral", "other", or `UNKNOWN` where the position is blank."""
    found: dict[str, str] = {}
    for dicom, position in rows(path, "dicom_id", "ViewPosition"):
        view = _view(position)
        if found.setdefault(dicom, view) != view:
            raise DataError(
                f"{path}: image {dicom} has two rows of different ViewPosition",
                f"get it again: {SOURCES}",
            )
    return found


def _view(position: str) -> str:
    name = position.strip().upper()
    if name in FRONTAL:
        return "frontal"
    return "lateral" if name in LATERAL else "other" if name else UNKNOWN


# --- PhysioNet's tables --------------------------------------------------------------------------


def _tables(layout: Layout, excluded: Excluded) -> Listed:
    """Studies in the split file's order."""
    path = layout.split
    assert path is not None
    views, seen = _Views(layout, excluded), dict[str, str]()
    entries: dict[str, Entry] = {}
    columns = ("subject_id", "study_id", "dicom_id", "split")
    for patient, study, dicom, split in rows(path, *columns):
        entry = entries.get(study)
        if entry is None:
            entry = Entry(f"s{study}", study, sys.intern(patient), split_of(split, path))
            entries[study] = entry
        _agree(entry, patient, split, path)
        if dicom in seen:
            _repeated(dicom, (seen[dicom], study), path, excluded)
            continue
        seen[dicom] = entry.study
        if image := views.image(f"p{patient[:2]}/p{patient}/s{study}/{dicom}"):
            entry.images.append(image)
    for entry in entries.values():
        entry.images.sort(key=lambda image: image.view != "frontal")
    return Listed(list(entries.values()), len(seen), len(entries), views.rowless)


def _agree(entry: Entry, patient: str, split: str, place: Path) -> None:
    if entry.patient != patient or entry.split != split_of(split, place):
        raise DataError(
            f"{place}: study {entry.study} is of two patients or in two splits",
            f"get it again: {SOURCES}",
        )


def _repeated(dicom: str, studies: tuple[str, str], place: Path, excluded: Excluded) -> None:
    """A row given twice counts once; one image in two studies is an error."""
    first, second = studies
    if first != second:
        raise DataError(
            f"{place}: image {dicom} is in studies {first} and {second}",
            f"get it again: {SOURCES}",
        )
    excluded.add(IMAGES, REPEATED, dicom)


# --- R2Gen's annotation --------------------------------------------------------------------------


def _annotation(layout: Layout, excluded: Excluded) -> Listed:
    """Items in the annotation's order: one an image, or those of a study together."""
    path = layout.annotation
    assert path is not None
    views, entries, seen = _Views(layout, excluded), dict[str, Entry](), set[str]()
    for number, item in enumerate(_items(path), start=1):
        entry, keys = _parsed(item, f"{path}, item {number}", layout.choices.by_image)
        entry = entries.setdefault(entry.name, entry)
        for key in keys:
            if key in seen:
                excluded.add(IMAGES, REPEATED, key.rpartition("/")[2])
            elif image := views.image(key):
                entry.images.append(image)
            seen.add(key)
    for entry in entries.values():
        entry.images.sort(key=lambda image: image.view != "frontal")
    return Listed(list(entries.values()), len(seen), len(entries), views.rowless)


def _items(path: Path) -> Iterator[Mapping[str, Any]]:
    """The items of all splits; a file that is a list holds them directly."""
    advice = "get R2Gen's annotation.json of MIMIC-CXR again, or remove it: tables are read then"
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}", advice) from error
    if isinstance(content, list):
        yield from content
    elif isinstance(content, dict) and all(isinstance(v, list) for v in content.values()):
        for split, items in content.items():
            yield from ({"split": split, **i} if isinstance(i, dict) else i for i in items)
    else:
        raise DataError(f"{path} is neither a list of items nor splits of them", advice)


def _parsed(item: Any, place: str, by_image: bool) -> tuple[Entry, list[str]]:
    """An item without images, and the keys of its images."""
    try:
        paths = item["image_path"]
        paths = [paths] if isinstance(paths, str) else list(paths)
        keys = [key_of(path) for path in paths]
        split, patient = item["split"], str(item["subject_id"])
        report = "" if item["report"] is None else str(item["report"])
        study = str(item.get("study_id") or _study_of(keys)).removeprefix("s")
        name = str(item["id"]) if by_image else f"s{study}"
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(
            f"{place} has no {error}" if isinstance(error, KeyError) else f"{place} is no item",
            "an item has id, split, subject_id, study_id, report and image_path",
        ) from None
    return Entry(name, study, patient, split_of(split, place), report=report), keys


def _study_of(keys: list[str]) -> str:
    """`p10/p10000032/s50414267/<dicom>` says which study it is of."""
    parts = keys[0].split("/")
    return parts[-2] if len(parts) > 1 else parts[-1]
