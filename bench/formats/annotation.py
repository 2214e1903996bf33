"""A dataset out of one annotation file, whatever project wrote it: all of it is what the file says.

Read are R2Gen's annotation and its kin: splits of entries, one list of entries (PromptMRG's IU
X-ray, all of it to test on), a map of ids with sections (ReXrank), a table of entries (BenchX). An
entry has an id, a report or its sections, and `image_path`. Unlike IU X-ray's own reader this one
knows no manifest: nothing says whether texts and images are those of the release.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.check import Finding, Report, check
from bench.data.images import read_grey
from bench.data.manifest import sha256
from bench.data.study import Dataset, Image, Study, said_section
from bench.data.text import MAX_LENGTHS, MIN_COUNTS
from bench.errors import DataError, some, unknown
from bench.formats import roles
from bench.formats.reading import read
from bench.formats.reports import read_reports_of
from bench.formats.roles import Columns
from bench.formats.rows import ALL, SPLIT_NAMES, Row, Rows

TEST = "test"
_PATIENT = re.compile(r"CXR(\d+)_")  # IU X-ray's ids begin with the patient's number
_VIEWS = {"frontal": "frontal", "lateral": "lateral", "pa": "frontal", "ap": "frontal"}


@dataclass(frozen=True)
class Opened:
    """What the files hold: studies with a report, and the ids of those without."""

    studies: tuple[Study, ...]
    files: Mapping[str, Path]
    left_out: tuple[str, ...]


def load(
    root: Path, file: str, images: str = "", section: str = "", cleaning: str = "iu", name: str = ""
) -> Dataset:
    """The studies of `<root>/<file>`, which may be a pattern of several files.

    images: folder of the images below `root`; by default `images` beside the file.
    section: "findings", "impression" or "both" where the file has sections; studies without it are
        left out (`bench data check` names them).
    cleaning: "iu" or "mimic", the variant of R2Gen's. name: by default the file's.
    """
    if cleaning not in MIN_COUNTS:
        raise unknown("cleaning", cleaning, MIN_COUNTS)
    found = opened(root, file, images, section)
    facts = "\n".join(_fact(study, found.files) for study in found.studies)

    def picture(image: Image) -> np.ndarray:
        if image.key not in found.files:
            raise DataError(f"no image {image.key} for {file}", "put it there, or name images=")
        return read_grey(found.files[image.key])

    return Dataset(
        name or _named(file, section), found.studies, sha256(f"{section} {cleaning}\n{facts}"),
        picture, cleaning, MIN_COUNTS[cleaning], MAX_LENGTHS[cleaning], section=section,
    )  # fmt: skip


def _named(file: str, section: str) -> str:
    """The file's name, with the section that its reports are: it stands beside every score."""
    return "-".join(filter(None, (Path(file).stem.rstrip("*_-"), said_section(section))))


def opened(root: Path, file: str, images: str = "", section: str = "") -> Opened:
    """What `load` makes a dataset of."""
    paths = sorted(root.glob(file))
    if not paths:
        raise DataError(f"no {file} in {root}", "set BENCH_DATA to the folder that holds it")
    studies: list[Study] = []
    files: dict[str, Path] = {}
    left_out: list[str] = []
    for path in paths:
        folder = root / images if images else path.parent / "images"
        rows = read(path, ALL)
        columns = Columns(section=section)
        fields = roles.references_of(rows, columns)
        reports = read_reports_of(rows, columns, fields)
        left_out += reports.left_out
        by_id = dict(zip(_ids(rows, columns), rows.rows, strict=True))
        for study, text in reports.by_id().items():
            pictures = _pictures(rows, by_id[study])
            files |= {i.key: folder / i.key for i in pictures if (folder / i.key).is_file()}
            studies.append(_study(study, by_id[study], text, pictures))
    return Opened(tuple(studies), files, tuple(left_out))


def check_annotation(root: Path, **params: Any) -> Report:
    """`check`, how many studies have the section, and how many images have a file."""
    given = {k: params[k] for k in ("file", "images", "section") if k in params}
    found = opened(root, **given)
    keys = [image.key for study in found.studies for image in study.images]
    missing = [key for key in keys if key not in found.files]
    texts = f"in {len(found.studies):,} studies"
    if found.left_out:
        texts += f"; left out without: {some(found.left_out)}"
    pictures = f"{len(keys) - len(missing):,} of {len(keys):,} present"
    if missing:
        pictures += f"; missing: {some(missing)}"
    findings = (
        Finding("reports", "warn" if found.left_out else "ok", texts),
        Finding("images", "warn" if missing else "ok", pictures, {"missing": len(missing)}),
    )
    whole = check(load(root, **params))
    kept = tuple(f for f in whole.findings if f.name != "studies" or f.status == "ok")
    return Report(whole.dataset, (*findings, *kept))


def _ids(rows: Rows, columns: Columns) -> list[str]:
    key = roles.id_of(rows, columns)
    if not key:
        raise DataError(f"{rows.path} has no ids", "give each entry an id")
    return [str(row.fields[key]).strip() for row in rows.rows]


def _study(name: str, row: Row, text: str, images: tuple[Image, ...]) -> Study:
    split = str(row.fields.get("split") or TEST)
    if split not in SPLIT_NAMES:
        raise unknown(f"split of {row.place}", split, SPLIT_NAMES)
    match = _PATIENT.match(name)
    patient = match[1] if match else str(row.fields.get("subject_id") or name)
    return Study(name, patient, SPLIT_NAMES[split], images, text)


def _pictures(rows: Rows, row: Row) -> tuple[Image, ...]:
    value = row.fields.get("image_path") or []
    if isinstance(value, str) and value.startswith("["):  # pandas wrote a list into a cell
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            raise DataError(
                f"{rows.path}, {row.place}: image_path is no list: {value[:60]}",
                "write it as ['folder/0.png', 'folder/1.png']",
            ) from None
    paths = [value] if isinstance(value, str) else list(value)
    views = [str(v).lower() for v in row.fields.get("frontal_lateral") or []]
    named = [_VIEWS.get(v, "other") for v in views] if len(views) == len(paths) else []
    return tuple(Image(str(p), named[i] if named else "other") for i, p in enumerate(paths))


def _fact(study: Study, files: Mapping[str, Path]) -> str:
    """What identifies a study: its texts, and the sizes of its images."""
    sizes = [
        f"{i.key} {files[i.key].stat().st_size if i.key in files else '-'}" for i in study.images
    ]
    return f"{study.id} {study.split} {study.patient} {sha256(study.report)} {' '.join(sizes)}"
