"""What is sealed for figures: regions of reports, boxes on token grids, attention and Gram."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bench.data.study import Image, Region, Study
from bench.data.synthetic import load, truth
from bench.metrics import registry
from bench.metrics.attention import SHARES, table, taking
from bench.model import ImageSpec
from bench.perf.models import Built
from bench.runs.representations import (
    BINS,
    REPRESENTATIONS,
    Phrase,
    covered,
    gram,
    lacking,
    shares,
)
from bench.spec import BudgetSpec, DataSpec, PartSpec, RunSpec
from bench.store import RunFolder

STUDIES = load(train=1, val=1, test=120).split("test")


def test_every_finding_is_named_once_and_has_its_boxes() -> None:
    dataset = load(train=1, val=1, test=120)
    for study in STUDIES:
        findings = truth(study.id)
        regions = dataset.regions(study)
        assert {r.finding for r in regions} == {f.name for f in findings}
        for region in regions:
            assert region.phrase in study.report
            mine = [f for f in findings if f.name == region.finding and f.boxes]
            views = {view for f in mine for view in f.boxes}
            assert set(region.boxes) <= views
            for boxes in region.boxes.values():
                for x0, y0, x1, y1 in boxes:
                    assert 0 <= x0 < x1 <= 1
                    assert 0 <= y0 < y1 <= 1


def test_a_box_covers_the_cells_that_it_lies_on() -> None:
    study = Study("s", "p", "test", (Image("s/a", "frontal"), Image("s/b", "lateral")), "")
    region = Region("nodule", "", {"lateral": ((0.0, 0.0, 0.25, 0.5),)})
    cells = covered(study, region, ImageSpec(8, 8), 2).reshape(2, 2, 2)
    assert np.allclose(cells, [[[0, 0], [0, 0]], [[0.5, 0], [0, 0]]])
    # The central half of the film is what is seen: its first cell begins at a quarter of the film.
    center = ImageSpec(4, 8, evaluate="center")
    cells = covered(study, replace(region, boxes={"frontal": ((0.0, 0.0, 0.5, 1.0),)}), center, 2)
    assert np.allclose(cells.reshape(2, 2, 2)[0], [[1, 0], [1, 0]])


def slow(maps: np.ndarray, lengths: list[int], phrases: list[Phrase]) -> list[list[float]]:
    """The definitions of the shares, word by word."""
    n, found = len(maps), []
    for p in phrases:
        assert p.inside is not None
        words = range(p.first, p.stop)
        own = np.mean([maps[p.study, w] for w in words], axis=0)
        at = [[maps[i, w] for i in range(n) if i != p.study and w < lengths[i] - 1] for w in words]
        position = np.mean([np.mean(x, axis=0) for x in at if x], axis=0)
        alike = [
            np.mean([maps[q.study, w] for w in range(q.first, q.stop)], axis=0)
            for q in phrases
            if q.finding == p.finding and q.study != p.study
        ]
        same = np.mean(alike, axis=0) if alike else position
        uniform = np.full(maps.shape[2], 1 / maps.shape[2])
        found.append([float(x @ p.inside) for x in (own, position, same, uniform, own)])
    return found


def test_shares_are_their_definitions() -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((4, 6, 5))
    maps /= maps.sum(-1, keepdims=True)
    lengths = [7, 5, 7, 6]
    phrases = [
        Phrase(0, 0, 1, 3, "nodule", rng.random(5)),
        Phrase(1, 0, 0, 2, "nodule", rng.random(5)),
        Phrase(2, 0, 2, 5, "device", rng.random(5)),
        Phrase(2, 1, 0, 2, "nodule", rng.random(5)),
    ]
    found = shares(maps, None, np.array(lengths), phrases)
    assert np.allclose(found, slow(maps, lengths, phrases))
    free = np.roll(maps, 1, axis=2)
    other = shares(maps, free, np.array(lengths), phrases)
    assert np.array_equal(other[:, :4], found[:, :4])
    assert not np.allclose(other[:, 4], found[:, 4])


def test_an_attention_that_knows_only_positions_gains_nothing() -> None:
    rng = np.random.default_rng(1)
    one = rng.random((1, 6, 8))
    maps = np.repeat(one / one.sum(-1, keepdims=True), 9, axis=0)
    phrases = [Phrase(i, 0, i % 3, i % 3 + 2, "nodule", rng.random(8)) for i in range(9)]
    found = shares(maps, None, np.full(9, 7), phrases)
    metric = registry.load("attention-box")
    scores = metric.corpus(table(found, np.arange(9), 12))
    assert scores["attention-box-gain"] == pytest.approx(0.0, abs=1e-9)
    assert scores["attention-box"] == pytest.approx(found[:, SHARES.index("own")].mean())
    assert taking(table(found, np.arange(9), 12)) == 9


def test_gram_counts_every_pair_of_rows() -> None:
    matrix = np.random.default_rng(2).normal(size=(300, 8))
    found = gram(matrix)
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    cosines = (unit @ unit.T)[np.triu_indices(300, 1)]
    assert found["cosines"].sum() == 300 * 299 / 2
    expected = np.histogram(cosines, BINS, (-1, 1))[0]
    assert np.abs(found["cosines"] - expected).sum() <= 4  # at the edges of bins
    assert np.allclose(found["gram"], unit[:64] @ unit[:64].T, atol=1e-3)


@pytest.mark.parametrize("name", ["base", "uar", "r2gen", "r2gencmn"])
def test_a_models_attention_is_a_distribution_over_its_visual_tokens(name: str) -> None:
    built = Built.of([f"model={name}", "size=tiny", "budget=tiny"], 2)
    model: Any = built.model.eval()
    used, free = model.attention(built.batch)
    assert used.shape[:2] == (2, built.batch.tokens.shape[1] - 1)
    assert torch.allclose(used.sum(-1), torch.ones(used.shape[:2]), atol=1e-4)
    assert (free is not None) == (name == "uar")
    shared = model.shared()
    assert (shared is None) == (name in ("base", "r2gen"))


def test_a_mask_that_says_nothing_changes_no_attention() -> None:
    """TIR starts with zeros; what it then learns is what `free` leaves out."""
    built = Built.of(["model=uar", "size=tiny", "budget=tiny"], 2)
    model: Any = built.model.eval()
    used, free = model.attention(built.batch)
    assert torch.allclose(used, free, atol=1e-6)
    torch.nn.init.normal_(model.tir.M)
    used, free = model.attention(SimpleNamespace(**vars(built.batch)))
    assert not torch.allclose(used, free, atol=1e-2)


def test_what_is_lacking_can_be_added_while_the_weights_are_there(tmp_path: Path) -> None:
    data, part, budget = DataSpec("d", "t", "m", {}), PartSpec("toy.Toy"), BudgetSpec("steps", 3.0)
    train, pretrain = (
        RunSpec(kind, data, part, "", budget=budget) for kind in ("train", "pretrain")
    )
    folder = RunFolder(tmp_path, "run")
    folder.path.mkdir()
    assert not lacking(train, folder)
    (folder / "weights.safetensors").touch()
    assert lacking(train, folder)
    assert not lacking(pretrain, folder)
    (folder / REPRESENTATIONS).touch()
    assert not lacking(train, folder)
