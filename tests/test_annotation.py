"""Datasets out of the annotation files of other projects."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from bench.__main__ import main
from bench.data.registry import check_dataset, open_dataset
from bench.data.study import SECTIONS
from bench.errors import BenchError, DataError
from bench.formats.annotation import load

PATHS = ["CXR1_IM-1/0.png", "CXR1_IM-1/1.png"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    images = tmp_path / "iu_xray" / "images" / "CXR1_IM-1"
    images.mkdir(parents=True)
    for name in ("0.png", "1.png"):
        Pillow.fromarray(np.full((4, 3), 7, np.uint8)).save(images / name)
    return tmp_path / "iu_xray"


def rexrank(folder: Path) -> None:
    def study(findings: str, impression: str | None, split: str) -> dict[str, object]:
        return {
            "image_path": PATHS, "frontal_lateral": ["Lateral", "Frontal"], "split": split,
            "section_findings": findings, "section_impression": impression,
            "report": f"Findings: {findings} Impression: {impression}",
        }  # fmt: skip

    test = {"CXR1_IM-1": study("Clear.", "Normal.", "test"), "CXR2_IM-2": study("x", None, "test")}
    (folder / "ReXRank_IUXray_test.json").write_text(json.dumps(test))
    valid = {"CXR3_IM-3": study("Lungs clear.", "No change.", "valid")}
    (folder / "ReXRank_IUXray_valid.json").write_text(json.dumps(valid))


def test_rexrank_has_sections_views_and_splits(folder: Path) -> None:
    rexrank(folder)
    both = open_dataset("iu_xray_rexrank")
    assert [(s.id, s.patient, s.split, s.report) for s in both.studies] == [
        ("CXR1_IM-1", "1", "test", "Clear. Normal."),
        ("CXR3_IM-3", "3", "val", "Lungs clear. No change."),
    ]
    assert [image.view for image in both.studies[0].images] == ["lateral", "frontal"]
    assert both.read(both.studies[0].images[0]).shape == (4, 3)
    impression = open_dataset("iu_xray_rexrank", section="impression")
    assert [s.report for s in impression.studies] == ["Normal.", "No change."]
    findings = open_dataset("iu_xray_rexrank", section="findings")
    assert len(findings.studies) == 3
    assert len({d.manifest for d in (both, impression, findings)}) == 3
    report = check_dataset("iu_xray_rexrank").render()
    assert "4 of 4 present" in report
    assert "left out without: CXR2_IM-2" in report


def test_promptmrg_is_all_test(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = [{"id": "CXR1_IM-1", "report": "Clear.", "image_path": PATHS[:1], "labels": [0]}]
    (folder / "iu_annotation_promptmrg.json").write_text(json.dumps(entries))
    made = folder.parent / "p.csv"
    made.write_text("id,report\nCXR1_IM-1,Clear.\n")
    argv = ["score", str(made), "dataset=iu_xray_promptmrg", "--metrics", "BLEU,diversity"]
    assert main([*argv, "--treatments", "r2gen@1", "--json"]) == 3  # nothing could be computed
    rows = json.loads(capsys.readouterr().out)["scores"]
    assert all("--vocabulary" in row["unavailable"] for row in rows)


def test_benchx_is_a_table_of_entries(folder: Path) -> None:
    with (folder / "iu_xray_annotations.csv").open("w", newline="") as file:
        rows = [["CXR1_IM-1", "Clear.", str(PATHS), "val"], ["CXR2_IM-2", "x", "[", "test"]]
        csv.writer(file).writerows([["id", "report", "image_path", "split"], *rows])
    with pytest.raises(DataError, match="image_path is no list"):
        load(folder.parent, "iu_xray/iu_xray_annotations.csv")
    text = (folder / "iu_xray_annotations.csv").read_text().replace(",[,", ",,")
    (folder / "iu_xray_annotations.csv").write_text(text)
    found = load(folder.parent, "iu_xray/iu_xray_annotations.csv")
    assert [(s.split, len(s.images)) for s in found.studies] == [("val", 2), ("test", 0)]


def test_benchx_is_a_dataset(folder: Path) -> None:
    with (folder / "iu_xray_annotations.csv").open("w", newline="") as file:
        rows = [["CXR1_IM-1", "Clear.", str(PATHS), "train"]]
        csv.writer(file).writerows([["id", "report", "image_path", "split"], *rows])
    found = open_dataset("iu_xray_benchx")
    assert [(s.id, s.split, len(s.images)) for s in found.studies] == [("CXR1_IM-1", "train", 2)]
    assert found.read(found.studies[0].images[1]).shape == (4, 3)


def test_names_and_signatures_tell_the_section(folder: Path) -> None:
    rexrank(folder)
    names = {s: open_dataset("iu_xray_rexrank", section=s).name for s in SECTIONS}
    assert names == {
        "findings": "ReXRank_IUXray",
        "impression": "ReXRank_IUXray-impression",
        "both": "ReXRank_IUXray-both",
    }
    assert open_dataset("iu_xray_rexrank").section == "both"


def test_predictions_for_studies_without_the_section_are_left_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A system writes for every study; the section that a dataset is of decides which count."""
    rexrank(folder)
    made = folder.parent / "p.csv"
    made.write_text("id,report\nCXR1_IM-1,Clear.\nCXR2_IM-2,x\n")
    argv = ["score", str(made), "dataset=iu_xray_rexrank", "--metrics", "ROUGE", "--json"]
    assert main(argv) == 0
    found = capsys.readouterr()
    assert "both: 1 studies without it left out: CXR2_IM-2" in found.err
    score = json.loads(found.out)["scores"][0]
    assert score["n"] == 1
    assert "|section:both|" in score["signature"]
    argv[1] = str(made.with_suffix(".txt"))
    Path(argv[1]).write_text("a\nb\n")  # in the order of all of the split
    assert main([*argv, "--in-order"]) == 0
    assert main([*argv, "dataset.section=impression", "--in-order"]) == 0


def test_what_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no iu_xray/iu_annotation_promptmrg\.json in"):
        open_dataset("iu_xray_promptmrg")
    (folder / "a.json").write_text('[{"id": 1, "report": "x", "split": "tset"}]')
    with pytest.raises(BenchError, match="did you mean 'test'"):
        load(folder.parent, "iu_xray/a.json")
    with pytest.raises(BenchError, match="unknown cleaning"):
        load(folder.parent, "iu_xray/a.json", cleaning="x")
