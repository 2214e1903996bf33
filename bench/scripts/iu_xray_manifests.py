"""The manifests of IU X-ray that ship with the project, made again from the public release."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.data import divide, iu_xray, manifest
from bench.data.iu_xray import NAME, Source
from bench.data.manifest import Entry, Manifest, Rendition, hashed
from bench.data.study import Dataset, Image
from bench.errors import DataError, some
from bench.files import csv_text

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}  # of the exchangeable division


SEED = "iu_xray_exchangeable/1"
SEED_OF_FOLDS = "iu_xray_folds/1"


def build_manifest(annotation: Path, tables: Path) -> Manifest:
    """The manifest of R2Gen's `annotation.json`; views are chosen with the public tables.

    A study's number after "CXR" is its uid in the tables. Of its images in table order the first
    frontal and the first lateral are taken; where one kind is absent (12 studies), the first two.
    """
    with (tables / "indiana_projections.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    views: dict[str, list[Image]] = {}
    for row in rows:
        key = row["filename"].removesuffix(".png").removesuffix(".dcm")
        views.setdefault(row["uid"], []).append(Image(key, row["projection"].lower()))
    entries = []
    for item in (e for split in json.loads(annotation.read_text()).values() for e in split):
        uid = re.match(r"CXR(\d+)_", item["id"])[1]  # type: ignore[index]
        digest = manifest.text_hash(item["report"], iu_xray.CLEANING)
        entries.append(Entry(item["id"], uid, item["split"], digest, two_views(views[uid])))
    return Manifest(tuple(entries))


def two_views(images: Sequence[Image]) -> tuple[Image, ...]:
    """The first frontal and the first lateral image, else the first two."""
    frontal = [i for i in images if i.view == "frontal"]
    lateral = [i for i in images if i.view == "lateral"]
    return (frontal[0], lateral[0]) if frontal and lateral else tuple(images[:2])


def build_rendition(name: str, source: Source, wanted: Manifest) -> Rendition:
    """Sizes and hashes of the manifest's images as this folder has them."""
    keys = [image.key for entry in wanted.entries for image in entry.images]
    absent = [key for key in keys if key not in source.files]
    if absent:
        raise DataError(f"{len(absent)} images are missing: {some(absent)}", "complete the folder")
    return Rendition(name, {key: hashed(source.files[key]) for key in keys})


def build_exchangeable(base: Manifest, data: Dataset) -> dict[str, str]:
    """Study id -> split of `iu_xray_exchangeable`: about 70/10/20, normal and abnormal alike."""
    return divide.exchangeable(base, _strata(data), SHARES, SEED)


def build_folds(base: Manifest, data: Dataset) -> list[dict[str, str]]:
    """Study id -> split of each fold of `iu_xray_folds`, normal and abnormal alike."""
    return divide.folds(base, _strata(data), iu_xray.FOLDS, SEED_OF_FOLDS)


def _strata(data: Dataset) -> dict[str, str]:
    return {s.id: "normal" if "normal" in (s.labels or ()) else "abnormal" for s in data.studies}


def write_manifests(root: Path, folder: Path = manifest.FOLDER) -> None:
    """Make the shipped files again, from the public tables beside R2Gen's annotation.json."""
    base = build_manifest(root / NAME / "annotation.json", root / NAME)
    write(folder / f"{NAME}.csv.gz", base.content)
    source = iu_xray.open_source(root)
    rendition = build_rendition("256-jpg", source, base)
    write(folder / f"{NAME}.256-jpg.csv.gz", rendition.content)
    data = iu_xray.dataset(NAME, source, base)
    divided = splits_csv(base.resplit(build_exchangeable(base, data)))
    write(folder / f"{NAME}_exchangeable.split.csv.gz", divided)
    write(folder / f"{iu_xray.FOLDED}.split.csv.gz", folds_csv(base, build_folds(base, data)))


def splits_csv(manifest: Manifest) -> str:
    """The canonical CSV of a manifest's division alone."""
    return csv_text(("study", "split"), ((e.study, e.split) for e in manifest.entries))


def folds_csv(manifest: Manifest, folds: Sequence[Mapping[str, str]]) -> str:
    """The canonical CSV of a set of folds: one column each, studies in the manifest's order."""
    header = ("study", *(f"fold{f}" for f in range(len(folds))))
    ids = [entry.study for entry in manifest.entries]
    return csv_text(header, ((i, *(fold[i] for fold in folds)) for i in ids))


def write(path: Path, content: str) -> None:
    """`content`, compressed without a time stamp, so that equal contents give equal files."""
    path.write_bytes(gzip.compress(content.encode(), 9, mtime=0))
