"""IU X-ray on a made release in each layout, and on the real one where it is."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from iu_xray_release import LAYOUTS, STUDIES, annotation, grey, openi, r2gen, tables, write_csv

from bench import data
from bench.data import iu_xray, manifest
from bench.data.check import check_iu_xray
from bench.data.manifest import Manifest
from bench.data.prepare import prepare_iu_xray
from bench.data.study import Image
from bench.data.text import normalise
from bench.errors import BenchError, DataError
from bench.scripts.iu_xray_manifests import (
    build_exchangeable,
    build_manifest,
    build_rendition,
    write_manifests,
)


@pytest.fixture
def wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """The made release's manifest, instead of the shipped one; no rendition is known."""
    folder = tables(tmp_path / "made")
    (tmp_path / "annotation.json").write_text(json.dumps(annotation()))
    made = build_manifest(tmp_path / "annotation.json", folder)
    monkeypatch.setattr(manifest, "load", lambda name: made)
    monkeypatch.setattr(manifest, "renditions", lambda name: ())
    return made


@pytest.fixture
def known(wanted: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that `tables` writes, as a known rendition."""
    rendition = build_rendition("made", iu_xray.open_source(tmp_path / "made"), wanted)
    monkeypatch.setattr(manifest, "renditions", lambda name: (rendition,))


def test_views_are_the_first_frontal_then_the_first_lateral(wanted: Manifest) -> None:
    chosen = {
        e.patient: [(i.key[-4:].lstrip("-"), i.view) for i in e.images] for e in wanted.entries
    }
    assert chosen == {
        "1": [("4001", "frontal"), ("3001", "lateral")],
        "2": [("02-1", "frontal"), ("02-2", "lateral")],
        "37": [("37-1", "frontal"), ("37-2", "frontal")],
        "4": [("04-1", "frontal"), ("04-3", "lateral")],
        "5": [("05-2", "frontal"), ("05-1", "lateral")],
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_give_the_manifests_studies(layout: str, wanted: Manifest, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path)
    assert iu_xray.open_source(tmp_path).layout == layout
    made = iu_xray.load(tmp_path)
    expected = [(e.study, e.patient, e.split) for e in wanted.entries]
    assert [(s.id, s.patient, s.split) for s in made.studies] == expected
    assert [" ".join(s.report.split()) for s in made.studies] == [
        " ".join(STUDIES[e.patient][1].split()) for e in wanted.entries
    ]
    assert made.read(made.studies[0].images[0]).shape == (11, 9)


@pytest.mark.usefixtures("wanted")
def test_benchx_writes_r2gens_annotation_as_a_table(tmp_path: Path) -> None:
    folder = r2gen(tmp_path)
    expected = iu_xray.load(tmp_path)
    entries = [e for split in annotation().values() for e in split]
    (folder / "annotation.json").unlink()
    write_csv(
        folder / "iu_xray_annotations.csv", list(entries[0]), [list(e.values()) for e in entries]
    )
    found = iu_xray.load(tmp_path)
    assert (found.studies, found.manifest) == (expected.studies, expected.manifest)


def test_tables_and_open_i_agree(wanted: Manifest, tmp_path: Path) -> None:
    tables(tmp_path / "a")
    openi(tmp_path / "b")
    a, b = iu_xray.load(tmp_path / "a"), iu_xray.load(tmp_path / "b")
    assert [replace(s, report=normalise(s.report)) for s in a.studies] == list(b.studies)
    assert a.manifest == b.manifest  # same keys, same files
    assert a.studies[1].labels == {"cardiomegaly", "pulmonary artery"}
    assert a.studies[1].sections == {"impression": "Impression 2", "indication": "Pain"}
    for image in a.studies[1].images:
        np.testing.assert_array_equal(a.read(image), grey(image.key))
        np.testing.assert_array_equal(b.read(image), grey(image.key))


@pytest.mark.parametrize("images", ["images", "images/images_normalized"])
@pytest.mark.parametrize("suffix", [".dcm.png", ".dcm.jpg", ".png"])
def test_image_files_may_have_several_names(
    images: str, suffix: str, wanted: Manifest, tmp_path: Path
) -> None:
    tables(tmp_path, images, suffix)
    made = iu_xray.load(tmp_path)
    assert made.read(made.studies[0].images[0]).shape == (11, 9)


def test_r2gens_own_images_have_no_view(wanted: Manifest, tmp_path: Path) -> None:
    r2gen(tmp_path)
    study = iu_xray.load(tmp_path).studies[0]
    assert study.images == (Image("CXR1_IM-0001/0", "other"), Image("CXR1_IM-0001/1", "other"))
    assert study.labels is None


@pytest.mark.parametrize("layout", ["tables", "open-i"])
@pytest.mark.parametrize("copy", [True, False])
def test_prepared_folder_is_the_same_dataset(
    layout: str, copy: bool, wanted: Manifest, known: None, tmp_path: Path
) -> None:
    folder = LAYOUTS[layout](tmp_path / "release")
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    for _ in range(2):  # the second time over the first
        target = prepare_iu_xray(tmp_path / "release", tmp_path / "out", copy=copy)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
    assert (target / "images" / "CXR1_IM-0001" / "0.png").is_symlink() != copy
    a, b = iu_xray.load(tmp_path / "release"), iu_xray.load(tmp_path / "out")
    assert (a.studies, a.manifest) == (b.studies, b.manifest)
    assert [a.fingerprint(i) for s in a.studies for i in s.images] == [
        b.fingerprint(i) for s in b.studies for i in s.images
    ]


def test_prepare_refuses_the_release_itself(wanted: Manifest, tmp_path: Path) -> None:
    tables(tmp_path)
    with pytest.raises(BenchError, match="is the release itself"):
        prepare_iu_xray(tmp_path, tmp_path)


def test_known_files_are_told_from_unknown_ones(
    wanted: Manifest, known: None, tmp_path: Path
) -> None:
    tables(tmp_path / "a")
    tables(tmp_path / "b", suffix=".dcm.jpg")
    a, b = iu_xray.load(tmp_path / "a"), iu_xray.load(tmp_path / "b")
    assert a.manifest != b.manifest
    image = a.studies[0].images[0]
    assert len(a.fingerprint(image)) == 64
    assert b.fingerprint(image).startswith(f"{b_size(tmp_path / 'b', image)}-")
    assert "rendition is unknown" in check_iu_xray(tmp_path / "b").render()


def b_size(root: Path, image: Image) -> int:
    return iu_xray.open_source(root).files[image.key].stat().st_size


def damage_report(folder: Path) -> None:
    path = folder / "indiana_reports.csv"
    path.write_text(path.read_text().replace("5.3 cm", "6.3 cm"))


def damage_study(folder: Path) -> None:
    path = folder / "indiana_reports.csv"
    path.write_text("\n".join(x for x in path.read_text().splitlines() if not x.startswith("5,")))


def damage_presence(folder: Path) -> None:
    (folder / "images" / "5_IM-0005-2.dcm.png").unlink()


def damage_pixels(folder: Path) -> None:
    with (folder / "images" / "5_IM-0005-2.dcm.png").open("ab") as file:
        file.write(b"x")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_report, "1 reports differ from the manifest: CXR5_IM-0005"),
        (damage_study, "1 studies are missing: CXR5_IM-0005"),
        (damage_presence, "1 images are missing: 5_IM-0005-2"),
        (damage_pixels, "1 images differ from their rendition: 5_IM-0005-2"),
    ],
)
def test_damage_is_named(
    damage, message: str, wanted: Manifest, known: None, tmp_path: Path
) -> None:
    folder = tables(tmp_path)
    assert check_iu_xray(tmp_path).status == "warn"
    damage(folder)
    with pytest.raises(DataError) as error:
        iu_xray.load(tmp_path)
    assert message in str(error.value)
    assert "fix: get the release again" in str(error.value)
    report = check_iu_xray(tmp_path)
    assert report.status == "fail"
    assert message in report.render()


def test_a_changed_byte_of_equal_size_is_found_by_check(
    wanted: Manifest, known: None, tmp_path: Path
) -> None:
    path = tables(tmp_path) / "images" / "5_IM-0005-2.dcm.png"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    report = check_iu_xray(tmp_path)
    assert report.status == "fail"
    assert "altered: 5_IM-0005-2" in report.render()


def test_a_foreign_annotation_is_refused(wanted: Manifest, tmp_path: Path) -> None:
    folder = r2gen(tmp_path)
    entries = annotation()
    entries["train"].append({**entries["train"][0], "id": "CXR99_IM-0099"})
    (folder / "annotation.json").write_text(json.dumps(entries))
    with pytest.raises(DataError, match="1 studies are unknown: CXR99_IM-0099"):
        iu_xray.load(tmp_path)
    entries = annotation()
    entries["val"][0]["split"] = "test"
    (folder / "annotation.json").write_text(json.dumps(entries))
    with pytest.raises(DataError, match="another split than R2Gen's: CXR37"):
        iu_xray.load(tmp_path)
    (folder / "annotation.json").write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        iu_xray.load(tmp_path)


def test_absent_data_and_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no IU X-ray in") as error:
        iu_xray.load(tmp_path)
    assert "BENCH_DATA" in str(error.value)
    with pytest.raises(BenchError, match="did you mean 'iu_xray_exchangeable'"):
        iu_xray.load(tmp_path, manifest="iu_xray_exchangable")


def test_readers_are_loaded_by_name(
    wanted: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables(tmp_path)
    given = data.load("bench.data.iu_xray.load", tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    assert data.load("bench.data.iu_xray.load", manifest="iu_xray").manifest == given.manifest
    monkeypatch.delenv("BENCH_DATA")
    assert data.data_root() == Path("data")
    for target in ("bench.data.iu_xray.lod", "bench.data.padchest.load", "load"):
        with pytest.raises(BenchError, match=r"(no such|unknown) dataset reader"):
            data.load(target)
    with pytest.raises(BenchError, match="split") as error:
        data.load("bench.data.iu_xray.load", split="iu_xray")
    assert "it takes manifest" in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("Frontal", "Lateral"), "views as in the manifest; other"),
        (lambda text: "\n".join(text.splitlines()[:5]), "other or absent"),
        (lambda text: text.replace("uid", "id", 1), "is damaged"),
    ],
)
def test_the_table_of_views_is_checked(
    wanted: Manifest, known: None, tmp_path: Path, change: Callable[[str], str], said: str
) -> None:
    path = tables(tmp_path) / "indiana_projections.csv"
    [whole] = [f for f in check_iu_xray(tmp_path).findings if f.name == "projections"]
    assert whole.status == "ok"
    path.write_text(change(path.read_text()))
    [finding] = [f for f in check_iu_xray(tmp_path).findings if f.name == "projections"]
    assert finding.status == "fail"
    assert said in finding.text


def test_check_of_the_made_release(wanted: Manifest, known: None, tmp_path: Path) -> None:
    folder = tables(tmp_path)
    figures = check_iu_xray(tmp_path).figures()
    assert figures["verbatim reports.test"] == 0.5
    assert figures["verbatim reports.val"] == 1.0
    assert figures["normal studies.val"] == 1.0
    assert figures["identical images.groups"] == 0
    images = folder / "images"
    shutil.copy(images / "2_IM-0002-1.dcm.png", images / "4_IM-0004-1.dcm.png")
    figures = check_iu_xray(tmp_path).figures()
    assert figures["identical images.groups"] == 1
    assert figures["identical images.across_splits"] == 1


@pytest.mark.real
def test_real_figures(real: Path) -> None:
    report = check_iu_xray(real)
    figures = report.figures()
    assert report.status == "warn"
    assert [figures[f"studies.{s}"] for s in ("train", "val", "test")] == [2069, 296, 590]
    assert figures["verbatim reports.test"] == pytest.approx(0.469, abs=5e-4)
    assert figures["verbatim reports.val"] == pytest.approx(0.223, abs=5e-4)
    assert figures["vocabulary.words"] == 760
    assert [round(figures[f"normal studies.{s}"], 3) for s in ("train", "val", "test")] == [
        0.330,
        0.331,
        0.520,
    ]
    assert (figures["identical images.groups"], figures["identical images.known"]) == (3, 3)


@pytest.mark.real
def test_real_exchangeable_division(real: Path) -> None:
    figures = check_iu_xray(real, "iu_xray_exchangeable").figures()
    assert figures["verbatim reports.test"] == figures["verbatim reports.val"] == 0
    shares = [figures[f"normal studies.{s}"] for s in ("train", "val", "test")]
    assert max(shares) - min(shares) < 0.02
    base = manifest.load("iu_xray")
    splits = build_exchangeable(base, iu_xray.load(real))
    assert splits == manifest.load_splits("iu_xray_exchangeable")


@pytest.mark.real
def test_real_manifests_regenerate(real: Path, tmp_path: Path) -> None:
    write_manifests(real, tmp_path)
    names = sorted(p.name for p in manifest.FOLDER.iterdir())
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    for name in names:
        assert read(tmp_path / name) == read(manifest.FOLDER / name)


def read(path: Path) -> str:

    return gzip.decompress(path.read_bytes()).decode()
