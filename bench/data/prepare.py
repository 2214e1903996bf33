"""`bench data prepare`: R2Gen's layout of IU X-ray from a public release; the manifests' makers.

The prepared folder serves R2Gen's own code and its forks as well as `bench.data.iu_xray`: links
to the release's files under R2Gen's names, and an annotation that also keeps what R2Gen dropped
(image keys, views, labels, other sections). The release itself is not touched.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.data import iu_xray, manifest
from bench.data.iu_xray import NAME, Source
from bench.data.manifest import Entry, Manifest, Rendition
from bench.data.study import SPLITS, Dataset, Image, Study
from bench.errors import BenchError, DataError, some

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}  # of the exchangeable division
SEED = "iu_xray_exchangeable/1"


def prepare_iu_xray(root: Path, out: Path, copy: bool = False) -> Path:
    """Write `<out>/iu_xray/` in R2Gen's layout from the release in `<root>/iu_xray`.

    Every text and image is verified first, as in `iu_xray.load`. Images are linked, or with
    `copy` copied. Returns the new folder; `BENCH_DATA=<out>` reads it.
    """
    target = out / NAME
    if target.resolve() == (root / NAME).resolve():
        raise BenchError(f"{target} is the release itself", "choose another folder with --out")
    data = iu_xray.load(root)
    files = iu_xray.open_source(root).files
    try:
        annotation = {s: [_entry(x, files) for x in data.split(s)] for s in SPLITS}
        for entry in (e for split in annotation.values() for e in split):
            _place(entry, files, target / "images", copy)
        part = target / "annotation.json.part"
        part.write_text(json.dumps(annotation, indent=1), encoding="utf-8")
        part.replace(target / "annotation.json")
    except OSError as error:
        raise BenchError(
            f"cannot write {target}: {error.strerror}", "choose another folder with --out"
        ) from error
    return target


def _entry(study: Study, files: Mapping[str, Path]) -> dict:
    names = [f"{study.id}/{n}{files[i.key].suffix}" for n, i in enumerate(study.images)]
    entry = {
        "id": study.id,
        "report": study.report,
        "image_path": names,
        "split": study.split,
        "images": [{"key": i.key, "view": i.view} for i in study.images],
        "sections": dict(study.sections),
    }
    return entry if study.labels is None else {**entry, "labels": sorted(study.labels)}


def _place(entry: Mapping, files: Mapping[str, Path], images: Path, copy: bool) -> None:
    for image, name in zip(entry["images"], entry["image_path"], strict=True):
        path = images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if copy:
            shutil.copyfile(files[image["key"]], path)
        else:
            path.symlink_to(files[image["key"]].resolve())


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


def hashed(path: Path) -> tuple[int, str]:
    """Size and sha256 of a file."""
    data = path.read_bytes()
    return len(data), hashlib.sha256(data).hexdigest()


def build_exchangeable(base: Manifest, data: Dataset) -> dict[str, str]:
    """Study id -> split of `iu_xray_exchangeable`: about 70/10/20, normal and abnormal alike."""
    normal = {s.id: "normal" if "normal" in (s.labels or ()) else "abnormal" for s in data.studies}
    return manifest.exchangeable(base, normal, SHARES, SEED)


def write_manifests(root: Path, folder: Path = manifest.FOLDER) -> None:
    """Make the shipped files again, from the public tables beside R2Gen's annotation.json."""
    base = build_manifest(root / NAME / "annotation.json", root / NAME)
    manifest.write(folder / f"{NAME}.csv.gz", base.content)
    source = iu_xray.open_source(root)
    rendition = build_rendition("256-jpg", source, base)
    manifest.write(folder / f"{NAME}.256-jpg.csv.gz", rendition.content)
    splits = build_exchangeable(base, iu_xray.dataset(NAME, source, base))
    divided = manifest.splits_csv(base.resplit(splits))
    manifest.write(folder / f"{NAME}_exchangeable.split.csv.gz", divided)
