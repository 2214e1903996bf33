"""The image cache: resize rules, crops, resuming after a kill, two processes, a full disk."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from bench.data import images as module
from bench.data.images import altered, open_store, read_grey
from bench.data.resize import Resize
from bench.data.study import Dataset, Image, Study
from bench.errors import BenchError, DataError
from bench.model import ImageSpec

SQUASH = ImageSpec(size=12, resize=16)
SHORT = ImageSpec(size=12, resize=16, mode="short", evaluate="center", filter="bilinear")


def pixels(key: str) -> np.ndarray:
    """Grey noise whose shape and values depend on the key."""
    rng = np.random.default_rng(int(key))
    return rng.integers(0, 256, (20 + int(key) % 7, 30 - int(key) % 5), dtype=np.uint8)


class Reader:
    """Reads made images and keeps what was asked for; slow, or killed by a key, where told."""

    def __init__(self, kill_at: int | None = None, pause: float = 0.0) -> None:
        self.asked: list[str] = []
        self.kill_at, self.pause = kill_at, pause

    def __call__(self, image: Image) -> np.ndarray:
        self.asked.append(image.key)
        time.sleep(self.pause)
        if image.key == str(self.kill_at):
            os.kill(os.getpid(), signal.SIGKILL)
        return pixels(image.key)


def made(count: int, reader: Reader | None = None) -> tuple[Dataset, list[Image]]:
    images = [Image(str(n), "frontal") for n in range(count)]
    studies = tuple(Study(i.key, i.key, "train", (i,), "") for i in images)
    return Dataset("made", studies, "", reader or Reader()), images


@pytest.mark.parametrize("mode", ["squash", "short", "pad"])
@pytest.mark.parametrize("filter", ["lanczos", "bilinear"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("evaluate", ["squash", "center"])
def test_store_equals_pillow(
    tmp_path: Path, mode: str, filter: str, training: bool, evaluate: str
) -> None:
    spec = ImageSpec(size=12, resize=16, mode=mode, filter=filter, evaluate=evaluate)
    data, images = made(9)
    store = open_store(data, images, spec, training, tmp_path)
    assert len(store) == 9
    for row, image in enumerate(images):
        np.testing.assert_array_equal(store[row], slow(pixels(image.key), spec, training))
    if mode != "short" or not training:
        np.testing.assert_array_equal(store.array, [store[row] for row in range(9)])


def slow(grey: np.ndarray, spec: ImageSpec, training: bool) -> np.ndarray:
    """The rule again, on Pillow images throughout."""
    image = Pillow.fromarray(grey)
    resample = Pillow.Resampling[spec.filter.upper()]
    if not training and spec.evaluate == "squash":
        return np.asarray(image.resize((spec.size, spec.size), resample))
    width, height = image.size
    if spec.mode == "squash":
        width = height = spec.resize
    elif spec.mode == "short":
        width, height = (
            (spec.resize, int(spec.resize * height / width))
            if width < height
            else (int(spec.resize * width / height), spec.resize)
        )
    else:
        width, height = (
            (spec.resize, int(spec.resize * height / width))
            if width > height
            else (int(spec.resize * width / height), spec.resize)
        )
    image = image.resize((width, height), resample)
    if spec.mode == "pad":
        square = Pillow.new("L", (spec.resize, spec.resize))
        square.paste(image, ((spec.resize - width) // 2, (spec.resize - height) // 2))
        image = square
    if training:
        return np.asarray(image)
    left, top = (round((side - spec.size) / 2) for side in image.size)
    return np.asarray(image.crop((left, top, left + spec.size, top + spec.size)))


def test_resize_agrees_with_torchvision() -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    theirs = transforms.Compose([transforms.Resize(16), transforms.CenterCrop(12)])
    for key in map(str, range(20)):
        expected = np.asarray(theirs(Pillow.fromarray(pixels(key))))
        np.testing.assert_array_equal(Resize.of(SHORT, False)(pixels(key)), expected)


@pytest.mark.parametrize("spec", [SQUASH, SHORT])
def test_crop_equals_slicing(tmp_path: Path, spec: ImageSpec) -> None:
    data, images = made(7)
    store = open_store(data, images, spec, True, tmp_path)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 7, 50)
    tops, lefts = rng.integers(0, store.shapes[rows] - 12 + 1).T
    squares = store.crop(rows, tops, lefts, 12)
    for square, row, top, left in zip(squares, rows, tops, lefts, strict=True):
        np.testing.assert_array_equal(square, store[row][top : top + 12, left : left + 12])
    squares[:] = 0  # a copy: the cache is read-only and stays as it is
    assert store[0].any()
    with pytest.raises(ValueError, match="leaves its image"):
        store.crop(np.array([0]), np.array([0]), np.array([40]), 12)


def test_unequal_shapes_form_no_array(tmp_path: Path) -> None:
    data, images = made(7)
    with pytest.raises(BenchError, match="differ in shape"):
        _ = open_store(data, images, SHORT, True, tmp_path).array


def test_a_full_cache_is_not_read_again_and_the_key_is_the_content(tmp_path: Path) -> None:
    reader = Reader()
    data, images = made(5, reader)
    first = open_store(data, images, SQUASH, True, tmp_path)
    assert open_store(data, images, SQUASH, True, tmp_path).key == first.key
    assert len(reader.asked) == 5
    for other in (
        open_store(data, images[::-1], SQUASH, True, tmp_path),
        open_store(data, images, SQUASH, False, tmp_path),
        open_store(replace(data, fingerprint=lambda i: "new"), images, SQUASH, True, tmp_path),
    ):
        assert other.key != first.key
    assert len(reader.asked) == 20


def test_rows_follow_the_given_order_repeats_included(tmp_path: Path) -> None:
    data, images = made(3)
    store = open_store(data, [images[2], images[0], images[2]], SQUASH, True, tmp_path)
    np.testing.assert_array_equal(store[0], store[2])
    assert (store[0] != store[1]).any()


def build(folder: Path, kill_at: int | None, pause: float) -> None:
    module.CHUNK = 4
    data, images = made(30, Reader(kill_at, pause))
    open_store(data, images, SHORT, True, folder)


def child(*args: object) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=build, args=args)
    process.start()
    return process


def store_files(folder: Path) -> dict[str, bytes]:
    names = ("pixels.u8", "index.npy", "store.json")
    return {n: next(folder.rglob(n)).read_bytes() for n in names}


@pytest.mark.parametrize("kill_at", [0, 9, 29])
def test_resumes_after_kill_9(tmp_path: Path, kill_at: int) -> None:
    killed = child(tmp_path / "a", kill_at, 0.0)
    killed.join(30)
    assert killed.exitcode == -signal.SIGKILL
    assert not list((tmp_path / "a").rglob("store.json"))
    for name in ("pixels.u8", "rows.i64"):  # a torn write behind the last whole chunk
        with next((tmp_path / "a").rglob(name)).open("ab") as file:
            file.write(b"torn")
    reader = Reader()
    data, images = made(30, reader)
    open_store(data, images, SHORT, True, tmp_path / "a")
    asked = sorted(map(int, reader.asked))
    assert asked == list(range(asked[0], 30))
    assert asked[0] % 4 == 0
    assert asked[0] <= kill_at
    open_store(*made(30), SHORT, True, tmp_path / "b")
    assert store_files(tmp_path / "a") == store_files(tmp_path / "b")


def test_pixels_lost_behind_their_rows_are_decoded_again(tmp_path: Path) -> None:
    child(tmp_path, 20, 0.0).join(30)
    path = next(tmp_path.rglob("pixels.u8"))
    os.truncate(path, path.stat().st_size - 1)
    store = open_store(*made(30), SHORT, True, tmp_path)
    np.testing.assert_array_equal(store[15], Resize.of(SHORT, True)(pixels("15")))


def test_a_death_between_marker_and_tidying_leaves_nothing(tmp_path: Path) -> None:
    open_store(*made(3), SQUASH, True, tmp_path)
    left = next(tmp_path.rglob("store.json")).parent / "rows.i64"
    left.write_bytes(b"rows")
    open_store(*made(3), SQUASH, True, tmp_path)
    assert not left.exists()


def test_two_processes_share_one_build(tmp_path: Path) -> None:
    both = [child(tmp_path / "a", None, 0.01) for _ in range(2)]
    for process in both:
        process.join(30)
    assert [process.exitcode for process in both] == [0, 0]
    open_store(*made(30), SHORT, True, tmp_path / "b")
    assert store_files(tmp_path / "a") == store_files(tmp_path / "b")


def test_full_disk_says_what_is_needed_and_leaves_it_resumable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, images = made(30)
    append, written = module._append, []

    def full(path: Path, content: bytes) -> None:
        if len(written) == 4:
            append(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        append(path, content)

    monkeypatch.setattr(module, "CHUNK", 8)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_append", full)
        with pytest.raises(BenchError, match=r"No space left.*30 images need 0 MB"):
            open_store(data, images, SQUASH, True, tmp_path)
    reader = Reader()
    store = open_store(replace(data, read=reader), images, SQUASH, True, tmp_path)
    assert len(reader.asked) == 30 - 16
    np.testing.assert_array_equal(store[29], Resize.of(SQUASH, True)(pixels("29")))


def test_too_small_a_disk_is_refused_before_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader()
    data, images = made(30, reader)
    usage = type("Usage", (), {"free": 1})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(BenchError, match="No space left"):
        open_store(data, images, SQUASH, True, tmp_path)
    assert len(reader.asked) == 0


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    data, images = made(5)
    open_store(data, images, SQUASH, True, tmp_path, lambda *state: seen.append(state))
    assert seen == [(0, 5), (5, 5)]


def test_pixels_that_were_altered_are_never_read(tmp_path: Path) -> None:
    data, images = made(5)
    whole = open_store(data, images, SQUASH, True, tmp_path).array.copy()
    path = next(tmp_path.rglob("pixels.u8"))
    assert list(altered(tmp_path, "made")) == []
    content = bytearray(path.read_bytes())
    content[3 * 256 :] = bytes(2 * 256)  # of equal size: the last two images are black
    path.write_bytes(content)
    store = open_store(data, images, SQUASH, True, tmp_path)
    zero = np.zeros(2, dtype=np.int64)
    np.testing.assert_array_equal(store.crop(np.array([0, 2]), zero, zero, 16), whole[[0, 2]])
    for read in (
        lambda: store[3],
        lambda: store.crop(np.array([0, 4]), zero, zero, 12),
        lambda: store.array,
    ):
        with pytest.raises(DataError, match=r"was altered: pixels.u8, image [34]\n.*delete this"):
            read()
    assert ["image 3" in problem for problem in altered(tmp_path, "made")] == [True]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pixels.u8", b"short"),
        ("index.npy", b"\x93NUMPY"),
        ("index.npy", b""),
        ("store.json", b"{}"),
        ("store.json", b"\xff\xfe"),
    ],
)
def test_a_damaged_cache_is_built_again(tmp_path: Path, name: str, content: bytes) -> None:
    reader = Reader()
    data, images = made(5, reader)
    open_store(data, images, SQUASH, True, tmp_path)
    whole = store_files(tmp_path)
    next(tmp_path.rglob(name)).write_bytes(content)
    store = open_store(data, images, SQUASH, True, tmp_path)
    np.testing.assert_array_equal(store[3], Resize.of(SQUASH, True)(pixels("3")))
    assert store_files(tmp_path) == whole
    assert len(reader.asked) == 10


def test_the_marker_says_what_it_is(tmp_path: Path) -> None:
    data, images = made(5)
    store = open_store(data, images, SQUASH, True, tmp_path)
    facts = json.loads(next(tmp_path.rglob("store.json")).read_text())
    assert facts["key"] == store.key
    assert facts["rule"] == {"mode": "squash", "pixels": 16, "filter": "lanczos", "center": None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "squish"}, "did you mean 'squash'"),
        ({"filter": "bicubic"}, "known: bilinear, lanczos"),
        ({"evaluate": "centre"}, "did you mean 'center'"),
        ({"size": 20}, "a crop cannot exceed its image"),
    ],
)
def test_wrong_specs_are_named(change: dict, message: str) -> None:
    with pytest.raises(BenchError) as error:
        Resize.of(replace(SQUASH, **change), True)
    assert message in str(error.value)


def test_read_grey(tmp_path: Path) -> None:
    grey = pixels("3")
    Pillow.fromarray(grey).convert("RGB").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "a.png"), grey)
    Pillow.fromarray(grey.astype(np.uint16) * 256).save(tmp_path / "deep.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    for name in ("deep.png", "broken.png", "absent.png"):
        with pytest.raises(DataError, match=name):
            read_grey(tmp_path / name)
