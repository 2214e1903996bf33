"""The cache of image codes: exact, resumable, shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy import Frozen, load

import bench.data.codes
from bench.data.batches import Codes, views_of
from bench.data.codes import open_codes
from bench.data.images import open_store
from bench.model import ImageSpec

SPEC = ImageSpec(size=8, resize=12, filter="bilinear", kind="codes", channels=1, views=2)
DATASET = load(train=7)
CROPS = 3


def opened(cache: Path, tokenizer: Frozen, train: bool = True, **changes: Any) -> Codes:
    options = {"tokenizer_digest": "t1", "crops": CROPS, "device": "cpu", **changes}
    return open_codes(
        DATASET, DATASET.split("train"), SPEC, tokenizer, train=train, cache=cache, **options
    )


def test_codes_are_what_the_tokenizer_says(tmp_path: Path) -> None:
    codes = opened(tmp_path, Frozen())
    assert codes.training is not None
    assert codes.training.shape == (14, CROPS, 4)
    assert codes.evaluation.shape == (14, 4)
    images = views_of(DATASET.split("train"), 2)
    evaluation = open_store(DATASET, images, SPEC, training=False, cache=tmp_path).array
    direct = Frozen().codes(torch.from_numpy(evaluation.copy())[:, None].float() / 255)
    assert (codes.evaluation == direct.numpy()).all()


def test_training_codes_are_those_of_crops_inside(tmp_path: Path) -> None:
    codes = opened(tmp_path, Frozen()).training
    assert codes is not None
    images = views_of(DATASET.split("train"), 2)
    store = open_store(DATASET, images, SPEC, training=True, cache=tmp_path)
    for row in range(len(images)):
        squares = np.stack(
            [store[row][t : t + 8, left : left + 8] for t in range(5) for left in range(5)]
        )
        every = Frozen().codes(torch.from_numpy(squares)[:, None].float() / 255).numpy()
        for crop in codes[row]:
            assert (every == crop).all(axis=1).any()
    assert len({crop.tobytes() for image in codes for crop in image}) > 14


def test_a_second_opening_tokenises_nothing(tmp_path: Path) -> None:
    first, second = Frozen(), Frozen()
    before, after = opened(tmp_path, first), opened(tmp_path, second)
    assert (first.images, second.images) == (14 * (CROPS + 1), 0)
    assert (np.asarray(before.training) == np.asarray(after.training)).all()
    evaluation = Frozen()
    assert opened(tmp_path, evaluation, train=False).training is None
    assert evaluation.images == 0


@pytest.mark.parametrize(
    "change", [{"tokenizer_digest": "t2"}, {"crops": 2}, {"device": "cuda:imagined"}]
)
def test_what_determines_a_code_is_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    opened(tmp_path, Frozen())
    whole = bench.data.codes._codes
    monkeypatch.setattr(
        bench.data.codes, "_codes", lambda t, pixels, spec, device: whole(t, pixels, spec, "cpu")
    )
    again = Frozen()
    opened(tmp_path, again, **change)
    assert again.images > 0


class Dying(Frozen):
    """Ends after a few calls, as a killed process does."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    def codes(self, images: torch.Tensor) -> torch.Tensor:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().codes(images)


@pytest.mark.parametrize("calls", [0, 1, 5, 9])
def test_it_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    monkeypatch.setattr(bench.data.codes, "CHUNK", 4)  # four chunks of training, four of evaluation
    whole = opened(tmp_path / "whole", Frozen())
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path / "killed", Dying(calls))
    rest = Frozen()
    resumed = opened(tmp_path / "killed", rest)
    assert (np.asarray(resumed.training) == np.asarray(whole.training)).all()
    assert (np.asarray(resumed.evaluation) == np.asarray(whole.evaluation)).all()
    if calls >= CROPS:
        assert rest.images < 14 * (CROPS + 1)


def test_codes_that_were_altered_are_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.data.codes, "CHUNK", 4)
    whole = np.array(opened(tmp_path, Frozen()).training)
    data = max(tmp_path.rglob("codes.npy"), key=lambda path: path.stat().st_size)
    content = data.read_bytes()
    half = len(content) // 2
    for damaged in (content[:half] + bytes(len(content) - half), b"", content[:40]):
        data.write_bytes(damaged)
        again = Frozen()
        assert (np.asarray(opened(tmp_path, again).training) == whole).all()
        assert 0 < again.images <= 14 * CROPS
    for counter in tmp_path.rglob("done.json"):
        counter.write_bytes(b"\xff{")
    assert (np.asarray(opened(tmp_path, Frozen()).training) == whole).all()


def test_drawing(tmp_path: Path) -> None:
    codes = opened(tmp_path, Frozen())
    assert codes.training is not None
    rows = np.array([5, 2])
    fixed = codes.fixed(rows)
    assert fixed.dtype == torch.int64
    assert fixed.shape == (2, 2, 4)
    assert (fixed[0].numpy() == codes.evaluation[10:12]).all()
    assert (fixed[1].numpy() == codes.evaluation[4:6]).all()
    drawn = [codes.draw(rows, np.random.default_rng(seed)) for seed in range(12)]
    for image in drawn:
        known = codes.training[[10, 11, 4, 5]]
        found = image.flatten(0, 1).numpy()
        assert all((known[i] == crop).all(axis=1).any() for i, crop in enumerate(found))
    assert len({image.numpy().tobytes() for image in drawn}) > 4
    assert torch.equal(drawn[0], codes.draw(rows, np.random.default_rng(0)))
