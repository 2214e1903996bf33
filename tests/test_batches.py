"""Batches: order, crops and flips of a step depend on the seed and the step alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import load

from bench.data.batches import Ahead, Pixels, Split, normalised, views_of
from bench.data.text import vocabulary
from bench.errors import DataError
from bench.model import Batch, ImageSpec
from bench.runs.controls import derangement

SPEC = ImageSpec(
    size=8, resize=12, filter="bilinear", channels=1, mean=(0.0,), std=(1.0,), views=2, flip=0.0
)
DATASET = load(train=10, val=3)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def split(cache: Path, spec: ImageSpec = SPEC, name: str = "train") -> Split:
    studies = DATASET.split(name)
    views = Pixels.open(DATASET, studies, spec, name == "train", cache)
    return Split(DATASET, studies, vocabulary(DATASET), 60, views)


def stream(part: Split, size: int, count: int, seed: int = 3) -> list[int]:
    """Rows of the split in the order of training, `count` examples in batches of `size`."""
    rows = [part._stream(step * size, size, seed) for step in range(-(-count // size))]
    return np.concatenate(rows)[:count].tolist()


# --- order -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 4, 10, 25])
def test_every_epoch_is_a_permutation(cache: Path, size: int) -> None:
    order = stream(split(cache), size, 40)
    epochs = [order[i : i + 10] for i in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_the_order_does_not_depend_on_the_size_of_batches(cache: Path) -> None:
    part = split(cache)
    assert stream(part, 1, 40) == stream(part, 7, 40) == stream(part, 40, 40)
    assert stream(part, 7, 40, seed=4) != stream(part, 7, 40)


def test_a_step_is_a_function_of_seed_and_number(cache: Path) -> None:
    def batch(part: Split, step: int, seed: int = 3) -> Batch:
        return part.training_batch(step, 4, seed, 0.0, "cpu")

    first, second = split(cache), split(cache)
    for step in range(3):  # the other has not seen steps 0 to 4
        batch(first, step)
    one, other = batch(first, 5), batch(second, 5)
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.tokens, other.tokens)
    assert not torch.equal(one.images, batch(second, 6).images)
    assert not torch.equal(one.images, batch(second, 5, seed=4).images)


@pytest.mark.parametrize("overlap", [False, True])
def test_batches_ahead_are_the_same_whatever_step_is_asked_for(cache: Path, overlap: bool) -> None:
    part = split(cache)
    ahead = Ahead(split(cache), 4, 3, "cpu", overlap)
    for step in (0, 1, 2, 9, 10, 4):
        found = ahead.batch(step, step / 10)
        expected = part.training_batch(step, 4, 3, step / 10, "cpu")
        assert torch.equal(found.images, expected.images)
        assert torch.equal(found.tokens, expected.tokens)
        assert (found.texts, found.progress) == (expected.texts, expected.progress)


def test_what_fails_ahead_fails_at_its_step(cache: Path) -> None:
    part = split(cache)
    part.lengths = part.lengths[:1]  # a damaged split
    with pytest.raises(IndexError):
        Ahead(part, 4, 3, "cpu", overlap=True).batch(0, 0.0)


# --- pixels ------------------------------------------------------------------------------------


def places(images: torch.Tensor, whole: np.ndarray, flips: bool) -> Iterator[tuple[int, int, bool]]:
    """Where each drawn square stands in its image, and whether it is mirrored."""
    for square, image in zip(images, whole, strict=True):
        pixels = (square[0] * 255).round().numpy().astype(np.uint8)
        yield next(
            (top, left, flipped)
            for flipped in ((False, True) if flips else (False,))
            for top in range(image.shape[0] - 7)
            for left in range(image.shape[1] - 7)
            if (image[top : top + 8, left : left + 8] == pixels[:, :: -1 if flipped else 1]).all()
        )


def test_crops_are_squares_of_their_own_image(cache: Path) -> None:
    views = split(cache, replace(SPEC, flip=0.5)).views
    assert isinstance(views, Pixels)
    assert views.training is not None
    rng, found = np.random.default_rng(0), []
    for _ in range(12):
        drawn = views.ready(views.draw(np.array([4, 1]), rng))
        assert drawn.shape == (2, 2, 1, 8, 8)
        whole = [views.training[row] for row in (8, 9, 2, 3)]
        found += list(places(drawn.flatten(0, 1), np.stack(whole), flips=True))
    assert {top for top, _, _ in found} == {left for _, left, _ in found} == set(range(5))
    assert 0.2 < sum(flipped for _, _, flipped in found) / len(found) < 0.8


def test_evaluation_draws_nothing(cache: Path) -> None:
    part = split(cache, replace(SPEC, flip=0.5), "val")
    once, again = (torch.cat([b.images for b in part.batches(2, "cpu")]) for _ in range(2))
    assert torch.equal(once, again)
    with pytest.raises(AssertionError):
        part.views.draw(np.array([0]), np.random.default_rng(0))


def test_normalised() -> None:
    spec = replace(SPEC, channels=3, mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0))
    grey = torch.tensor([[[[0, 255], [51, 102]]]], dtype=torch.uint8)
    found = normalised(grey, spec)
    assert found.shape == (1, 3, 2, 2)
    torch.testing.assert_close(found[0, 0], torch.tensor([[-1.0, 1.0], [-0.6, -0.2]]))
    torch.testing.assert_close(found[0, 1], torch.tensor([[-0.25, 0.75], [-0.05, 0.15]]))
    torch.testing.assert_close(found[0, 2], torch.tensor([[0.0, 0.5], [0.1, 0.2]]))


def test_a_study_with_too_few_views_is_named() -> None:
    with pytest.raises(DataError, match="3 studies have fewer than 3 images: val0, val1, val2"):
        views_of(DATASET.split("val"), 3)
    keys = [image.key for image in views_of(DATASET.split("val"), 1)]
    assert keys == ["val0/frontal", "val1/frontal", "val2/frontal"]


# --- tokens and the control --------------------------------------------------------------------


def test_tokens_are_the_studies_own(cache: Path) -> None:
    part, words = split(cache), vocabulary(DATASET)
    rows = part._stream(0, 6, 3)
    batch = part.training_batch(0, 6, 3, 0.25, "cpu")
    assert batch.progress == 0.25
    assert batch.tokens.shape[1] == batch.lengths.max()
    for i, row in enumerate(rows):
        ids, length = batch.tokens[i].tolist(), int(batch.lengths[i])
        assert batch.texts[i] == words.decode(ids) == part.texts[row]
        assert ids[0] == 0
        assert not any(ids[length - 1 :])
        assert all(ids[1 : length - 1])


@pytest.mark.parametrize("size", [1, 2, 64])
def test_batches_keep_the_manifests_order(cache: Path, size: int) -> None:
    part = split(cache)
    batches = list(part.batches(size, "cpu"))
    assert [text for b in batches for text in b.texts] == part.texts
    assert all(b.progress == 1.0 for b in batches)


@pytest.mark.parametrize("count", [2, 3, 10, 97])
def test_derangement(count: int) -> None:
    orders = [derangement(count, seed) for seed in range(20)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(count))
        assert not (order == np.arange(count)).any()
    assert (derangement(count, 3) == orders[3]).all()
    if count > 3:
        assert len({tuple(order.tolist()) for order in orders}) > 15
