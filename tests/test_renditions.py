"""Several renditions of the same images: each image is decoded once for all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_images import SHORT, SQUASH, Reader, child, made, pixels

from bench.data import images as module
from bench.data.images import open_stores
from bench.data.resize import Resize


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
    monkeypatch.setattr(module, "CHUNK", 4)
    child(tmp_path, 20, 0.0).join(30)
    rules = [Resize.of(SHORT, True), Resize.of(SQUASH, True)]
    open_stores(*made(30), [rules[1]], tmp_path)
    found = open_stores(*made(30), rules, tmp_path)
    for rule, store in zip(rules, found, strict=True):
        assert len(store) == 30
        for row in range(30):
            np.testing.assert_array_equal(store[row], rule(pixels(str(row))))
