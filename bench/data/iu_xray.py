"""IU X-ray (Indiana University, NLM Open-i; Demner-Fushman et al., JAMIA 2016), R2Gen's studies.

Three layouts of `<root>/iu_xray/` are read:

- tables: `indiana_reports.csv`, `indiana_projections.csv`, and images such as
  `images/1_IM-0001-4001.dcm.png` (or `.jpg`, or in `images/images_normalized/`);
- open-i: `ecgen-radiology/*.xml`, and images such as `NLMCXR_png/CXR1_1_IM-0001-4001.png`;
- r2gen: `annotation.json` and `images/<id>/{0,1}.png`, also as `bench data prepare` writes it.

Which studies, which split, and (but for R2Gen's own files) which images is the manifest's word.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from bench.data import manifest as manifests
from bench.data.images import read_grey
from bench.data.manifest import Entry, Manifest, Rendition, sha256, text_hash
from bench.data.study import Dataset, Image, Study
from bench.data.text import normalise
from bench.errors import BenchError, DataError, some, unknown

NAME = "iu_xray"
CLEANING, MIN_COUNT, MAX_LENGTH = "iu", 3, 60  # R2Gen's, for this dataset
FOLDED, FOLDS = "iu_xray_folds", 5
MANIFESTS = ("iu_xray", "iu_xray_exchangeable", FOLDED)
SOURCES = "the public tables are on Kaggle (raddar), Open-i's release at openi.nlm.nih.gov"

_IMAGE = re.compile(r"(?:CXR\d+_)?(?P<key>.+?)(?:\.dcm)?\.(?:png|jpe?g)", re.IGNORECASE)
_STUDY = re.compile(r"CXR(\d+)_")


@dataclass(frozen=True, slots=True)
class Record:
    """What a release says of one study; `images` only where it pairs them itself."""

    findings: str
    labels: frozenset[str] | None = None
    sections: Mapping[str, str] = field(default_factory=dict)
    images: tuple[Image, ...] = ()


@dataclass(frozen=True)
class Source:
    """A folder's content, whatever its layout: records by uid, image files by key."""

    layout: str
    folder: Path
    records: Mapping[str, Record]
    files: Mapping[str, Path]
    # Study id -> split, where the release itself defines studies (r2gen).
    splits: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Files:
    """Image files by key, with the sha256 of those that belong to a known rendition."""

    paths: Mapping[str, Path]
    hashes: Mapping[str, str]

    def read(self, image: Image) -> np.ndarray:
        """Grey uint8 (H, W)."""
        return read_grey(self.paths[image.key])

    def fingerprint(self, image: Image) -> str:
        """The recorded sha256 (`bench data check` verifies it); else size and time of change."""
        if image.key in self.hashes:
            return self.hashes[image.key]
        stat = self.paths[image.key].stat()
        return f"{stat.st_size}-{stat.st_mtime_ns}"


def load(root: Path, manifest: str = NAME, fold: int | None = None) -> Dataset:
    """The 2,955 studies of `manifest`, one of `MANIFESTS`, in its order.

    `fold`: 0 to 4 for "iu_xray_folds", None for the others. DataError for studies, texts or images
    that are missing, altered or not the manifest's.
    """
    wanted = named_manifest(manifest, fold)
    source = open_source(root)
    for problem, (names, fix) in problems(source, wanted).items():
        raise DataError(f"{source.folder}: {len(names)} {problem}: {some(names)}", fix)
    return dataset(manifest, source, wanted)


def named_manifest(name: str, fold: int | None = None) -> Manifest:
    """The manifest of `iu_xray`, or of another division of the same studies."""
    if name not in MANIFESTS:
        raise unknown("IU X-ray manifest", name, MANIFESTS)
    _check_fold(name, fold)
    base = manifests.load(NAME)
    if name == NAME:
        return base
    column = "split" if fold is None else f"fold{fold}"
    return base.resplit(manifests.load_splits(name, column))


def folds_of(name: str) -> tuple[int | None, ...]:
    """The folds of a manifest's name; (None,) where it is one division."""
    return tuple(range(FOLDS)) if name == FOLDED else (None,)


def _check_fold(name: str, fold: int | None) -> None:
    if name != FOLDED and fold is not None:
        raise BenchError(f"{name} has no folds, but fold {fold} is asked for", "leave fold out")
    if name == FOLDED and (type(fold) is not int or not 0 <= fold < FOLDS):
        given = "no fold" if fold is None else f"fold {fold}"
        raise BenchError(
            f"{name}: {given}, and its folds are 0 to {FOLDS - 1}", "give dataset.fold=0"
        )


def dataset(name: str, source: Source, wanted: Manifest) -> Dataset:
    """The dataset of a source without `problems`."""
    studies = tuple(_study(source, entry) for entry in wanted.entries)
    keys = [image.key for study in studies for image in study.images]
    rendition = recognise(source, keys)
    hashes = {k: rendition.files[k][1] for k in keys} if rendition else {}
    files = Files({k: source.files[k] for k in keys}, hashes)
    pixels = rendition.digest if rendition else _sizes(source, keys)
    return Dataset(
        name=name,
        studies=studies,
        manifest=sha256(f"{wanted.digest} {pixels}"),
        read=files.read,
        cleaning=CLEANING,
        min_count=MIN_COUNT,
        max_length=MAX_LENGTH,
        fingerprint=files.fingerprint,
    )


def _study(source: Source, entry: Entry) -> Study:
    record = source.records[entry.patient]
    return Study(
        id=entry.study,
        patient=entry.patient,
        split=entry.split,
        images=images_of(source, entry),
        report=record.findings,
        labels=record.labels,
        sections=record.sections,
    )


def images_of(source: Source, entry: Entry) -> tuple[Image, ...]:
    """The images of a study: the release's own pair, else the manifest's choice."""
    record = source.records.get(entry.patient)
    return record.images if record and record.images else entry.images


def problems(source: Source, wanted: Manifest) -> dict[str, tuple[list[str], str]]:
    """Everything that keeps a source from being the manifest: kind -> (names, fix)."""
    entries = wanted.entries
    missing = [e.study for e in entries if e.patient not in source.records]
    changed = [e.study for e in entries if altered(source, e)]
    images = [i.key for e in entries for i in images_of(source, e)]
    known = {e.study for e in manifests.load(NAME).entries}
    strange = sorted(set(source.splits or ()) - known)
    absent = [key for key in images if key not in source.files]
    again = f"get the release again: {SOURCES}"
    found = {
        "studies are missing": (missing, again),
        "studies are unknown": (strange, "use R2Gen's own annotation.json, or the public tables"),
        "studies are in another split than R2Gen's": (
            _moved(source),
            "use R2Gen's own annotation.json, or the public tables",
        ),
        "reports differ from the manifest": (changed, again),
        "images are missing": (absent, again),
        "images differ from their rendition": (altered_images(source, images), again),
    }
    return {kind: (names, fix) for kind, (names, fix) in found.items() if names}


def altered(source: Source, entry: Entry) -> bool:
    """Whether a study's text is here and is not the one that the manifest recorded."""
    record = source.records.get(entry.patient)
    return record is not None and text_hash(record.findings, CLEANING) != entry.text


def _moved(source: Source) -> list[str]:
    if source.splits is None:
        return []
    right = {e.study: e.split for e in manifests.load(NAME).entries}
    return [s for s, split in source.splits.items() if right.get(s, split) != split]


def recognise(source: Source, keys: list[str]) -> Rendition | None:
    """The known rendition that these files are, judged by the sizes of at least half of them."""
    for rendition in manifests.renditions(NAME):
        if sum(_fits(source, rendition, key) for key in keys) * 2 > len(keys):
            return rendition
    return None


def _fits(source: Source, rendition: Rendition, key: str) -> bool:
    path, known = source.files.get(key), rendition.files.get(key)
    return bool(path and known and path.stat().st_size == known[0])


def altered_images(source: Source, keys: list[str]) -> list[str]:
    """Present images whose size is not that of the recognised rendition."""
    rendition = recognise(source, keys)
    if rendition is None:
        return []
    return [k for k in keys if k in source.files and not _fits(source, rendition, k)]


def _sizes(source: Source, keys: list[str]) -> str:
    """Identity of unknown files: hashing gigabytes at each start would be too slow."""
    return sha256("\n".join(f"{k} {source.files[k].stat().st_size}" for k in keys))


def open_source(root: Path) -> Source:
    """Read the texts and list the images of `<root>/iu_xray`."""
    folder = root / NAME
    try:
        if (folder / "annotation.json").exists() and _pairs(folder):
            return _r2gen(folder)
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
        "annotation.json with images/<id>/",
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


def _r2gen(folder: Path) -> Source:
    annotation = json.loads((folder / "annotation.json").read_text(encoding="utf-8"))
    records, files, splits = {}, {}, {}
    for entry in (entry for split in annotation.values() for entry in split):
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
