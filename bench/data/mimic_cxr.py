"""MIMIC-CXR (Johnson et al., Scientific Data 2019) in either of two layouts of `<root>/mimic_cxr/`.

- PhysioNet's: `mimic-cxr-2.0.0-split.csv.gz`, `mimic-cxr-2.0.0-metadata.csv.gz`, images
  `files/p10/p10000032/s50414267/<dicom>.jpg`, and the reports of MIMIC-CXR in
  `reports/files/p10/p10000032/s50414267.txt` (or `reports/p10/…`, or beside the images). One
  study is one item, with all its images of the wanted views.
- R2Gen's: `annotation.json` and images `images/p10/…/<dicom>.jpg` (or `files/p10/…`). One image
  is one item there, so a study of two images counts twice.

Only the splits, the metadata and the texts are held in memory; an image is a key of 80 bytes.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from bench.data.images import read_grey
from bench.data.study import Dataset, Image, Study
from bench.errors import BenchError, DataError, unknown
from bench.files import replacing

NAME = "mimic_cxr"
CLEANING, MIN_COUNT, MAX_LENGTH = "mimic", 10, 100  # R2Gen's, for this dataset
SPLIT_FILE = "mimic-cxr-2.0.0-split.csv.gz"  # both keep 2.0.0 in release 2.1.0
METADATA_FILE = "mimic-cxr-2.0.0-metadata.csv.gz"
SOURCES = "physionet.org: MIMIC-CXR-JPG for images and tables, MIMIC-CXR for the reports"
FRONTAL, LATERAL = ("AP", "PA"), ("LATERAL", "LL")
VIEWS = ("frontal", "all")
SECTIONS = "sections.csv.gz"
_SPLITS = {"train": "train", "validate": "val", "val": "val", "test": "test"}

# A header stands at the start of a line, in capitals, before a colon. FINDINGS and IMPRESSION
# alone also occur in small letters, where other words before a colon are no headers.
_HEADER = re.compile(
    r"^[ \t]*((?:[A-Z][A-Z0-9 ,/()&-]*[A-Z)])|(?:Findings?|Impression))[ \t]*:", re.MULTILINE
)


def sections(report: str) -> dict[str, str]:
    """The "findings" and "impression" of a radiology report, white space normalised.

    A section of several parts (an addendum) is joined. A combined header ("FINDINGS AND
    IMPRESSION") is neither: what follows it is not known to be findings alone.
    """
    marks = list(_HEADER.finditer(report))
    parts: dict[str, list[str]] = {}
    for mark, following in zip_longest(marks, marks[1:]):
        end = following.start() if following else len(report)
        text = " ".join(report[mark.end() : end].split())
        if (name := _section(mark[1])) and text:
            parts.setdefault(name, []).append(text)
    return {name: " ".join(texts) for name, texts in parts.items()}


def _section(header: str) -> str | None:
    words = set(re.findall("[A-Z]+", header.upper()))
    findings, impression = bool(words & {"FINDING", "FINDINGS"}), "IMPRESSION" in words
    if findings == impression:
        return None
    return "findings" if findings else "impression"


@dataclass(frozen=True)
class Files:
    """Images by key: the path below `folder`, without its suffix."""

    folder: Path

    def read(self, image: Image) -> np.ndarray:
        """Grey uint8 (H, W)."""
        return read_grey(self.path(image))

    def path(self, image: Image) -> Path:
        """`<folder>/<key>.jpg`."""
        return self.folder / f"{image.key}.jpg"

    def fingerprint(self, image: Image) -> str:
        """The key: it holds the DICOM id, and PhysioNet's files of an id never change."""
        return image.key


def load(root: Path, views: str = "frontal") -> Dataset:
    """The studies with findings and at least one image of `views` ("frontal": AP or PA; "all")."""
    if views not in VIEWS:
        raise unknown("choice of views", views, VIEWS)
    folder = root / NAME
    files = open_files(folder)
    studies = tuple(_r2gen(folder, views) if _is_r2gen(folder) else _physionet(folder, views))
    if not studies:
        raise DataError(
            f"no study in {folder} has findings and an image", f"complete the release: {SOURCES}"
        )
    return Dataset(
        name=NAME if views == "frontal" else f"{NAME}_{views}",
        studies=studies,
        manifest=_digest(studies),
        read=files.read,
        cleaning=CLEANING,
        min_count=MIN_COUNT,
        max_length=MAX_LENGTH,
        fingerprint=files.fingerprint,
    )


def open_files(folder: Path) -> Files:
    """Where the images of a layout lie; DataError where there is none."""
    if _is_r2gen(folder) and (folder / "images").is_dir():
        return Files(folder / "images")
    if _is_r2gen(folder) or (folder / SPLIT_FILE).exists():
        return Files(folder / "files")
    raise DataError(
        f"no MIMIC-CXR in {folder}: neither {SPLIT_FILE} nor annotation.json",
        f"set BENCH_DATA to the folder that holds {NAME}/; {SOURCES}",
    )


def _is_r2gen(folder: Path) -> bool:
    return (folder / "annotation.json").exists()


def missing_images(root: Path, dataset: Dataset) -> list[str]:
    """Keys of images without a file. Not done by `load`: it asks the disk 370,000 times."""
    files = open_files(root / NAME)
    return [i.key for s in dataset.studies for i in s.images if not files.path(i).exists()]


def _digest(studies: Iterable[Study]) -> str:
    state = hashlib.sha256()
    for s in studies:
        text = hashlib.sha256(" ".join(s.report.split()).encode()).hexdigest()
        images = " ".join(f"{i.key}:{i.view}" for i in s.images)
        state.update(f"{s.id},{s.patient},{s.split},{text},{images}\n".encode())
    return state.hexdigest()


def _view(position: str) -> str:
    if position in FRONTAL:
        return "frontal"
    return "lateral" if position in LATERAL else "other"


def _positions(folder: Path) -> dict[str, str]:
    """DICOM id -> "frontal", "lateral" or "other" (unknown positions included)."""
    return {row["dicom_id"]: _view(row["ViewPosition"]) for row in _rows(folder / METADATA_FILE)}


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}", f"get it again: {SOURCES}") from error


def _physionet(folder: Path, views: str) -> Iterator[Study]:
    """Studies in the split file's order; frontal images come before others within a study."""
    positions = _positions(folder)
    images: dict[tuple[str, str, str], list[Image]] = {}
    for row in _rows(folder / SPLIT_FILE):
        patient, study, dicom = row["subject_id"], row["study_id"], row["dicom_id"]
        view = positions.get(dicom, "other")
        if views == "all" or view == "frontal":
            key = f"p{patient[:2]}/p{patient}/s{study}/{dicom}"
            group = (study, patient, _SPLITS[row["split"]])
            images.setdefault(group, []).append(Image(key, view))
    text = _texts(folder)
    for (study, patient, split), found in images.items():
        parts = text(patient, study)
        if parts.get("findings"):
            found.sort(key=lambda image: image.view != "frontal")
            rest = {k: v for k, v in parts.items() if k != "findings"}
            yield Study(f"s{study}", patient, split, tuple(found), parts["findings"], sections=rest)


def _texts(folder: Path) -> Callable[[str, str], Mapping[str, str]]:
    """(patient, study) -> sections; from `sections.csv.gz` where `prepare` has written it."""
    if (folder / SECTIONS).exists():
        known = {row["study_id"]: row for row in _rows(folder / SECTIONS)}
        return lambda patient, study: _written(known, study)
    reports = _reports(folder)
    return lambda patient, study: sections(_report(reports, patient, study))


def _written(known: Mapping[str, dict[str, str]], study: str) -> dict[str, str]:
    if study not in known:
        raise DataError(
            f"{SECTIONS} lacks study {study}",
            f"delete {SECTIONS}; `bench data prepare mimic_cxr` writes it again",
        )
    return {k: v for k, v in known[study].items() if k != "study_id" and v}


def _reports(folder: Path) -> Path:
    """The folder that holds p10/ to p19/ of the reports."""
    for candidate in (folder / "reports" / "files", folder / "reports", folder / "files"):
        if any(candidate.glob("p*/p*/s*.txt")):
            return candidate
    raise DataError(
        f"no reports in {folder}/reports: expected p10/p10000032/s50414267.txt below it",
        "unpack mimic-cxr-reports.zip of MIMIC-CXR (not MIMIC-CXR-JPG) there",
    )


def _report(reports: Path, patient: str, study: str) -> str:
    path = reports / f"p{patient[:2]}" / f"p{patient}" / f"s{study}.txt"
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(
            f"cannot read the report {path}: {error.strerror}",
            "unpack mimic-cxr-reports.zip of MIMIC-CXR again",
        ) from error


def prepare(root: Path) -> Path:
    """Gather all sections in `sections.csv.gz`: 227,835 files need not be opened again."""
    folder = root / NAME
    open_files(folder)
    if _is_r2gen(folder):
        raise BenchError(
            f"{folder} needs no preparation", "annotation.json holds the reports already"
        )
    reports, path = _reports(folder), folder / SECTIONS
    studies = {(r["subject_id"], r["study_id"]): None for r in _rows(folder / SPLIT_FILE)}
    try:
        with (
            replacing(path) as part,
            gzip.open(part, "wt", encoding="utf-8", newline="", compresslevel=6) as file,
        ):
            writer = csv.DictWriter(file, ["study_id", "findings", "impression"])
            writer.writeheader()
            for patient, study in studies:
                writer.writerow({"study_id": study, **sections(_report(reports, patient, study))})
    except OSError as error:
        raise BenchError(
            f"cannot write {path}: {error.strerror}",
            "free some space, or make the folder writable; reports can also be read one by one",
        ) from error
    finally:
        part.unlink(missing_ok=True)  # of a report that cannot be read as well
    return path


def _r2gen(folder: Path, views: str) -> Iterator[Study]:
    """R2Gen's entries in its order; their views come from PhysioNet's metadata, where present."""
    annotation = json.loads((folder / "annotation.json").read_text(encoding="utf-8"))
    if views == "frontal" and not (folder / METADATA_FILE).exists():
        raise DataError(
            f"annotation.json does not say which images are frontal: {METADATA_FILE} is missing",
            f"put {METADATA_FILE} into {folder}, or set views=all as R2Gen does",
        )
    positions = _positions(folder) if (folder / METADATA_FILE).exists() else {}
    for entry in (entry for split in annotation.values() for entry in split):
        key = str(Path(entry["image_path"][0]).with_suffix(""))
        view = positions.get(Path(key).name, "other")
        if views == "all" or view == "frontal":
            split = _SPLITS[entry["split"]]
            patient = str(entry["subject_id"])
            yield Study(entry["id"], patient, split, (Image(key, view),), entry["report"])
