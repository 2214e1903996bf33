"""Whether models read images: likelihoods against slow loops, and figures with known answers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from reading import ReadingToy

from baselines.likelihood import TeacherForced
from bench.data.pairings import ABSENT, OTHERS, others
from bench.data.study import Study
from bench.engine.decode import lay_out
from bench.metrics import image_attribution, registry
from bench.metrics.image_information import (
    TEMPERATURES,
    ImageInformation,
    WithinLabels,
    bound,
    rank,
    tables,
    temperature,
)
from bench.perf.models import Built
from bench.runs.information import pair_tokens
from bench.stats import Plan, intervals

GENERATORS = ("base", "uar", "r2gen", "r2gencmn", "st", "att2in", "adaatt", "topdown")
VOCABULARY, LENGTH = 12, 10


class Films:
    """Studies with images of their own, as `Split` gives them."""

    def __init__(self, count: int, images: torch.Tensor, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.studies = studies(count)
        self.lengths = rng.integers(3, LENGTH + 1, count)
        self.tokens = rng.integers(1, VOCABULARY, (count, LENGTH))
        for row, length in zip(self.tokens, self.lengths, strict=True):
            row[length - 1 :] = 0
        self.tokens[:, 0] = 0
        self.images = images

    def __len__(self) -> int:
        return len(self.lengths)

    def batches(self, size: int, device: str) -> Iterator[Any]:
        for first in range(0, len(self), size):
            yield SimpleNamespace(images=self.images[first : first + size])


def studies(count: int, each: int = 1) -> list[Study]:
    return [Study(f"s{i}", f"p{i // each}", "test", (), "") for i in range(count)]


def toy(seed: int = 0) -> ReadingToy:
    torch.manual_seed(seed)
    return ReadingToy(VOCABULARY).eval()


# --- what a model gives -------------------------------------------------------------------------


@pytest.mark.parametrize("name", GENERATORS)
def test_log_probabilities_are_those_of_the_loss(name: str) -> None:
    built = Built.of([f"model={name}", "size=tiny", "budget=tiny"], 3)
    batch, model = built.batch, built.model.eval()
    lengths = torch.tensor([60, 41, 7])
    tokens = batch.tokens.masked_fill(torch.arange(60) >= lengths[:, None] - 1, 0)
    batch = replace(batch, tokens=tokens, lengths=lengths)
    with torch.no_grad():
        found = model.log_probs(batch)
        ce = float(model.loss(batch)["ce"])
        state = model.encode(batch.images)
        turned = model.log_probs(batch, state, torch.tensor([2, 0, 0]))
        moved = model.log_probs(replace(batch, images=batch.images[[2, 0, 0]]))
    assert found.shape == tokens.shape
    assert torch.equal(found != 0, (torch.arange(60) < lengths[:, None]).index_fill(
        1, torch.tensor([0]), False))  # fmt: skip
    assert -float(found.double().sum()) / int((lengths - 1).sum()) == pytest.approx(ce, abs=1e-6)
    assert torch.allclose(turned, moved, atol=1e-5)


def test_a_whole_report_equals_one_word_at_a_time() -> None:
    for name in ("base", "uar"):
        built = Built.of([f"model={name}", "size=tiny", "budget=tiny"], 3)
        model = built.model.eval()
        with torch.no_grad():
            state = model.encode(built.batch.images)
            whole = model.follow(built.batch.tokens[:, :-1], state)
            steps = TeacherForced.follow(model, built.batch.tokens[:, :-1], state)
        assert torch.allclose(whole, steps, atol=1e-4)


def slow_tokens(model: Any, split: Films, report: int, study: int) -> list[float]:
    """One pair, one word at a time."""
    found, state = [0.0], model.encode(split.images[study : study + 1])
    for t in range(int(split.lengths[report]) - 1):
        logits, state = model.step(torch.tensor([split.tokens[report, t]]), state)
        found.append(float(logits.log_softmax(-1)[0, split.tokens[report, t + 1]]))
    return found + [0.0] * (LENGTH - len(found))


def test_pairs_equal_the_slow_loop() -> None:
    count = 70  # more than is encoded at once, and more pairs than are scored at once
    split = Films(count, torch.randn(count, 2, 1, 8, 8, generator=torch.Generator().manual_seed(1)))
    model = toy()
    rng = np.random.default_rng(2)
    first = rng.integers(0, count, (count, 3))
    second = np.where(rng.random((count, 2)) < 0.3, ABSENT, rng.integers(0, count, (count, 2)))
    for rows, found in zip(
        (first, second), pair_tokens(model, split, [first, second], "cpu"), strict=True
    ):
        assert found.shape == (*rows.shape, LENGTH)
        with torch.no_grad():
            for i, j in np.ndindex(rows.shape):
                if rows[i, j] == ABSENT:
                    assert np.isnan(found[i, j]).all()
                elif i % 5 == 0:
                    assert found[i, j] == pytest.approx(
                        slow_tokens(model, split, i, int(rows[i, j])), abs=1e-5
                    )


@pytest.mark.parametrize("name", GENERATORS)
def test_a_blind_model_is_at_chance(name: str) -> None:
    """The images of all studies are one: nothing can be read. Batches differ, so do roundings."""
    built = Built.of([f"model={name}", "size=tiny", "budget=tiny"], 1)
    model, count = built.model.eval(), 30
    split = Films(count, built.batch.images.expand(count, *built.batch.images.shape[1:]))
    lay_out(model)
    rows = np.column_stack([np.arange(count), others(split.studies)])
    [found] = pair_tokens(model, split, [rows], "cpu")
    likelihoods = found.sum(-1)
    assert (rank(likelihoods) == 0.5).all()
    assert np.abs(bound(likelihoods, 1.0)).max() < 1e-4


# --- whose images -------------------------------------------------------------------------------


def test_others_are_other_patients_and_follow_from_ids_alone() -> None:
    made = studies(60, each=2)
    drawn = others(made)
    assert drawn.shape == (60, OTHERS)
    for i, row in enumerate(drawn):
        assert len(set(row)) == OTHERS
        assert i // 2 not in set(row // 2)
    order = np.random.default_rng(0).permutation(60)
    again = order[others([made[i] for i in order])]
    assert (again[np.argsort(order)] == drawn).all()
    # Of any split that holds these studies; a change would make another metric of it.
    assert drawn[0, :6].tolist() == [18, 54, 15, 39, 24, 17]
    used = np.bincount(drawn.ravel(), minlength=60)
    assert used.min() > 10
    assert used.max() < 40


def test_others_of_the_same_labels() -> None:
    drawn = others(studies(40), [i % 8 for i in range(38)] + ["alone", "apart"])
    assert (drawn[38:] == ABSENT).all()
    for i, row in enumerate(drawn[:38]):
        there = row[row != ABSENT]
        assert set(there % 8) == {i % 8}
        assert len(there) in (3, 4)
        assert (row[len(there) :] == ABSENT).all()


# --- the figures --------------------------------------------------------------------------------


def slow_rank(row: np.ndarray) -> float:
    return sum(1.0 if x > row[0] else 0.5 if x == row[0] else 0.0 for x in row[1:]) / (len(row) - 1)


def slow_bound(row: np.ndarray, t: float) -> float:
    own = math.exp(row[0] / t)
    return math.log(own / (sum(math.exp(x / t) for x in row) / len(row)))


def test_figures_equal_the_slow_ones() -> None:
    rng = np.random.default_rng(0)
    made = rng.integers(-30, -20, (50, 1 + OTHERS)).astype(float)
    assert rank(made) == pytest.approx([slow_rank(row) for row in made], abs=1e-12)
    for t in (0.5, 1.0, 7.0):
        assert bound(made, t) == pytest.approx([slow_bound(row, t) for row in made], abs=1e-12)
    made[:, 20:] = np.nan
    assert rank(made) == pytest.approx([slow_rank(row[:20]) for row in made], abs=1e-12)
    assert bound(made, 2.0) == pytest.approx([slow_bound(row[:20], 2.0) for row in made], abs=1e-12)
    made[:, 1:] = -np.inf
    assert rank(made).tolist() == [0.0] * 50
    assert bound(made, 1.0) == pytest.approx(math.log(1 + OTHERS))


def gaussian(n: int, spread: float, seed: int, shuffled: bool = False) -> np.ndarray:
    """log p(y | x) of y = x + noise of the given spread, own x first; MI log(1 + 1 / spread²)/2."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1 + OTHERS))
    y = x[:, :1] + spread * rng.normal(size=(n, 1))
    x[:, 0] = rng.normal(size=n) if shuffled else x[:, 0]
    return np.asarray(-((y - x) ** 2) / (2 * spread**2))


def test_the_bound_approaches_known_information_from_below() -> None:
    truth = math.log(2) / 2
    found = bound(gaussian(4000, 1.0, 0), 1.0)
    error = found.std() / math.sqrt(4000)
    assert truth - 0.05 < found.mean() < truth + 3 * error
    sharp = bound(gaussian(1000, 0.01, 1), 1.0)  # 4.6 nats, more than it can say
    assert 2.5 < sharp.mean() <= math.log(1 + OTHERS)


def test_shuffled_pairs_are_at_chance_within_their_interval() -> None:
    made = {
        "test": gaussian(300, 0.5, 0, shuffled=True),
        "val": gaussian(150, 0.5, 1, shuffled=True),
    }
    made["within"] = made["test"]
    made["own"] = made["mean"] = np.zeros((300, 3))
    table = tables(made)[ImageInformation.name]
    plan = Plan(tuple(f"s{i}" for i in range(300)))
    found = intervals(ImageInformation(), table, plan)
    position = found["image-information-rank"]
    assert position.low < 0.5 < position.high
    information = found["image-information-bound"]
    assert information.low <= 1e-3
    assert abs(information.value) < 0.05


def test_temperature_undoes_overconfidence() -> None:
    calm = gaussian(400, 0.7, 0)
    t = temperature(calm)
    assert 0.8 < t < 1.3
    loud = calm * 8  # eight times as sure as the evidence allows
    assert bound(loud, 1.0).mean() < 0 < bound(loud, temperature(loud)).mean()
    assert temperature(loud) == pytest.approx(8 * t)
    assert bound(loud, 8 * t) == pytest.approx(bound(calm, t))
    assert rank(loud).mean() == pytest.approx(rank(calm).mean(), abs=2e-3)  # but for ties
    assert temperature(np.zeros((5, 3))) == 1.0
    assert temperature(loud) in TEMPERATURES


def test_within_labels_counts_those_that_have_others() -> None:
    likelihoods = gaussian(20, 0.5, 3)
    likelihoods[:8, 1:] = np.nan
    zeros = np.zeros((20, 2))
    found = tables({"test": likelihoods, "val": likelihoods, "within": likelihoods,
                    "own": zeros, "mean": zeros})  # fmt: skip
    metric, table = WithinLabels(), found[WithinLabels.name]
    t = temperature(likelihoods)
    scores = metric.corpus(table)
    assert scores["image-information-within-rank"] == pytest.approx(rank(likelihoods[8:]).mean())
    assert scores["image-information-within-bound"] == pytest.approx(
        bound(likelihoods[8:], t).mean()
    )


def test_each_score_has_its_direction() -> None:
    metric = registry.load("image-information")
    better = {s: metric.higher_is_better(s) for s in metric.scores}
    assert better["image-information-bound"]
    assert not better["image-information-rank"]
    assert registry.load("BLEU").higher_is_better("BLEU-4")
    assert registry.family("image-information-within-rank") == "image-information-within"


# --- attribution --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "kind"),
    [("no", "negation"), ("effusions", "finding"), ("effusion", "finding"), ("mild", "degree"),
     ("left", "side"), ("lungs", "place"), ("clear", "normal"), ("pacemaker", "device"),
     (".", "other"), ("", "other"), ("the", "other"), ("<unk>", "other"),
     ("notable", "other"), ("port", "device"), ("portable", "other")],
)  # fmt: skip
def test_word_classes(word: str, kind: str) -> None:
    assert list(image_attribution.CLASSES)[image_attribution.word_class(word)] == kind


def test_attribution_sums_by_class_and_observation() -> None:
    gaps = np.array([[1.0, 2.0, 4.0, 9.0], [8.0, 16.0, 9.0, 9.0]])
    words = [["no", "effusion", ""], ["effusion", ""]]
    shown = np.zeros((2, 14))
    shown[1, 9] = 1
    metric = image_attribution.ImageAttribution()
    found = metric.corpus(image_attribution.statistics(gaps, words, shown))
    assert found["image-attribution-negation"] == 1
    assert found["image-attribution-finding"] == (2 + 8) / 2
    assert found["image-attribution-other"] == (4 + 16) / 2
    assert found["image-attribution-in-pleural-effusion"] == 24
    assert found["image-attribution-in-edema"] == 0
