"""MIMIC-CXR on made files in exactly PhysioNet's and R2Gen's folder shapes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from mimic_cxr_release import METADATA_HEADER as HEADER
from mimic_cxr_release import (
    annotation,
    jpeg,
    metadata_rows,
    r2gen_release,
    small,
    small_release,
    write,
    write_csv,
)

from bench.__main__ import main
from bench.data import load as load_by_name
from bench.data import mimic_cxr
from bench.data.images import open_store
from bench.data.mimic_cxr import load
from bench.data.mimic_cxr.check import check_mimic_cxr
from bench.data.mimic_cxr.layout import METADATA_FILE
from bench.data.mimic_cxr.sections import VERSION
from bench.data.study import Image
from bench.errors import BenchError, DataError
from bench.model import ImageSpec
from bench.reporting.selection import Selection


def test_frontal_studies_of_physionet(tmp_path: Path) -> None:
    small_release(tmp_path)
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
    small_release(tmp_path)
    data = load(tmp_path, views="all")
    assert data.name == "mimic_cxr_all"
    first, *_, lateral_only, _, test = data.studies
    assert first.images == (
        Image("p10/p10000032/s50414267/d2", "frontal"),
        Image("p10/p10000032/s50414267/d1", "lateral"),
    )
    assert [i.view for i in lateral_only.images] == ["lateral"]
    assert [i.view for i in test.images] == ["frontal", "other"]


def test_images_are_read_one_by_one_and_a_decoder_may_halve_them(tmp_path: Path) -> None:
    folder = small_release(tmp_path)
    place = folder / "files/p19/p19000001/s59999999/d8.jpg"
    place.write_bytes(jpeg(np.full((64, 48), 70, dtype=np.uint8)))
    data, half = load(tmp_path), load(tmp_path, draft=20)
    image = data.split("test")[0].images[0]
    assert data.read(image).shape == (64, 48)
    assert half.read(image).shape == (32, 24)
    assert abs(int(half.read(image)[0, 0]) - 70) <= 2
    assert data.manifest != half.manifest
    assert data.fingerprint(image) != half.fingerprint(image)


@pytest.mark.parametrize("section", ["findings", "impression", "both"])
@pytest.mark.parametrize("rules", ["bench", "mit-lcp"])
def test_what_a_report_is_to_say(tmp_path: Path, section: str, rules: str) -> None:
    made = small()
    for study in made:
        study.report = " FINAL REPORT\n \n FINDINGS:  Clear.\n \n IMPRESSION:  Normal.\n"
    write(tmp_path / "mimic_cxr", made)
    data = load(tmp_path, section=section, sections=rules)
    expected = {"findings": "Clear.", "impression": "Normal.", "both": "Clear. Normal."}
    assert {s.report for s in data.studies} == {expected[section]}


def test_each_choice_is_a_manifest_of_its_own(tmp_path: Path) -> None:
    made = small()
    for study in made:
        study.report = " FINAL REPORT\n \n FINDINGS:  Same.\n \n IMPRESSION:  Same.\n"
    write(tmp_path / "mimic_cxr", made)
    choices = [
        {}, {"views": "all"}, {"items": "images"}, {"views": "all", "items": "images"},
        {"sections": "mit-lcp"}, {"section": "impression"}, {"draft": 8},
    ]  # fmt: skip
    found = [load(tmp_path, **choice) for choice in choices]
    assert len({data.manifest for data in found}) == len(choices)
    names = [data.name for data in found]
    assert names[:4] == ["mimic_cxr", "mimic_cxr_all", "mimic_cxr_images", "mimic_cxr_all_images"]
    assert [s.id for s in found[2].split("train")] == ["d2", "d3", "d4", "d5"]


def test_other_choices_have_other_folders_and_commands() -> None:
    given = [
        Selection("single", "mimic_cxr", ()),
        Selection("single", "mimic_cxr", ("dataset.views=all",)),
        Selection("single", "mimic_cxr", ("dataset.subset=present",)),
        Selection("single", "mimic_cxr_all", ()),
        Selection("single", "mimic_cxr_r2gen", ()),
    ]
    assert len({one.folder(Path("reports")) for one in given}) == len(given)
    assert len({one.command for one in given}) == len(given)
    assert "dataset=mimic_cxr dataset.views=all" in given[1].command


# --- what was prepared ---------------------------------------------------------------------------


def test_prepared_sections_give_the_same_dataset_and_reports_can_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_release(tmp_path)
    before = load(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    assert main(["data", "prepare", "mimic_cxr"]) == 0
    assert load(tmp_path).manifest == before.manifest
    for text in folder.rglob("*.txt"):
        text.unlink()
    after = load(tmp_path)
    assert (after.studies, after.manifest) == (before.studies, before.manifest)


@pytest.mark.parametrize("rules", ["bench", "mit-lcp"])
def test_a_report_that_changed_after_preparation_is_read_again(tmp_path: Path, rules: str) -> None:
    folder = small_release(tmp_path)
    mimic_cxr.prepare(tmp_path, sections=rules)
    text = next(folder.rglob("s59999999.txt"))
    text.write_text("\n FINDINGS: Cloudy lungs.\n")
    assert load(tmp_path, sections=rules).split("test")[0].report == "Cloudy lungs."


def test_sections_of_other_rules_or_versions_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_release(tmp_path)
    path = mimic_cxr.prepare(tmp_path)
    assert path.name == f"sections-bench-{VERSION}.csv.gz"
    path.rename(folder / "sections-bench-1.csv.gz")
    (folder / "sections.csv.gz").write_bytes(b"of an earlier version of the project")
    assert len(load(tmp_path).studies) == 4


def test_what_cannot_be_prepared_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no MIMIC-CXR"):
        mimic_cxr.prepare(tmp_path)
    folder = small_release(tmp_path)
    (folder / f"sections-bench-{VERSION}.csv.gz").mkdir()  # in the file's way
    with pytest.raises(BenchError, match="cannot write"):
        mimic_cxr.prepare(tmp_path)
    assert not list(folder.glob(".*.part"))
    with pytest.raises(DataError, match="no reports at"):
        mimic_cxr.prepare(tmp_path, reports="nowhere")
    r2gen_release(tmp_path / "b", small())
    with pytest.raises(BenchError, match="needs no preparation"):
        mimic_cxr.prepare(tmp_path / "b")


# --- identity ------------------------------------------------------------------------------------


def test_manifest_follows_texts(tmp_path: Path) -> None:
    folder = small_release(tmp_path)
    before = load(tmp_path).manifest
    assert load(tmp_path).manifest == before
    text = next(folder.rglob("s59999999.txt"))
    text.write_text(text.read_text().replace("Clear", "Cloudy"))
    assert load(tmp_path).manifest != before


def test_other_pixels_under_a_name_are_another_dataset_and_another_cache(tmp_path: Path) -> None:
    folder = small_release(tmp_path)
    spec = ImageSpec(size=8, resize=8)

    def cached() -> tuple[str, str]:
        data = load(tmp_path)
        images = [s.images[0] for s in data.studies]
        return data.manifest, open_store(data, images, spec, False, tmp_path / "cache").key

    before = cached()
    path = next(folder.rglob("d8.jpg"))
    path.write_bytes(jpeg(np.arange(99, dtype=np.uint8).reshape(9, 11)))
    after = cached()
    assert before[0] != after[0]
    assert before[1] != after[1]
    os.utime(path, ns=(1, 1))  # of the same size, written at another time
    assert cached()[0] == after[0]
    assert cached()[1] != after[1]


# --- R2Gen's annotation --------------------------------------------------------------------------


def test_r2gen_has_one_item_per_image_and_can_be_read_by_study(tmp_path: Path) -> None:
    r2gen_release(tmp_path, small())
    data = load(tmp_path, views="all", items="images", source="annotation")
    assert [s.id for s in data.split("val")] == ["d6", "d7"]
    assert data.split("train")[0].patient == "10000032"
    assert {i.view for s in data.studies for i in s.images} == {"other"}
    assert data.read(data.studies[0].images[0]).shape == (9, 7)
    studies = load(tmp_path, views="all")
    assert [s.id for s in studies.split("val")] == ["s51967845", "s51967846"]
    assert [len(s.images) for s in studies.split("train")] == [2, 2, 1]


def test_r2gen_frontal_needs_the_metadata(tmp_path: Path) -> None:
    folder = r2gen_release(tmp_path, small())
    with pytest.raises(DataError, match=r"(?s)metadata.*dataset=mimic_cxr_r2gen"):
        load(tmp_path)
    write_csv(folder / METADATA_FILE, HEADER, metadata_rows(small()))
    assert [s.id for s in load(tmp_path, items="images").studies] == [
        "d2", "d3", "d4", "d5", "d7", "d8",
    ]  # fmt: skip
    assert len(annotation(small())["train"]) == 5


# --- check ---------------------------------------------------------------------------------------


def test_check_counts_everything_that_is_left_out(tmp_path: Path) -> None:
    folder = small_release(tmp_path)
    report = check_mimic_cxr(tmp_path)
    figures = report.figures()
    assert figures["studies.train"] == 2
    assert figures["verbatim reports.test"] == 1.0
    assert figures["patients.shared"] == 0
    assert figures["source.images"] == 9
    assert figures["left out, images.of another view"] == 2
    assert figures["left out, images.without ViewPosition"] == 1
    assert figures["left out, studies.with the other section alone"] == 1
    assert figures["left out, studies.without an image of these views"] == 1
    assert "1 without ViewPosition (as d9)" in report.render()
    assert "ViewPosition is blank in many rows" in report.render()
    next(folder.rglob("d8.jpg")).unlink()
    report = check_mimic_cxr(tmp_path)
    assert report.status == "fail"
    assert "missing: 1 (p19/p19000001/s59999999/d8)" in report.render()


def test_errors_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither mimic-cxr-2"):
        load(tmp_path)
    folder = small_release(tmp_path)
    with pytest.raises(BenchError, match=r"unknown value of dataset\.views"):
        load(tmp_path, views="lateral")
    with pytest.raises(BenchError, match=r"did you mean 'dataset\.views'"):
        load_by_name("bench.data.mimic_cxr.load", tmp_path, view="all")
    next(folder.rglob("s59999999.txt")).unlink()
    with pytest.raises(DataError, match=r"s59999999\.txt"):
        load(tmp_path)
    (folder / METADATA_FILE).write_bytes((folder / METADATA_FILE).read_bytes()[:-9])
    with pytest.raises(DataError, match=METADATA_FILE):
        load(tmp_path)
