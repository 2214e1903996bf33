"""The layouts that IU X-ray is found in: texts by uid and image files by key, whatever the folder.

- tables: `indiana_reports.csv`, `indiana_projections.csv`, and images such as
  `images/1_IM-0001-4001.dcm.png` (or `.jpg`, or in `images/images_normalized/`);
- open-i: `ecgen-radiology/*.xml`, and images such as `NLMCXR_png/CXR1_1_IM-0001-4001.png`;
- r2gen: `annotation.json` and `images/<id>/{0,1}.png`, also as `bench data prepare` writes it, or
  BenchX's `iu_xray_annotations.csv`, the same entries as a table.
"""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench.data.study import Image
from bench.data.text import normalise
from bench.errors import DataError

NAME = "iu_xray"
SOURCES = "the public tables are on Kaggle (raddar), Open-i's release at openi.nlm.nih.gov"
ANNOTATION, BENCHX = "annotation.json", "iu_xray_annotations.csv"
FINDINGS, IMPRESSION = "findings", "impression"

_IMAGE = re.compile(r"(?:CXR\d+_)?(?P<key>.+?)(?:\.dcm)?\.(?:png|jpe?g)", re.IGNORECASE)
_STUDY = re.compile(r"CXR(\d+)_")


@dataclass(frozen=True, slots=True)
class Record:
    """What a release says of one study; `images` only where it pairs them itself."""

    findings: str
    labels: frozenset[str] | None = None
    sections: Mapping[str, str] = field(default_factory=dict)
    images: tuple[Image, ...] = ()

    def section(self, name: str) -> str:
        """The text of a section, "findings" or "impression", or of "both"; "" where it is not.

        Both is findings, then impression, and needs the two of them.
        """
        parts = {FINDINGS: self.findings, IMPRESSION: self.sections.get(IMPRESSION, "")}
        if name in parts:
            return parts[name] if parts[name].strip() else ""
        return " ".join(parts.values()) if all(p.strip() for p in parts.values()) else ""


@dataclass(frozen=True)
class Source:
    """A folder's content, whatever its layout: records by uid, image files by key."""

    layout: str
    folder: Path
    records: Mapping[str, Record]
    files: Mapping[str, Path]
    # Study id -> split, where the release itself defines studies (r2gen).
    splits: Mapping[str, str] | None = None


def open_source(root: Path) -> Source:
    """Read the texts and list the images of `<root>/iu_xray`."""
    folder = root / NAME
    try:
        if (folder / ANNOTATION).exists() and _pairs(folder):
            annotation = json.loads((folder / ANNOTATION).read_text(encoding="utf-8"))
            return _r2gen(folder, [entry for split in annotation.values() for entry in split])
        if (folder / BENCHX).exists() and _pairs(folder):
            return _r2gen(folder, _benchx(folder / BENCHX))
        if (folder / "indiana_reports.csv").exists():
            return _tables(folder)
        if (folder / "ecgen-radiology").is_dir():
            return _openi(folder)
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError, OSError,
            csv.Error, ElementTree.ParseError) as error:  # fmt: skip
        raise DataError(
            f"{folder} is damaged: {type(error).__name__}: {error}",
            f"get the release again: {SOURCES}",
        ) from error
    raise DataError(
        f"no IU X-ray in {folder}: neither indiana_reports.csv, ecgen-radiology/, nor "
        f"{ANNOTATION} or {BENCHX} with images/<id>/",
        f"set BENCH_DATA to the folder that holds {NAME}/; {SOURCES}",
    )


def image_key(name: str) -> str:
    """The key of an image file's name; a ValueError for what is none."""
    if match := _IMAGE.fullmatch(name):
        return match["key"]
    raise ValueError(f"{name!r} is not the name of an image")


def _pairs(folder: Path) -> bool:
    """Whether images/ holds one folder per study, as R2Gen's does."""
    return any(p.is_dir() and _STUDY.match(p.name) for p in _listed(folder / "images"))


def _listed(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.iterdir())) if folder.is_dir() else iter(())


def _image_files(*folders: Path) -> dict[str, Path]:
    """Image key -> file; the same key in two folders is taken from the first."""
    files: dict[str, Path] = {}
    for folder in folders:
        for path in _listed(folder):
            if match := _IMAGE.fullmatch(path.name):
                files.setdefault(match["key"], path)
    return files


def _tables(folder: Path) -> Source:
    with (folder / "indiana_reports.csv").open(encoding="utf-8", newline="") as file:
        records = {row["uid"]: _row(row) for row in csv.DictReader(file, strict=True)}
    images = folder / "images"
    return Source("tables", folder, records, _image_files(images, images / "images_normalized"))


def _row(row: Mapping[str, str]) -> Record:
    if None in row or None in row.values():
        raise ValueError(f"the row of {row['uid']} has another number of fields than the header")
    labels = frozenset(x.strip().lower() for x in row["Problems"].split(";") if x.strip())
    sections = {name: row[name] for name in ("impression", "indication") if row[name]}
    return Record(row["findings"], labels, sections)


def _openi(folder: Path) -> Source:
    records = {path.stem: _report(path) for path in _listed(folder / "ecgen-radiology")}
    files = _image_files(folder / "NLMCXR_png", folder / "images", folder)
    return Source("open-i", folder, records, files)


def _report(path: Path) -> Record:
    """One XML report. Its MeSH headings before the "/" are the table's Problems column.

    White space is normalised: a line break after a period would hide the sentence's end from
    R2Gen's cleaning, and the tables have none.
    """
    tree = ElementTree.parse(path)
    texts = {e.get("Label", "").lower(): e.text or "" for e in tree.iter("AbstractText")}
    headings = [e.text.split("/")[0] for e in tree.iter("major") if e.text]
    labels = frozenset(h.strip().lower() for h in headings if h.strip())
    sections = {name: texts[name] for name in ("impression", "indication") if texts.get(name)}
    return Record(normalise(texts.get("findings", "")), labels, sections)


def _benchx(path: Path) -> list[dict[str, Any]]:
    """R2Gen's entries as pandas wrote them; `image_path` is a list in Python's notation."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {**row, "image_path": ast.literal_eval(row["image_path"])}
            for row in csv.DictReader(file)
        ]


def _r2gen(folder: Path, entries: list[dict[str, Any]]) -> Source:
    records, files, splits = {}, {}, {}
    for entry in entries:
        match = _STUDY.match(entry["id"])
        uid = match[1] if match else entry["id"]
        images = _own_images(entry)
        labels = frozenset(entry["labels"]) if "labels" in entry else None
        records[uid] = Record(entry["report"], labels, entry.get("sections", {}), images)
        splits[entry["id"]] = entry["split"]
        for image, name in zip(images, entry["image_path"], strict=True):
            files[image.key] = folder / "images" / name
    present = {key: path for key, path in files.items() if path.exists()}
    return Source("r2gen", folder, records, present, splits)


def _own_images(entry: Mapping) -> tuple[Image, ...]:
    """R2Gen's files do not say which view they are; `bench data prepare` writes down what is."""
    if "images" in entry:
        return tuple(Image(image["key"], image["view"]) for image in entry["images"])
    return tuple(Image(str(Path(name).with_suffix("")), "other") for name in entry["image_path"])
