"""The floors: each is what its name says, on made material."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from toy import load

from baselines import floors
from baselines.floors import (
    Constant,
    ConstantByCIDEr,
    MostFrequent,
    NearestImage,
    NoFinding,
    Random,
)
from bench.data.leakage import cleaned_reports
from bench.errors import BenchError, DataError
from bench.metrics import cider
from bench.metrics.bleu import BLEU, best_constant
from bench.metrics.clinical.labeler import no_finding, signature
from bench.metrics.clinical.observations import NO_FINDING, OBSERVATIONS, POSITIVE
from bench.metrics.clinical.rules import ChexpertRules
from bench.runs.controls import derangement
from bench.runs.floors import floor_reports
from bench.runs.workspace import Workspace
from bench.spec import DataSpec, PartSpec, RunSpec

WORDS = (
    "the", "heart", "lungs", "are", "is", "clear", "normal", "large", "no", "effusion", "seen", ".",
)  # fmt: skip


def sentences(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(4, 14))) for _ in range(count)]


def made_pictures(split: str) -> np.ndarray:
    rng = np.random.default_rng(len(split))
    return rng.integers(0, 256, (12 if split == "train" else 5, 2, 8, 8), dtype=np.uint8)


@dataclass(frozen=True)
class Made:
    """A `baselines.floors.Material` of made texts and pictures."""

    train: Sequence[str]
    val: Sequence[str]
    count: int = 5
    split: str = "test"
    change: Callable[[np.ndarray], np.ndarray] | None = None

    def choose(
        self, candidates: Sequence[str], references: Sequence[str], metric: str = "BLEU-4"
    ) -> int:
        if metric == "CIDEr":
            return cider.best_constant(candidates, references)[0]
        return best_constant(candidates, references)[0]

    def no_finding(self, reports: Sequence[str]) -> list[bool]:
        return ["clear" in report for report in reports]

    def pictures(self, split: str) -> np.ndarray:
        """Changed test pictures are those of train studies 8, 2, 11, 2, 0, changed."""
        if split == "train" or self.change is None:
            return made_pictures(split)
        return self.change(made_pictures("train")[[8, 2, 11, 2, 0]])


MATERIAL = Made(sentences(30, 0), sentences(12, 1))


@pytest.mark.parametrize("seed", range(5))
def test_the_constant_is_the_best_one_on_validation(seed: int) -> None:
    train, val = sentences(30, seed), sentences(12, 100 + seed)
    train[7] = train[3]
    bleu = BLEU()
    scores = [bleu.corpus(bleu.statistics([t] * len(val), val))["BLEU-4"] for t in train]
    written = Constant().write(replace(MATERIAL, train=train, val=val))
    assert written == [train[int(np.argmax(scores))]] * 5


def test_the_most_frequent_report() -> None:
    train = ["b", "a", "c", "a", "b"]
    assert MostFrequent().write(replace(MATERIAL, train=train)) == ["b"] * 5
    assert MostFrequent().write(replace(MATERIAL, train=["c", *train, "a"])) == ["a"] * 5


def test_random_reports_are_seeded_and_come_from_train() -> None:
    many = replace(MATERIAL, count=3000)
    written = Random(seed=4).write(many)
    assert written == Random(seed=4).write(many) != Random(seed=5).write(many)
    counts = {report: written.count(report) for report in MATERIAL.train}
    assert sum(counts.values()) == 3000
    assert 60 < min(counts.values()) < max(counts.values()) < 145


def test_always_no_finding() -> None:
    """The best constant of those that the labeler reads so, however good others are."""
    floor, val = NoFinding(labeler="a"), ["the heart is large ."] * 3
    train = [*val, "lungs clear .", "the heart is clear .", "lungs clear ."]
    assert Constant().write(replace(MATERIAL, train=train, val=val)) == val[:1] * 5
    found = floor.write(replace(MATERIAL, train=train, val=val))
    assert found == ["the heart is clear ."] * 5
    assert floor.write(replace(MATERIAL, train=train[:3], val=val)) == [NoFinding.NORMAL] * 5


def with_pictures(change: Callable[[np.ndarray], np.ndarray]) -> Made:
    return replace(MATERIAL, train=MATERIAL.train[:12], change=change)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: (x // 2 + 60).astype(np.uint8),
        lambda x: np.clip(x.astype(int) + np.arange(8) - 4, 0, 255).astype(np.uint8),
    ],
    ids=["identical", "other exposure", "slightly changed"],
)
def test_the_nearest_image(change: Callable[[np.ndarray], np.ndarray]) -> None:
    material = with_pictures(change)
    assert NearestImage().write(material) == [material.train[i] for i in (8, 2, 11, 2, 0)]


def test_the_nearest_of_many_is_that_of_a_plain_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the blocks; of pictures that occur twice in train the first."""
    rng = np.random.default_rng(0)
    train = rng.integers(0, 256, (70, 2, 8, 8), dtype=np.uint8)
    train[40:60] = train[5:25]
    query = np.concatenate([train[30:60], rng.integers(0, 256, (9, 2, 8, 8), dtype=np.uint8)])
    flat = floors._standardised(train).astype(np.float64)
    plain = [int(np.argmax(np.round(flat @ row, 9))) for row in floors._standardised(query)]
    assert plain[10:30] == list(range(5, 25))
    for block in (3, 16, 70, 500):
        monkeypatch.setattr(floors, "_BLOCK", block)
        assert floors._nearest(train, floors._standardised(query)) == plain


def test_a_blank_picture_is_no_error() -> None:
    assert len(NearestImage().write(with_pictures(np.zeros_like))) == 5


# --- as the harness calls them -----------------------------------------------------------------


def spec(name: str, seed: int = 0, labeler: str = "") -> RunSpec:
    data = DataSpec("made", "toy.load", load().manifest)
    labeled = {"labeler": labeler or signature("chexpert-rules")} if name == "NoFinding" else {}
    return RunSpec("floor", data, PartSpec(f"baselines.floors.{name}", labeled), "", seed=seed)


@pytest.mark.parametrize(
    "name", ["Constant", "MostFrequent", "NoFinding", "Random", "NearestImage"]
)
def test_a_report_for_every_study(tmp_path: Path, name: str) -> None:
    work = Workspace(tmp_path, tmp_path)
    written = floor_reports(spec(name), work)
    assert len(written) == 6
    assert all(text == " ".join(text.split()) and text.endswith(" .") for text in written)
    assert written == floor_reports(spec(name), Workspace(tmp_path, tmp_path))


def test_only_the_floor_that_looks_changes_with_its_images(tmp_path: Path) -> None:
    work, order = Workspace(tmp_path, tmp_path), derangement(6, 0)
    for name in ("Constant", "Random"):
        assert floor_reports(spec(name), work, order) == floor_reports(spec(name), work)
    own, shuffled = (floor_reports(spec("NearestImage"), work, o) for o in (None, order))
    assert shuffled == [own[i] for i in order]
    assert shuffled != own


@pytest.mark.parametrize("train", [14, 60])
def test_no_finding_is_what_the_metric_reads_in_it(tmp_path: Path, train: int) -> None:
    """Of 14 made train reports none is normal, of 60 some are."""
    dataset, metric = load(train=train), ChexpertRules()
    data = DataSpec("made", "toy.load", dataset.manifest, {"train": train})
    floor = replace(spec("NoFinding"), data=data)
    [text] = set(floor_reports(floor, Workspace(tmp_path, tmp_path)))
    [labels] = metric.label([text])
    assert [OBSERVATIONS[i] for i in np.flatnonzero(labels == POSITIVE)] == ["No Finding"]
    assert (text == NoFinding.NORMAL) == (train == 14)
    reports = cleaned_reports(dataset, "train")
    assert (text in reports) == (train == 60)
    assert no_finding(signature("chexpert-rules"), reports) == [
        bool(row[NO_FINDING] == POSITIVE) for row in metric.label(reports)
    ]


def test_a_floor_is_bound_to_its_labeler(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the floor was made with"):
        floor_reports(spec("NoFinding", labeler="chexpert-rules|rules:0|v:1"), Workspace(tmp_path))
    with pytest.raises(BenchError, match="unknown labeler 'BLEU'"):
        signature("BLEU")


def test_the_constant_by_cider_is_the_best_of_the_frequent_by_a_slow_count() -> None:
    train = sentences(40, 1)
    often = [*train, *train[:30], *train[:10]]
    val = [*sentences(12, 2), *train[3:9]]
    scored = {}
    for candidate in dict.fromkeys(often):
        metric = cider.CIDEr()
        table = metric.statistics([candidate] * len(val), val)
        scored[candidate] = metric.corpus(table)["CIDEr"]
    best = max(scored, key=lambda text: scored[text])
    assert ConstantByCIDEr().write(Made(often, val)) == [best] * 5
    index, value = cider.best_constant([*scored], val)
    assert ([*scored][index], value) == (best, pytest.approx(scored[best], rel=1e-12))


def test_the_constant_by_cider_is_one_of_the_most_frequent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ConstantByCIDEr, "COMMON", 2)
    rare, often, usual = "a rare one .", "the heart is large .", "lungs are clear ."
    train = [rare, *[often] * 2, *[usual] * 3]
    assert ConstantByCIDEr().write(Made(train, [rare, rare, often])) == [often] * 5
