"""MIMIC-CXR on made files in exactly PhysioNet's and R2Gen's folder shapes."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from bench.__main__ import main
from bench.data import load as load_by_name
from bench.data import mimic_cxr
from bench.data.check import check_mimic_cxr
from bench.data.mimic_cxr import METADATA_FILE, SPLIT_FILE, load, sections
from bench.data.study import Image
from bench.errors import BenchError, DataError

# (subject, study, split, [(dicom, view position)], report)
RELEASE = [
    ("10000032", "50414267", "train", [("d1", "LATERAL"), ("d2", "PA")], "FINDINGS: Clear lungs."),
    ("10000032", "53189527", "train", [("d3", "AP"), ("d4", "AP")], "FINDINGS:\n Clear\n heart."),
    ("10000764", "57375967", "train", [("d5", "AP")], "IMPRESSION: No findings section."),
    ("11000183", "51967845", "validate", [("d6", "LL")], "FINDINGS: Only a lateral."),
    ("11000183", "51967846", "validate", [("d7", "PA")], "FINDINGS: Fine.\n\nIMPRESSION: Good."),
    ("19000001", "59999999", "test", [("d8", "PA"), ("d9", "")], "FINDINGS: Clear lungs."),
]


def physionet(root: Path, reports: str = "reports/files") -> Path:
    folder = root / "mimic_cxr"
    folder.mkdir(parents=True)
    splits, metadata = [], []
    for subject, study, split, images, report in RELEASE:
        place = f"p{subject[:2]}/p{subject}"
        text = folder / reports / place / f"s{study}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(f" FINAL REPORT\n{report}\n")
        for dicom, view in images:
            write_image(folder / "files" / place / f"s{study}" / f"{dicom}.jpg", len(splits))
            splits.append((dicom, study, subject, split))
            metadata.append((dicom, subject, study, view))
    write_csv(folder / SPLIT_FILE, ["dicom_id", "study_id", "subject_id", "split"], splits)
    header = ["dicom_id", "subject_id", "study_id", "ViewPosition"]
    write_csv(folder / METADATA_FILE, header, metadata)
    return folder


def write_image(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.full((9, 7), 10 * value, dtype=np.uint8)).save(path)


def write_csv(path: Path, header: list[str], rows: list[tuple[str, ...]]) -> None:
    with gzip.open(path, "wt", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def r2gen(root: Path) -> Path:
    folder = root / "mimic_cxr"
    annotation: dict[str, list] = {"train": [], "val": [], "test": []}
    for subject, study, split, images, report in RELEASE:
        for dicom, _ in images:
            path = f"p{subject[:2]}/p{subject}/s{study}/{dicom}.jpg"
            write_image(folder / "images" / path, 3)
            name = split.replace("validate", "val")
            entry = {"id": dicom, "study_id": int(study), "subject_id": int(subject)}
            entry |= {"report": report, "image_path": [path], "split": name}
            annotation[name].append(entry)
    (folder / "annotation.json").write_text(json.dumps(annotation))
    return folder


def test_frontal_studies_of_physionet(tmp_path: Path) -> None:
    physionet(tmp_path)
    data = load(tmp_path)
    assert [(s.id, s.patient, s.split) for s in data.studies] == [
        ("s50414267", "10000032", "train"),
        ("s53189527", "10000032", "train"),
        ("s51967846", "11000183", "val"),
        ("s59999999", "19000001", "test"),
    ]
    assert [[i.key.rsplit("/")[-1] for i in s.images] for s in data.studies] == [
        ["d2"],
        ["d3", "d4"],
        ["d7"],
        ["d8"],
    ]
    assert data.studies[1].report == "Clear heart."
    assert data.studies[2].sections == {"impression": "Good."}
    assert (data.cleaning, data.min_count, data.max_length) == ("mimic", 10, 100)


def test_all_views_put_the_frontal_first(tmp_path: Path) -> None:
    physionet(tmp_path)
    data = load(tmp_path, views="all")
    assert data.name == "mimic_cxr_all"
    first, *_, lateral_only, _, test = data.studies
    assert first.images == (
        Image("p10/p10000032/s50414267/d2", "frontal"),
        Image("p10/p10000032/s50414267/d1", "lateral"),
    )
    assert [i.view for i in lateral_only.images] == ["lateral"]
    assert [i.view for i in test.images] == ["frontal", "other"]


def test_images_are_read_one_by_one(tmp_path: Path) -> None:
    physionet(tmp_path)
    data = load(tmp_path)
    pixels = data.read(data.split("test")[0].images[0])
    assert pixels.shape == (9, 7)
    assert abs(int(pixels[0, 0]) - 70) <= 2  # JPEG


@pytest.mark.parametrize("reports", ["reports/files", "reports", "files"])
def test_reports_may_lie_in_three_places(tmp_path: Path, reports: str) -> None:
    physionet(tmp_path, reports)
    assert len(load(tmp_path).studies) == 4


def test_sections_file_gives_the_same_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = physionet(tmp_path)
    before = load(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    assert main(["data", "prepare", "mimic_cxr"]) == 0
    for text in folder.rglob("*.txt"):
        text.unlink()
    after = load(tmp_path)
    assert (after.studies, after.manifest) == (before.studies, before.manifest)


def test_what_cannot_be_prepared_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no MIMIC-CXR"):
        mimic_cxr.prepare(tmp_path)
    folder = physionet(tmp_path)
    (folder / mimic_cxr.SECTIONS).mkdir()  # in the file's way
    with pytest.raises(BenchError, match="cannot write"):
        mimic_cxr.prepare(tmp_path)
    assert not list(folder.glob("*.part"))
    next(folder.rglob("s5*.txt")).unlink()
    with pytest.raises(DataError, match="cannot read the report"):
        mimic_cxr.prepare(tmp_path)
    assert not list(folder.glob("*.part"))
    (folder / "annotation.json").write_text("{}")
    with pytest.raises(BenchError, match="needs no preparation"):
        mimic_cxr.prepare(tmp_path)


def test_manifest_follows_texts_and_views(tmp_path: Path) -> None:
    folder = physionet(tmp_path)
    digests = {load(tmp_path).manifest, load(tmp_path, views="all").manifest}
    text = next(folder.rglob("s59999999.txt"))
    text.write_text(text.read_text().replace("Clear", "Cloudy"))
    assert len(digests | {load(tmp_path).manifest}) == 3


def test_r2gen_has_one_item_per_image(tmp_path: Path) -> None:
    r2gen(tmp_path)
    data = load(tmp_path, views="all")
    assert [s.id for s in data.split("val")] == ["d6", "d7"]
    assert data.split("train")[0].patient == "10000032"
    assert {i.view for s in data.studies for i in s.images} == {"other"}
    assert data.read(data.studies[0].images[0]).shape == (9, 7)


def test_r2gen_frontal_needs_the_metadata(tmp_path: Path) -> None:
    folder = r2gen(tmp_path)
    with pytest.raises(DataError, match=METADATA_FILE):
        load(tmp_path)
    rows = [(d, s, t, v) for s, t, _, images, _ in RELEASE for d, v in images]
    write_csv(folder / METADATA_FILE, ["dicom_id", "subject_id", "study_id", "ViewPosition"], rows)
    assert [s.id for s in load(tmp_path).studies] == ["d2", "d3", "d4", "d5", "d7", "d8"]


def test_check(tmp_path: Path) -> None:
    folder = physionet(tmp_path)
    figures = check_mimic_cxr(tmp_path).figures()
    assert figures["studies.train"] == 2
    assert figures["verbatim reports.test"] == 1.0
    assert figures["patients.shared"] == 0
    next(folder.rglob("d8.jpg")).unlink()
    report = check_mimic_cxr(tmp_path)
    assert report.status == "fail"
    assert "missing: p19/p19000001/s59999999/d8" in report.render()


def test_errors_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither mimic-cxr-2"):
        load(tmp_path)
    folder = physionet(tmp_path)
    with pytest.raises(BenchError, match="unknown choice of views"):
        load(tmp_path, views="lateral")
    with pytest.raises(BenchError, match="it takes"):
        load_by_name("bench.data.mimic_cxr.load", tmp_path, view="all")
    next(folder.rglob("s59999999.txt")).unlink()
    with pytest.raises(DataError, match=r"s59999999\.txt"):
        load(tmp_path)
    (folder / METADATA_FILE).write_bytes((folder / METADATA_FILE).read_bytes()[:-9])
    with pytest.raises(DataError, match=METADATA_FILE):
        load(tmp_path)


REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with new ascites  // eval for infection

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  Chest radiograph at 12:30 of ___.

 FINDINGS:

 There is no focal consolidation.
 Note: the nipples are seen. Bilateral nodular opacities
 are unchanged since 11:05.

 IMPRESSION:

 No acute process.

 NOTIFICATION:  Discussed by phone.
"""


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (
            REPORT,
            {
                "findings": "There is no focal consolidation. Note: the nipples are seen. "
                "Bilateral nodular opacities are unchanged since 11:05.",
                "impression": "No acute process.",
            },
        ),
        ("FINDINGS: One.\nADDENDUM: x\nFINDINGS: Two.", {"findings": "One. Two."}),
        ("Findings: Small letters.\nImpression: Too.", None),
        ("FINDINGS AND IMPRESSION: Both.", {}),
        ("FINDINGS/IMPRESSION: Both.", {}),
        ("CHEST FINDINGS: Clear.", {"findings": "Clear."}),
        ("FINDINGS:\n\nIMPRESSION: Clear.", {"impression": "Clear."}),
        ("PA AND LATERAL VIEWS OF THE CHEST: Clear.", {}),
        ("The FINDINGS: are not at the start of a line.", {}),
        ("", {}),
    ],
)
def test_sections(report: str, expected: dict[str, str] | None) -> None:
    if expected is None:
        expected = {"findings": "Small letters.", "impression": "Too."}
    assert sections(report) == expected
