"""One decoding of each image serves all runs of a plan."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_images import SHORT, SQUASH, Reader, child, made, pixels
from toy import load

from bench.data import images as images_module
from bench.data.batches import views_of
from bench.data.images import open_store, open_stores
from bench.data.resize import Resize
from bench.data.study import Image
from bench.errors import DataError
from bench.model import ImageSpec
from bench.runs.floors import PICTURE
from bench.runs.renditions import gather
from bench.runs.workspace import Workspace
from bench.spec import BudgetSpec, DataSpec, PartSpec, RunSpec

SHOWN = ImageSpec(size=8, resize=10, views=2)
OTHER = ImageSpec(size=12, resize=12, views=2)


def plan() -> list[RunSpec]:
    data = DataSpec("made", "toy.load", load().manifest)
    images = ({"size": s.size, "resize": s.resize, "views": 2, "flip": 0.0} for s in (SHOWN, OTHER))
    budget = BudgetSpec("steps", 1)
    trained = [
        RunSpec("train", data, PartSpec("x", {"image": i}), "c", budget=budget) for i in images
    ]
    return [RunSpec("floor", data, PartSpec("f"), "c"), *trained]


def counting(folder: Path, monkeypatch: pytest.MonkeyPatch, fails: bool = False) -> Counter[str]:
    read: Counter[str] = Counter()
    data = load()

    def reading(image: Image) -> np.ndarray:
        read[image.key] += 1
        if fails:
            raise DataError("no such file")
        return data.read(image)

    counted = replace(data, read=reading)
    monkeypatch.setattr(Workspace, "dataset", lambda *_: counted)
    return read


def test_each_image_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, work = counting(tmp_path, monkeypatch), Workspace(tmp_path, tmp_path)
    gather(plan(), work)
    assert set(read.values()) == {1}
    data = work.open(plan()[0]).dataset
    for split, training in (("train", True), ("train", False), ("val", False), ("test", False)):
        for spec in (SHOWN, OTHER, *([PICTURE] if split != "val" and not training else [])):
            images = views_of(data.split(split), 2)
            open_store(data, images, spec, training, tmp_path)
    assert set(read.values()) == {1}
    assert len(read) == sum(len(s.images[:2]) for s in data.studies)


def test_what_cannot_be_read_is_left_to_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = counting(tmp_path, monkeypatch, fails=True)
    gather(plan(), Workspace(tmp_path, tmp_path))
    assert read


def test_one_decoding_serves_every_rendition(tmp_path: Path) -> None:
    reader = Reader()
    data, images = made(30, reader)
    rules = [Resize.of(SQUASH, True), Resize.of(SHORT, True), Resize("squash", 4, "bilinear")]
    found = open_stores(data, images, rules, tmp_path / "together")
    assert sorted(map(int, reader.asked)) == list(range(30))
    for rule, store in zip(rules, found, strict=True):
        [alone] = open_stores(*made(30), [rule], tmp_path / "alone")
        assert alone.key == store.key
        for row in range(30):
            np.testing.assert_array_equal(store[row], alone[row])


def test_what_one_rendition_has_is_not_written_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two renditions one is whole and one was cut off in the middle."""
    monkeypatch.setattr(images_module, "CHUNK", 4)
    child(tmp_path, 20, 0.0).join(30)
    rules = [Resize.of(SHORT, True), Resize.of(SQUASH, True)]
    open_stores(*made(30), [rules[1]], tmp_path)
    found = open_stores(*made(30), rules, tmp_path)
    for rule, store in zip(rules, found, strict=True):
        assert len(store) == 30
        for row in range(30):
            np.testing.assert_array_equal(store[row], rule(pixels(str(row))))
