"""MIMIC-CXR as people have it: each odd layout is read rightly or answered with advice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mimic_cxr_release import (
    METADATA_HEADER,
    SPLIT_HEADER,
    Made,
    annotation,
    metadata_rows,
    packed,
    small,
    small_release,
    split_rows,
    write,
    write_csv,
)

from bench.__main__ import main
from bench.data.mimic_cxr import load, mit_lcp, prepare
from bench.data.mimic_cxr.check import check_mimic_cxr
from bench.data.mimic_cxr.layout import METADATA_FILE, SPLIT_FILE
from bench.errors import BenchError, DataError

Change = Callable[[Path], Any]
FRONTAL = ["s50414267", "s53189527", "s51967846", "s59999999"]


def ids(root: Path, **choices: Any) -> list[str]:
    return [s.id for s in load(root, **choices).studies]


def rewritten(folder: Path, name: str, new: str) -> None:
    """A table again under another name, packed or plain as that says."""
    header, make = {
        SPLIT_FILE: (SPLIT_HEADER, split_rows),
        METADATA_FILE: (METADATA_HEADER, metadata_rows),
    }[name]
    (folder / name).unlink()
    write_csv(folder / new, header, make(small()))


def moved(folder: Path, old: str, new: str) -> None:
    (folder / new).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder / old, folder / new)


def wget_tree(folder: Path) -> None:
    """As `wget -r` leaves both releases."""
    moved(folder, "reports/files", "physionet.org/files/mimic-cxr/2.0.0/files")
    jpg = "physionet.org/files/mimic-cxr-jpg/2.1.0"
    for name in ("files", SPLIT_FILE, METADATA_FILE):
        moved(folder, name, f"{jpg}/{name}")


def marked(folder: Path) -> None:
    """Tables with a byte order mark, plain, with blanks around the names of columns."""
    for name in (SPLIT_FILE, METADATA_FILE):
        plain = name.removesuffix(".gz")
        rewritten(folder, name, plain)
        head, rest = (folder / plain).read_text().split("\n", 1)
        text = "\ufeff" + head.replace(",", " , ") + "\n" + rest
        (folder / plain).write_text(text, encoding="utf-8")


READ: dict[str, Change] = {
    "reports beside the images": lambda f: shutil.copytree(
        f / "reports/files", f / "files", dirs_exist_ok=True
    )
    and shutil.rmtree(f / "reports"),
    "reports one folder up": lambda f: moved(f, "reports/files", "files2")
    or shutil.rmtree(f / "reports")
    or moved(f, "files2", "reports"),
    "unpacked in a folder of the zip's name": lambda f: moved(f, "reports", "mimic-cxr-reports"),
    "still zipped": packed,
    "zipped in reports/": lambda f: (packed(f), moved(f, "mimic-cxr-reports.zip", "reports/"
                                                     "mimic-cxr-reports.zip")),
    "plain tables": lambda f: [
        rewritten(f, n, n.removesuffix(".gz")) for n in (SPLIT_FILE, METADATA_FILE)
    ],
    "a browser unpacked it and kept the name": lambda f: (f / SPLIT_FILE).write_bytes(
        _plain(split_rows(small()))
    ),
    "names of release 2.1.0": lambda f: [
        rewritten(f, n, n.replace("2.0.0", "2.1.0")) for n in (SPLIT_FILE, METADATA_FILE)
    ],
    "a wget tree": wget_tree,
    "tables and images in mimic-cxr-jpg/2.0.0": lambda f: [
        moved(f, n, f"mimic-cxr-jpg/2.0.0/{n}") for n in (SPLIT_FILE, METADATA_FILE, "files")
    ],
    "images in images/": lambda f: moved(f, "files", "images"),
    "images directly in the folder": lambda f: [
        moved(f, f"files/{p.name}", p.name) for p in (f / "files").iterdir()
    ],
    "images as .png": lambda f: [p.rename(p.with_suffix(".png")) for p in f.rglob("*.jpg")],
    "images as .dcm.jpg": lambda f: [
        p.rename(p.with_suffix(".dcm.jpg")) for p in f.rglob("d?.jpg")
    ],
    "a byte order mark": marked,
    "split called valid": lambda f: write_csv(
        f / SPLIT_FILE, SPLIT_HEADER, [[c.replace("validate", "valid") for c in r]
                                       for r in split_rows(small())]
    ),
    "a stray annotation": lambda f: (f / "annotation.json").write_text(
        json.dumps(annotation(small()[:2]))
    ),
    "a report with a byte order mark": lambda f: [
        p.write_bytes(b"\xef\xbb\xbf" + p.read_bytes()) for p in f.rglob("*.txt")
    ],
    "rows given twice": lambda f: write_csv(
        f / SPLIT_FILE, SPLIT_HEADER, [*split_rows(small()), *split_rows(small())]
    ),
    "an empty folder of an earlier download": lambda f: (f / "reports2/files").mkdir(parents=True),
}  # fmt: skip


def _plain(rows: list) -> bytes:
    return "\n".join(",".join(row) for row in [SPLIT_HEADER, *rows]).encode()


@pytest.mark.parametrize("name", READ)
def test_read_rightly(tmp_path: Path, name: str) -> None:
    expected = load(Path(small_release(tmp_path / "a")).parent)
    READ[name](small_release(tmp_path))
    data = load(tmp_path)
    assert [s.id for s in data.studies] == FRONTAL
    assert data.manifest == expected.manifest
    assert data.read(data.studies[0].images[0]).shape == (8, 9)


def test_rows_given_twice_and_a_stray_annotation_are_said(tmp_path: Path) -> None:
    folder = small_release(tmp_path)
    READ["rows given twice"](folder)
    READ["a stray annotation"](folder)
    text = check_mimic_cxr(tmp_path).render()
    assert "9 listed twice (as d1)" in text
    assert "annotation.json is here too and is not read" in text
    assert len(ids(tmp_path, source="annotation", items="images")) == 3


@pytest.mark.parametrize("place", ["elsewhere", "elsewhere.zip"])
def test_reports_in_another_place(tmp_path: Path, place: str) -> None:
    folder = small_release(tmp_path)
    if place.endswith("zip"):
        packed(folder, f"../{place}")
    else:
        shutil.move(folder / "reports", tmp_path / place)
    with pytest.raises(DataError, match=r"dataset\.reports names another"):
        load(tmp_path)
    assert ids(tmp_path, reports=str(tmp_path / place)) == FRONTAL
    assert ids(tmp_path, reports=f"../{place}") == FRONTAL


def test_mit_lcps_file_of_sections_alone(tmp_path: Path) -> None:
    folder = small_release(tmp_path)
    rows = []
    for study in small():
        found = mit_lcp.sections(str(study.report), f"s{study.study}")
        rows.append([f"s{study.study}", *(found.get(n, "") for n in mit_lcp.SECTIONED)])
    expected = load(tmp_path, sections="mit-lcp")
    shutil.rmtree(folder / "reports")
    write_csv(folder / "mimic_cxr_sectioned.csv", ("study", *mit_lcp.SECTIONED), rows)
    with pytest.raises(DataError, match=r"(?s)only as mimic_cxr_sectioned.*dataset.sections=mit"):
        load(tmp_path)
    assert load(tmp_path, sections="mit-lcp").manifest == expected.manifest


# --- a part of the release -----------------------------------------------------------------------


def only_p10(root: Path, splits: tuple[str, ...] = ("train", "validate", "test")) -> Path:
    """The tables of all, images and reports of p10 alone."""
    made = [Made(f"1{n}{i:06d}", f"5{n}{i:06d}", splits[i % len(splits)], [(f"x{n}{i}", "PA")],
                 f"\n FINDINGS:  Report {i} of folder {n}.\n")
            for n in (0, 1) for i in range(12)]  # fmt: skip
    folder = write(root / "mimic_cxr", made)
    for place in ("files", "reports/files"):
        shutil.rmtree(folder / place / "p11")
    return folder


def test_a_subset_has_a_manifest_and_counts_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    only_p10(tmp_path)
    with pytest.raises(DataError, match=r"(?s)12 of 24 images .*dataset\.subset=present"):
        load(tmp_path)
    data = load(tmp_path, subset="present")
    assert [len(data.split(s)) for s in ("train", "val", "test")] == [4, 4, 4]
    assert data.name == "mimic_cxr_present"
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    assert main(["data", "check", "mimic_cxr"]) == 3
    assert "fix: complete the release" in capsys.readouterr().out
    assert main(["data", "check", "mimic_cxr", "dataset.subset=present"]) == 0
    out = capsys.readouterr().out
    assert "12 whose images are not here (as s51000000)" in out
    assert "train 4, val 4, test 4" in out


def test_a_subset_leaves_out_what_is_half_there(tmp_path: Path) -> None:
    folder = small_release(tmp_path)
    next(folder.rglob("d3.jpg")).unlink()
    next(folder.rglob("d7.jpg")).write_bytes(b"")
    next(folder.rglob("s50414267.txt")).unlink()
    assert ids(tmp_path, subset="present") == ["s53189527", "s59999999"]
    figures = check_mimic_cxr(tmp_path, subset="present").figures()
    assert figures["left out, images.without a file"] == 1
    assert figures["left out, images.whose file is empty"] == 1
    assert figures["left out, studies.whose images are not here"] == 1
    assert figures["left out, studies.without a report"] == 1


def test_tables_and_reports_alone_can_be_scored(tmp_path: Path) -> None:
    folder = small_release(tmp_path)
    shutil.rmtree(folder / "files")
    data = load(tmp_path)
    assert [s.id for s in data.studies] == FRONTAL
    with pytest.raises(DataError, match="cannot read the image"):
        data.read(data.studies[0].images[0])


def test_damaged_images_fail_the_check(tmp_path: Path) -> None:
    folder = small_release(tmp_path)
    assert check_mimic_cxr(tmp_path).status == "warn"  # not the whole release
    path = next(folder.rglob("d2.jpg"))
    path.write_bytes(path.read_bytes()[:-9])
    next(folder.rglob("d8.jpg")).write_bytes(b"")
    report = check_mimic_cxr(tmp_path)
    assert report.status == "fail"
    assert "empty: 1 (p19/p19000001/s59999999/d8); cut off: 1 (p10/" in report.render()


def test_a_read_only_release_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_release(tmp_path)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("bench.data.mimic_cxr.prepared.replacing", refuse)
    with pytest.raises(BenchError, match=r"(?s)Permission denied.*it also works without"):
        prepare(tmp_path)
