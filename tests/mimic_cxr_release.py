"""A made MIMIC-CXR in exactly the release's layout, of any number of studies, with tiny images.

`python tests/mimic_cxr_release.py FOLDER STUDIES` writes FOLDER/mimic_cxr. 227,827 studies make
377,110 images, as the release lists. Names, columns, folders, shares of splits, views and sections
are the release's; texts are sentences of ours, drawn by a fixed seed.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from bench.data.mimic_cxr.layout import METADATA_FILE, SPLIT_FILE

IMAGES, STUDIES = 377_110, 227_827  # of the release
SPLIT_HEADER = ("dicom_id", "study_id", "subject_id", "split")
METADATA_HEADER = (
    "dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition",
    "Rows", "Columns", "StudyDate", "StudyTime", "ProcedureCodeSequence_CodeMeaning",
    "ViewCodeSequence_CodeMeaning", "PatientOrientationCodeSequence_CodeMeaning",
)  # fmt: skip
MEANING = {"AP": "antero-posterior", "PA": "postero-anterior", "LATERAL": "lateral"}
REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)
 
 INDICATION:  ___-year-old with cough.
 
 COMPARISON:  ___.
 
 {body}"""  # noqa: W293 - as in the release
_PARTS = ("lungs", "heart", "mediastinum", "pleura", "aorta", "bones", "right base", "left base")
_STATES = ("clear", "normal", "unchanged", "enlarged", "hazy", "improved", "absent", "stable")


@dataclass
class Made:
    """One study: `images` are (dicom, view position); `report` None makes no file."""

    patient: str
    study: str
    split: str
    images: list[tuple[str, str]] = field(default_factory=list)
    report: str | None = None

    @property
    def folder(self) -> str:
        return f"p{self.patient[:2]}/p{self.patient}"


def studies(count: int, seed: int = 0) -> Iterator[Made]:
    """Of about 3.5 studies a patient; 1 in 76 is of validation, 1 in 44 of test, as published."""
    rng = np.random.default_rng(seed)
    patient, left, split = 10_000_031, 0, "train"
    for number in range(count):
        if not left:
            patient += int(rng.integers(1, 140)) if count > 1000 else int(rng.integers(1, 90_000))
            left = int(rng.integers(1, 7))
            split = str(rng.choice(["train", "validate", "test"], p=[0.965, 0.0131, 0.0219]))
        left -= 1
        study = str(50_000_000 + number * 43 + int(rng.integers(40)))
        own = (number + 1) * IMAGES // STUDIES - number * IMAGES // STUDIES
        images = [(_dicom(rng), view) for view in _views(own, rng)]
        yield Made(str(patient), study, split, images, REPORT.format(body=_body(rng)))


def _views(count: int, rng: np.random.Generator) -> Sequence[str]:
    """View positions of a study of so many images; one in 25 is blank."""
    if rng.random() < 0.04:
        return ("",) * count
    if count == 1:
        return ("AP",)
    return ("PA", "LATERAL" if rng.random() < 0.7 else "LL")


def _dicom(rng: np.random.Generator) -> str:
    digits = rng.bytes(20).hex()
    return "-".join(digits[i : i + 8] for i in range(0, 40, 8))


def _body(rng: np.random.Generator) -> str:
    """Of ten reports seven have findings, as in the release; most end with an impression."""
    kind = rng.random()
    impression = f"IMPRESSION: \n \n {_sentences(rng, 1)}\n"
    if kind < 0.69:
        return f"FINDINGS: \n \n {_sentences(rng, int(rng.integers(3, 9)))}\n \n {impression}"
    return impression if kind < 0.97 else f"{_sentences(rng, 3)}\n"


def _sentences(rng: np.random.Generator, count: int) -> str:
    lines = []
    for part, state, other in rng.integers(0, 8, (count, 3)):
        lines.append(f"The {_PARTS[part]} and {_PARTS[other]} are {_STATES[state]}.")
    return "\n ".join(lines)


# --- writing -------------------------------------------------------------------------------------


def write(folder: Path, made: Sequence[Made], size: int = 8, texts: str = "reports/files") -> Path:
    """`folder` as PhysioNet's two releases fill it; images are noise of `size` pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(folder, made)
    rng = np.random.default_rng(1)
    bodies = [jpeg(rng.integers(0, 256, (size, size + 1), dtype=np.uint8)) for _ in range(64)]
    number = 0
    for study in made:
        place = folder / "files" / study.folder / f"s{study.study}"
        place.mkdir(parents=True, exist_ok=True)
        for dicom, _ in study.images:
            (place / f"{dicom}.jpg").write_bytes(bodies[number % len(bodies)])
            number += 1
        write_report(folder / texts, study)
    return folder


def write_tables(folder: Path, made: Sequence[Made]) -> None:
    write_csv(folder / SPLIT_FILE, SPLIT_HEADER, split_rows(made))
    write_csv(folder / METADATA_FILE, METADATA_HEADER, metadata_rows(made))


def split_rows(made: Sequence[Made]) -> list[Sequence[str]]:
    return [(d, s.study, s.patient, s.split) for s in made for d, _ in s.images]


def metadata_rows(made: Sequence[Made]) -> list[Sequence[str]]:
    name = "CHEST (PA AND LAT)"
    sizes = ("3056", "2544", "21800506", "213014.531")
    return [
        (d, s.patient, s.study, name, view, *sizes, name, MEANING.get(view, ""), "Erect")
        for s in made
        for d, view in s.images
    ]


def write_report(reports: Path, study: Made) -> None:
    if study.report is not None:
        path = reports / study.folder / f"s{study.study}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(study.report, encoding="utf-8")


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data, 1, mtime=0) if path.suffix == ".gz" else data)


def jpeg(grey: np.ndarray) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(grey).save(out, "JPEG", quality=90)
    return out.getvalue()


# --- six studies, each with a reason to be here ---------------------------------------------------


def small() -> list[Made]:
    """Two of one patient, one without findings, one lateral, one with an unknown second view."""
    one, two, three = ("10000032", "11000183", "19000001")
    rows = [
        (one, "50414267", "train", [("d1", "LATERAL"), ("d2", "PA")], "FINDINGS: Clear lungs."),
        (one, "53189527", "train", [("d3", "AP"), ("d4", "AP")], "FINDINGS:\n Clear\n heart."),
        ("10000764", "57375967", "train", [("d5", "AP")], "IMPRESSION: No findings section."),
        (two, "51967845", "validate", [("d6", "LL")], "FINDINGS: Only a lateral."),
        (two, "51967846", "validate", [("d7", "PA")], "FINDINGS: Fine.\n \n IMPRESSION: Good."),
        (three, "59999999", "test", [("d8", "PA"), ("d9", "")], "FINDINGS: Clear lungs."),
    ]
    return [Made(p, s, name, list(i), f" FINAL REPORT\n {text}\n") for p, s, name, i, text in rows]


def small_release(root: Path, texts: str = "reports/files") -> Path:
    return write(root / "mimic_cxr", small(), texts=texts)


def annotation(made: Sequence[Made]) -> dict[str, list[dict[str, Any]]]:
    """R2Gen's annotation.json: one item an image."""
    found: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "test": []}
    for study in made:
        split = study.split.replace("validate", "val")
        for dicom, _ in study.images:
            found[split].append(
                {
                    "id": dicom,
                    "study_id": int(study.study),
                    "subject_id": int(study.patient),
                    "report": f"findings of {study.study}",
                    "image_path": [f"{study.folder}/s{study.study}/{dicom}.jpg"],
                    "split": split,
                }
            )
    return found


def r2gen_release(root: Path, made: Sequence[Made]) -> Path:
    """R2Gen's layout: annotation.json and images/, and nothing else."""
    folder = root / "mimic_cxr"
    folder.mkdir(parents=True)
    (folder / "annotation.json").write_text(json.dumps(annotation(made)))
    for study in made:
        for dicom, _ in study.images:
            path = folder / "images" / study.folder / f"s{study.study}" / f"{dicom}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg(np.full((9, 7), 30, dtype=np.uint8)))
    return folder


def packed(folder: Path, place: str = "mimic-cxr-reports.zip") -> None:
    """The reports as PhysioNet's zip file."""
    with zipfile.ZipFile(folder / place, "w") as file:
        for path in (folder / "reports/files").rglob("*.txt"):
            file.write(path, f"files/{path.relative_to(folder / 'reports/files')}")
    shutil.rmtree(folder / "reports")


if __name__ == "__main__":
    write(Path(sys.argv[1]) / "mimic_cxr", list(studies(int(sys.argv[2]))))
