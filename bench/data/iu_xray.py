"""IU X-ray (Indiana University, NLM Open-i; Demner-Fushman et al., JAMIA 2016), R2Gen's studies.

Its layouts of `<root>/iu_xray/` are those of `bench.data.iu_layouts`. Which studies, which split,
and (but for R2Gen's own files) which images is the manifest's word. What a report is to say is its
findings, as in R2Gen, or its impression, or both: other references, and so other data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.data import manifest as manifests
from bench.data.images import read_grey
from bench.data.iu_layouts import NAME, SOURCES, Record, Source, open_source
from bench.data.manifest import Entry, Manifest, Rendition, sha256, text_hash
from bench.data.study import FINDINGS, SECTIONS, Dataset, Image, Study
from bench.data.text import MAX_LENGTHS, MIN_COUNTS
from bench.errors import BenchError, DataError, some, unknown

CLEANING = "iu"  # R2Gen's, for this dataset
MIN_COUNT, MAX_LENGTH = MIN_COUNTS[CLEANING], MAX_LENGTHS[CLEANING]
FOLDED, FOLDS = "iu_xray_folds", 5
MANIFESTS = ("iu_xray", "iu_xray_exchangeable", FOLDED)


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


def load(
    root: Path, manifest: str = NAME, fold: int | None = None, section: str = FINDINGS
) -> Dataset:
    """The 2,955 studies of `manifest`, one of `MANIFESTS`, in its order.

    `fold`: 0 to 4 for "iu_xray_folds", None for the others. `section`: what the reports are, one of
    `SECTIONS`; studies without it are left out (`bench data check` names them). DataError for
    studies, texts or images that are missing, altered or not the manifest's.
    """
    if section not in SECTIONS:
        raise unknown("section", section, SECTIONS)
    wanted = named_manifest(manifest, fold)
    source = open_source(root)
    for problem, (names, fix) in problems(source, wanted).items():
        raise DataError(f"{source.folder}: {len(names)} {problem}: {some(names)}", fix)
    return dataset(manifest, source, wanted, section)


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


def without(source: Source, wanted: Manifest, section: str) -> list[str]:
    """The ids of studies whose report has no such section."""
    return [e.study for e in wanted.entries if not source.records[e.patient].section(section)]


def dataset(name: str, source: Source, wanted: Manifest, section: str = FINDINGS) -> Dataset:
    """The dataset of a source without `problems`."""
    lacking = set(without(source, wanted, section))
    entries = [entry for entry in wanted.entries if entry.study not in lacking]
    if not entries:
        raise DataError(
            f"{source.folder}: no report of the layout {source.layout} has its {section}",
            f"use the public tables or Open-i's release: {SOURCES}",
        )
    studies = tuple(_study(source, entry, section) for entry in entries)
    keys = [image.key for study in studies for image in study.images]
    rendition = recognise(source, keys)
    hashes = {k: rendition.files[k][1] for k in keys} if rendition else {}
    files = Files({k: source.files[k] for k in keys}, hashes)
    pixels = rendition.digest if rendition else _sizes(source, keys)
    return Dataset(
        name=name if section == FINDINGS else f"{name}-{section}",  # stands beside every score
        studies=studies,
        manifest=sha256(f"{wanted.digest} {pixels}{_said(studies, section)}"),
        read=files.read,
        cleaning=CLEANING,
        min_count=MIN_COUNT,
        max_length=MAX_LENGTH,
        section=section,
        fingerprint=files.fingerprint,
    )


def _said(studies: Sequence[Study], section: str) -> str:
    """What identifies the texts where they are not the findings, whose hashes the manifest has."""
    if section == FINDINGS:
        return ""
    return f" {section} {sha256(' '.join(text_hash(s.report, CLEANING) for s in studies))}"


def _study(source: Source, entry: Entry, section: str) -> Study:
    record = source.records[entry.patient]
    return Study(
        id=entry.study,
        patient=entry.patient,
        split=entry.split,
        images=images_of(source, entry),
        report=record.section(section),
        labels=record.labels,
        sections=record.sections if section == FINDINGS else _all_sections(record),
    )


def _all_sections(record: Record) -> Mapping[str, str]:
    """The findings, too, where the report is not they."""
    return {**record.sections, FINDINGS: record.findings}


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
