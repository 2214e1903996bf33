"""MIMIC-CXR whose tables or annotation are damaged or of another shape: each is named."""

from __future__ import annotations

import csv
import gzip
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mimic_cxr_release import (
    SPLIT_HEADER,
    annotation,
    packed,
    r2gen_release,
    small,
    small_release,
    split_rows,
    write_csv,
)

from bench.__main__ import main
from bench.data.mimic_cxr import load
from bench.data.mimic_cxr.layout import METADATA_FILE, SPLIT_FILE
from bench.errors import BenchError, DataError

Change = Callable[[Path], Any]


# --- damaged tables ------------------------------------------------------------------------------


def split_table(folder: Path, header: tuple[str, ...], rows: list) -> None:
    write_csv(folder / SPLIT_FILE, header, rows)


DAMAGED: dict[str, tuple[Change, str]] = {
    "a column is missing": (
        lambda f: split_table(f, SPLIT_HEADER[:3], [r[:3] for r in split_rows(small())]),
        "no column split; found: dicom_id, study_id",
    ),
    "metadata without views": (
        lambda f: write_csv(f / METADATA_FILE, ("dicom_id",), [("d1",)]),
        "no column ViewPosition",
    ),
    "an empty table": (lambda f: (f / SPLIT_FILE).write_bytes(b""), "found: nothing"),
    "an unknown split": (
        lambda f: split_table(f, SPLIT_HEADER, [("d", "1", "10", "tarin")]),
        "(?s)unknown split 'tarin'.*did you mean 'train'",
    ),
    "a short row": (
        lambda f: split_table(f, SPLIT_HEADER, [*split_rows(small()), ("d",)]),
        "line 11: 1 fields",
    ),
    "an image in two studies": (
        lambda f: split_table(f, SPLIT_HEADER, [*split_rows(small()), ("d1", "2", "10", "test")]),
        "image d1 is in studies 50414267 and 2",
    ),
    "a study in two splits": (
        lambda f: split_table(
            f, SPLIT_HEADER, [*split_rows(small()), ("d0", "50414267", "10000032", "test")]
        ),
        "study 50414267 is of two patients or in two splits",
    ),
    "no metadata": (
        lambda f: (f / METADATA_FILE).unlink(),
        "(?s)which images are frontal is not known.*dataset=mimic_cxr_all",
    ),
    "a broken zip file": (
        lambda f: (packed(f), (f / "mimic-cxr-reports.zip").write_bytes(b"PK half")),
        "cannot read .*mimic-cxr-reports.zip",
    ),
    "not text": (
        lambda f: (f / SPLIT_FILE).write_bytes(b"\xff\xfe\x00d\x00i"), "cannot read"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_named(tmp_path: Path, name: str) -> None:
    change, message = DAMAGED[name]
    change(small_release(tmp_path))
    with pytest.raises(DataError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    ("more", "said"), [("x", "a line of more than"), ('"' + "x" * 1023 + "\n", "field larger")]
)
def test_a_table_that_unpacks_without_end_is_not_read_whole(
    tmp_path: Path, more: str, said: str
) -> None:
    folder = small_release(tmp_path)
    with gzip.open(folder / SPLIT_FILE, "at", encoding="utf-8") as file:
        file.write(more + more.strip('"') * (2**25 // len(more)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=said):
            load(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


# --- R2Gen's annotation --------------------------------------------------------------------------

ITEMS: dict[str, Callable[[str], str]] = {
    "as published": lambda path: path,
    "files/ in front": lambda path: f"files/{path}",
    ".png for .jpg": lambda path: path.replace(".jpg", ".png"),
    ".dcm.jpg": lambda path: path.replace(".jpg", ".dcm.jpg"),
    "backslashes": lambda path: path.replace("/", "\\"),
    "a text for a list": lambda path: path,
}


@pytest.mark.parametrize("name", ITEMS)
def test_annotations_whose_paths_differ(tmp_path: Path, name: str) -> None:
    folder = r2gen_release(tmp_path, small())
    content = annotation(small())
    for item in (i for split in content.values() for i in split):
        [path] = item["image_path"]
        item["image_path"] = ITEMS[name](path) if "text" in name else [ITEMS[name](path)]
    (folder / "annotation.json").write_text("\ufeff" + json.dumps(content), encoding="utf-8")
    data = load(tmp_path, views="all", items="images")
    assert len(data.studies) == 9
    assert data.read(data.studies[0].images[0]).shape == (9, 7)


def listed(content: dict[str, list]) -> Any:
    return [item for split in content.values() for item in split]


def with_valid(content: dict[str, list]) -> Any:
    for item in content["val"]:
        item["split"] = "valid"
    return {"train": content["train"], "valid": content["val"], "test": content["test"]}


@pytest.mark.parametrize("change", [listed, with_valid])
def test_annotations_of_another_shape(tmp_path: Path, change: Change) -> None:
    folder = r2gen_release(tmp_path, small())
    (folder / "annotation.json").write_text(json.dumps(change(annotation(small()))))
    data = load(tmp_path, views="all", items="images")
    assert [len(data.split(s)) for s in ("train", "val", "test")] == [5, 2, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"train": [{"id": "x", "rep', "cannot read .*annotation.json"),
        ('"nothing"', "neither a list of items nor splits"),
        ('{"train": [{"id": "x"}]}', "item 1 has no 'image_path'"),
        ('{"train": [7]}', "item 1 is no item"),
        ('[{"id": 1, "image_path": ["a.jpg"], "subject_id": 1, "report": "r", "split": "dev2"}]',
         "unknown split 'dev2'"),
        ('{"train": []}', "no study in"),
    ],
)  # fmt: skip
def test_damaged_annotations_are_named(tmp_path: Path, text: str, message: str) -> None:
    folder = r2gen_release(tmp_path, small())
    (folder / "annotation.json").write_text(text)
    with pytest.raises(DataError, match=message):
        load(tmp_path, views="all", items="images")


@pytest.mark.parametrize("choice", [{"section": "impression"}, {"sections": "mit-lcp"}])
def test_what_an_annotation_cannot_give_is_refused(tmp_path: Path, choice: dict) -> None:
    r2gen_release(tmp_path, small())
    with pytest.raises(BenchError, match="holds findings alone"):
        load(tmp_path, views="all", **choice)


@pytest.mark.parametrize("source", ["release", "annotation"])
def test_a_source_that_is_not_here(tmp_path: Path, source: str) -> None:
    if source == "release":
        r2gen_release(tmp_path, small())
    else:
        small_release(tmp_path)
    with pytest.raises(DataError, match=r"dataset\.source=auto"):
        load(tmp_path, source=source)


def test_settings_of_every_dataset_reach_check_and_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_release(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    main(["data", "check", "mimic_cxr", "dataset.sample=1"])
    assert "train 1, val 1, test 1" in capsys.readouterr().out
    main(["data", "check", "mimic_cxr", "dataset.views=all"])
    assert "train 2, val 2, test 1" in capsys.readouterr().out
    assert main(["data", "check", "mimic_cxr", "dataset.image_views=2"]) == 2
    assert "known: dataset.draft, dataset.items" in capsys.readouterr().err
    with (tmp_path / "p.csv").open("w") as file:
        csv.writer(file).writerows([("study_id", "report"), ("d8", "x"), ("d9", "x")])
    given = ["score", str(tmp_path / "p.csv"), "--metrics", "BLEU", "dataset=mimic_cxr"]
    assert main([*given, "dataset.views=all", "dataset.items=images"]) == 0
    assert "2 studies" in capsys.readouterr().out
