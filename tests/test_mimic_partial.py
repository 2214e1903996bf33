"""MIMIC-CXR as an interrupted or repeated download leaves it: found, counted, advice that helps."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mimic_cxr_release import (
    METADATA_HEADER,
    jpeg,
    metadata_rows,
    packed,
    small,
    small_release,
    write_csv,
)

from bench.__main__ import main
from bench.data.images import open_store
from bench.data.mimic_cxr import load, mit_lcp, prepare
from bench.data.mimic_cxr.check import check_mimic_cxr
from bench.data.mimic_cxr.layout import METADATA_FILE
from bench.data.sources import compare_sources
from bench.errors import BenchError, DataError
from bench.model import ImageSpec

FRONTAL = ["s50414267", "s53189527", "s51967846", "s59999999"]


def ids(root: Path, **choices: Any) -> list[str]:
    return [s.id for s in load(root, **choices).studies]


def reports(root: Path, **choices: Any) -> dict[str, str]:
    return {s.id: s.report for s in load(root, **choices).studies}


def findings(root: Path, **choices: Any) -> dict[str, Any]:
    return {f.name: f for f in check_mimic_cxr(root, **choices).findings}


# --- pixels --------------------------------------------------------------------------------------


def roomy(folder: Path, name: str) -> Path:
    """A file that ends in zeros, so that other pixels fit into its size."""
    path = next(folder.rglob(f"{name}.jpg"))
    path.write_bytes(path.read_bytes()[:-2] + b"\0" * 400 + b"\xff\xd9")
    return path


def swapped(path: Path) -> None:
    """Other pixels in a file of the same name, size and time."""
    before = path.stat()
    body = jpeg(np.arange(72, dtype=np.uint8).reshape(8, 9) * 3)
    path.write_bytes(body[:-2] + b"\0" * (before.st_size - len(body)) + body[-2:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def test_other_pixels_of_equal_size_and_time_are_found_by_comparing(tmp_path: Path) -> None:
    folder, cache = small_release(tmp_path), tmp_path / "cache"
    path = roomy(folder, "d3")
    data = load(tmp_path)
    assert compare_sources(data, cache).status == "warn"  # nothing to compare with
    for split in ("train", "val"):
        images = [s.images[0] for s in data.split(split)]
        for training in (True, False):
            open_store(data, images, ImageSpec(size=6, resize=8), training, cache)
    found = compare_sources(load(tmp_path), cache)
    assert (found.status, found.figures["compared"]) == ("ok", 3)
    swapped(path)
    found = compare_sources(load(tmp_path), cache)
    assert (found.status, found.figures["changed"]) == ("fail", 1)
    assert "1 of other pixels" in found.text
    assert "s53189527/d3" in found.text


def test_data_check_compares_images_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = small_release(tmp_path), tmp_path / "cache"
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    path = roomy(folder, "d8")
    data = load(tmp_path)
    images = [s.images[0] for s in data.split("test")]
    open_store(data, images, ImageSpec(size=8, resize=8), False, cache)
    given = ["data", "check", "mimic_cxr", "--cache", str(cache)]
    assert main([*given, "--images"]) == 0
    assert "1 read again, 0 of other pixels" in capsys.readouterr().out
    swapped(path)
    assert main([*given, "--images"]) == 3
    assert "fix: get these files from the release again" in capsys.readouterr().out
    assert main(given) == 0
    assert "cached images" not in capsys.readouterr().out


def test_a_subset_leaves_out_images_that_are_cut_off(tmp_path: Path) -> None:
    folder = small_release(tmp_path)
    for name in ("d2", "d7"):
        path = next(folder.rglob(f"{name}.jpg"))
        path.write_bytes(path.read_bytes()[:-9])
    assert ids(tmp_path, subset="present") == ["s53189527", "s59999999"]
    found = findings(tmp_path, subset="present")
    assert found["images"].status == "warn"
    assert "cut off: 2 (p10/p10000032/s50414267/d2" in found["images"].text
    assert "2 whose file is cut off" in found["left out, images"].text
    assert "2 whose images are not here" in found["left out, studies"].text


# --- reports -------------------------------------------------------------------------------------


def other_reports(root: Path, place: str) -> Path:
    """The same names, sizes and times; other texts."""
    folder = root / place
    shutil.copytree(root / "mimic_cxr/reports/files", folder)
    for path in folder.rglob("*.txt"):
        before = path.stat()
        path.write_text(path.read_text().replace("Clear", "Hazy "))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return folder


@pytest.mark.parametrize("rules", ["bench", "mit-lcp"])
def test_named_reports_are_read_whatever_was_prepared(tmp_path: Path, rules: str) -> None:
    small_release(tmp_path)
    prepare(tmp_path, sections=rules)
    place = str(other_reports(tmp_path, "other"))
    test = "s59999999"
    assert reports(tmp_path, sections=rules)[test] == "Clear lungs."
    assert reports(tmp_path, sections=rules, reports=place)[test] == "Hazy lungs."
    prepare(tmp_path, sections=rules, reports=place)
    assert reports(tmp_path, sections=rules)[test] == "Clear lungs."
    assert reports(tmp_path, sections=rules, reports=place)[test] == "Hazy lungs."


def test_a_named_table_of_sections_is_read_whatever_was_prepared(tmp_path: Path) -> None:
    small_release(tmp_path)
    prepare(tmp_path, sections="mit-lcp")
    rows = [[f"s{s.study}", "", "Of the table.", "", ""] for s in small()]
    write_csv(tmp_path / "mine.csv", ("study", *mit_lcp.SECTIONED), rows)
    found = reports(tmp_path, sections="mit-lcp", reports="../mine.csv")
    assert set(found.values()) == {"Of the table."}


def test_a_named_place_without_reports_is_said(tmp_path: Path) -> None:
    small_release(tmp_path)
    prepare(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"(?s)no report of these studies in .*empty.*correct"):
        load(tmp_path, reports="../empty")


def zipped_beside(folder: Path, keep: int) -> Path:
    """A zip file of the first reports, beside the folder of all."""
    shutil.copytree(folder / "reports", folder / "kept")
    for path in sorted((folder / "reports/files").rglob("*.txt"))[keep:]:
        path.unlink()
    packed(folder)
    shutil.move(folder / "kept", folder / "reports")
    return folder / "mimic-cxr-reports.zip"


@pytest.mark.parametrize("kind", ["partial", "damaged", "empty"])
def test_a_partial_zip_file_does_not_beat_a_whole_folder(tmp_path: Path, kind: str) -> None:
    archive = zipped_beside(small_release(tmp_path), 2)
    if kind != "partial":
        archive.write_bytes(archive.read_bytes()[:-40] if kind == "damaged" else b"")
    assert ids(tmp_path) == FRONTAL
    found = findings(tmp_path)["reports"]
    assert found.status == "warn"
    assert "mimic-cxr-reports.zip is damaged or holds fewer reports" in found.text
    assert f"in {tmp_path / 'mimic_cxr/reports/files'}" in found.text


def test_a_partial_folder_does_not_beat_a_whole_zip_file_or_folder(tmp_path: Path) -> None:
    folder = small_release(tmp_path)
    shutil.copytree(folder / "reports/files", folder / "mimic-cxr-reports/files")
    next((folder / "reports").rglob("s59999999.txt")).unlink()
    assert ids(tmp_path) == FRONTAL
    shutil.rmtree(folder / "mimic-cxr-reports")
    archive = zipped_beside(small_release(tmp_path / "b"), 6)
    shutil.move(archive, folder / archive.name)
    assert ids(tmp_path) == FRONTAL
    assert archive.name in findings(tmp_path)["reports"].text


@pytest.mark.parametrize("damage", ["cut", "not gzip", "other columns"])
def test_a_damaged_prepared_file_is_passed_over_and_said(tmp_path: Path, damage: str) -> None:
    folder = small_release(tmp_path)
    path = prepare(tmp_path)
    content = {
        "cut": path.read_bytes()[:-12],
        "not gzip": b"\x1f\x8bnothing",
        "other columns": gzip.compress(b"study_id,findings\n59999999,Old.\n"),
    }[damage]
    path.write_bytes(content)
    assert ids(tmp_path) == FRONTAL
    found = findings(tmp_path)["reports"]
    assert found.status == "warn"
    assert "is damaged and not read: `bench data prepare mimic_cxr` makes it anew" in found.text
    shutil.rmtree(folder / "reports")
    with pytest.raises(DataError, match=r"(?s)is damaged, and the reports.*data prepare mimic_cxr"):
        load(tmp_path)


def test_what_was_prepared_serves_every_choice_of_views(tmp_path: Path) -> None:
    folder = small_release(tmp_path)
    before = load(tmp_path, views="all").manifest
    prepare(tmp_path)
    shutil.rmtree(folder / "reports")
    assert load(tmp_path, views="all").manifest == before


# --- metadata ------------------------------------------------------------------------------------


def metadata(root: Path, rows: list[Any]) -> None:
    write_csv(root / "mimic_cxr" / METADATA_FILE, METADATA_HEADER, rows)


def test_contradicting_rows_of_the_metadata_are_an_error(tmp_path: Path) -> None:
    small_release(tmp_path)
    rows = metadata_rows(small())
    metadata(tmp_path, [*rows, rows[0]])  # given twice
    assert ids(tmp_path) == FRONTAL
    again = [*rows[0][:4], "PA", *rows[0][5:]]
    metadata(tmp_path, [*rows, again])
    with pytest.raises(DataError, match="image d1 has two rows of different ViewPosition"):
        load(tmp_path)


def test_metadata_that_was_cut_off_between_two_rows(tmp_path: Path) -> None:
    small_release(tmp_path)
    metadata(tmp_path, metadata_rows(small())[:-2])
    with pytest.raises(DataError, match=r"(?s)2 of 9 listed images have no row in .*metadata"):
        load(tmp_path)
    found = findings(tmp_path)["metadata"]
    assert found.status == "fail"
    assert "of 2 images (d8, d9)" in found.text
    assert ids(tmp_path, subset="present") == FRONTAL[:3]
    assert findings(tmp_path, views="all")["metadata"].status == "warn"


def test_a_cut_gzip_file_is_an_error_wherever_it_ends(tmp_path: Path) -> None:
    folder = small_release(tmp_path)
    whole = (folder / METADATA_FILE).read_bytes()
    for size in range(20, len(whole), 7):
        (folder / METADATA_FILE).write_bytes(whole[:size])
        with pytest.raises(DataError, match=METADATA_FILE):
            load(tmp_path)


# --- advice --------------------------------------------------------------------------------------


def test_what_leaves_out_every_study_is_named_with_its_remedy(tmp_path: Path) -> None:
    folder = small_release(tmp_path)
    rows = metadata_rows(small())
    metadata(tmp_path, [[*r[:4], "", *r[5:]] for r in rows])
    with pytest.raises(DataError, match=r"(?s)9 without ViewPosition.*dataset=mimic_cxr_all"):
        load(tmp_path)
    assert len(ids(tmp_path, views="all")) == 5
    metadata(tmp_path, [[*r[:4], "LATERAL", *r[5:]] for r in rows])
    with pytest.raises(DataError, match=r"(?s)9 of another view.*dataset=mimic_cxr_all"):
        load(tmp_path)
    metadata(tmp_path, rows)
    for path in folder.rglob("*.txt"):
        path.write_text("\n IMPRESSION:  Normal.\n")
    with pytest.raises(DataError, match=r"(?s)5 with the other section.*dataset\.section=impress"):
        load(tmp_path)
    for path in folder.rglob("*.txt"):
        path.write_text("\n FINDINGS AND IMPRESSION:  Normal.\n")
    with pytest.raises(DataError, match=r"(?s)are one section.*dataset\.section=both"):
        load(tmp_path)
    assert len(ids(tmp_path, section="both")) == 5


def test_a_release_without_images_is_for_scoring(tmp_path: Path) -> None:
    shutil.rmtree(small_release(tmp_path) / "files")
    assert ids(tmp_path) == FRONTAL
    assert "without any image reports can be scored" in findings(tmp_path)["images"].fix
    with pytest.raises(DataError, match=r"(?s)5 whose images are not here.*can be scored, as"):
        load(tmp_path, subset="present")


def test_a_root_that_is_the_folder_itself_is_said(tmp_path: Path) -> None:
    folder = small_release(tmp_path)
    with pytest.raises(DataError, match=f"names mimic_cxr/ itself: set it to {tmp_path}"):
        load(folder)


def test_a_sample_says_what_was_left_out_of_its_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_release(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    assert main(["data", "check", "mimic_cxr", "dataset.sample=1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("mimic_cxr-sample1: ")
    assert "train 1, val 1, test 1" in out
    assert "1 without ViewPosition (as d9)" in out
    assert "1 with the other section alone" in out
    next((tmp_path / "mimic_cxr").rglob("d8.jpg")).unlink()
    assert main(["data", "check", "mimic_cxr", "dataset.sample=1"]) == 3
    assert "missing: 1" in capsys.readouterr().out


def test_advice_to_prepare_names_the_choices(tmp_path: Path) -> None:
    small_release(tmp_path)
    text = findings(tmp_path, sections="mit-lcp", views="all")["reports"].text
    assert "`bench data prepare mimic_cxr dataset.sections=mit-lcp`" in text
    with pytest.raises(BenchError, match="unknown setting"):
        prepare(tmp_path, section_rules="mit-lcp")
