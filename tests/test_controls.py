"""Controls: whose images a study is shown, and that its report is then that other study's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made import make
from toy import Toy, load

from bench.data.batches import Pixels, Split
from bench.data.study import Dataset
from bench.data.text import vocabulary
from bench.engine.decode import generate
from bench.metrics import ptb, registry
from bench.metrics.exchanged import Exchanged
from bench.metrics.references import ReferenceSet
from bench.metrics.scoring import Scored
from bench.model import ImageSpec
from bench.runs.controls import (
    DERANGEMENTS,
    SHUFFLED,
    WITHIN,
    averaged,
    derangement,
    drawn_of,
    label_groups,
    orders,
    permuted,
    within,
)
from bench.runs.score import CONTROLS, TABLES
from bench.spec import DecodeSpec
from bench.store import RunFolder, read_json


def test_within_groups_everyone_gets_a_neighbour() -> None:
    rng = np.random.default_rng(0)
    groups = [*rng.integers(0, 12, 60).tolist(), 99, 98]
    for seed in range(20):
        order = within(groups, seed)
        assert sorted(order) == list(range(62))
        assert [groups[i] for i in order] == groups
        alone = [i for i, g in enumerate(groups) if groups.count(g) == 1]
        assert [i for i in range(62) if order[i] == i] == alone
    assert (within(groups, 3) == within(groups, 3)).all()
    assert (within(groups, 3) != within(groups, 4)).any()


def test_groups_are_the_datasets_labels_or_what_the_rules_read() -> None:
    made = load(test=8)
    read = label_groups(made, "test")
    reports = [s.report for s in made.split("test")]
    assert len({g for g, r in zip(read, reports, strict=True) if r == reports[0]}) == 1
    labelled = replace(
        made, studies=tuple(replace(s, labels=frozenset({s.id[-1], "x"})) for s in made.studies)
    )
    assert label_groups(labelled, "test")[3] == ("3", "x")
    half = replace(
        made,
        studies=tuple(
            replace(s, labels=frozenset({"x"}) if i % 2 else None)
            for i, s in enumerate(made.studies)
        ),
    )
    assert label_groups(half, "test") == read  # codes of some are codes of none


def decoded(dataset: Dataset, spec: DecodeSpec, order: np.ndarray | None, cache: Path) -> list[str]:
    torch.manual_seed(0)
    words = vocabulary(dataset)
    model = Toy(len(words) + 1, hidden=16, ending=-1.0, sharpness=12.0).eval()
    studies = dataset.split("test")
    pixels = Pixels.open(dataset, studies, ImageSpec(**model.image), False, cache)
    split = Split(dataset, studies, words, 30, pixels)
    images = torch.cat([batch.images for batch in split.batches(16, "cpu")])
    images = images if order is None else images[torch.from_numpy(order)]
    found = [ids for part in images.split(16) for ids in generate(model, part, spec)]
    return [words.decode(ids) for ids in found]


@pytest.mark.parametrize("beam", [1, 3])
def test_the_report_of_other_images_is_the_other_studys_report(tmp_path: Path, beam: int) -> None:
    """Decoding shuffled images gives the permuted reports, word for word."""
    dataset, spec = load(test=50), DecodeSpec(beam_size=beam, max_length=12)
    order = derangement(50, 1)
    own = decoded(dataset, spec, None, tmp_path)
    assert len(set(own)) >= 8, "the case is no test when all reports are alike"
    again = decoded(dataset, spec, order, tmp_path)
    ids = [s.id for s in dataset.split("test")]
    assert list(permuted(dict(zip(ids, own, strict=True)), order).values()) == again


# --- as scored ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Mapping[str, Scored]]:
    plan, work = make(tmp_path_factory.mktemp("controls"))
    folder = RunFolder(work.out, next(p for p in plan.runs if p.name == "good").spec.run_id)
    names = {"own": TABLES, **CONTROLS}
    return folder, {k: Scored.load(folder / name) for k, name in names.items()}


def test_controls_have_rows_with_their_own_count(
    scored: tuple[RunFolder, Mapping[str, Scored]],
) -> None:
    folder, tables = scored
    rows = [r for r in read_json(folder / "scores.json") if r["control"]]
    counts = {(r["control"], r["stratum"], r["n"]) for r in rows}
    n = len(tables[WITHIN].ids)
    assert counts == {(SHUFFLED, "all", 50), (WITHIN, "grouped", n)}
    assert 10 <= n < 50
    assert {r["metric"] for r in rows} >= {"BLEU-4", "CIDEr"}
    assert all(r["ci_low"] <= r["value"] <= r["ci_high"] for r in rows)


def test_statistics_of_the_control_are_of_permuted_reports(
    scored: tuple[RunFolder, Mapping[str, Scored]],
) -> None:
    """All reports and all references take part as often as before; only the pairs differ."""
    _, tables = scored
    own, shuffled = (tables[k].statistics["r2gen@1", "BLEU"] for k in ("own", SHUFFLED))
    sums = own.sum(axis=0), shuffled.sum(axis=0)
    assert (sums[0][:4] > sums[1][:4] + 1).all()  # matches
    assert sums[0][4:] == pytest.approx(sums[1][4:])  # n-grams, and both lengths
    harder = tables[WITHIN]
    assert set(harder.ids) < set(tables["own"].ids)
    assert len(harder.statistics["r2gen@1", "BLEU"]) == len(harder.ids)
    assert all(f"|derangements:{DERANGEMENTS}" in s.signature for s in harder if s.signature)


def test_averaged_is_the_mean_over_derangements() -> None:
    """Its rows add up to it, and its bootstrap is as uncertain as other studies would make it."""
    rng = np.random.default_rng(0)
    n, count = 40, 7
    drawn = orders(n, 3, count)
    assert (drawn != np.arange(n)).all()
    assert len({tuple(d) for d in drawn}) == count
    pairs = rng.random((n, n))  # [i, j]: study i with the report of study j
    each = np.take_along_axis(pairs, drawn.T, axis=1).T[..., None]
    found = averaged(each, drawn)
    assert found.shape == (n, 1)
    assert found.sum() == pytest.approx(each.sum(axis=1).mean())
    # What a report is worth to whomever gets it counts as much as what its study is.
    worth = np.tile(rng.normal(size=n), (n, 1))
    by_report = averaged(np.take_along_axis(worth, drawn.T, axis=1).T[..., None], drawn)
    by_study = averaged(np.take_along_axis(worth.T, drawn.T, axis=1).T[..., None], drawn)
    assert by_report.var() == pytest.approx(by_study.var(), rel=0.2)


def test_counts_stay_counts() -> None:
    """A match so rare that most studies have none: no resample may have fewer than none."""
    drawn = orders(20, 0, 30)
    each = np.zeros((30, 20, 2))
    each[:, 3, 0] = 5.0
    each[..., 1] = np.random.default_rng(0).normal(size=(30, 20))  # not a count
    found = averaged(each, drawn)
    assert (found[:, 0] >= 0).all()
    assert found.sum(axis=0) == pytest.approx(each.sum(axis=1).mean(axis=0))
    assert (averaged(np.zeros((3, 20, 1)), drawn[:3]) == 0).all()


def test_a_pair_is_scored_once_and_right() -> None:
    dataset = load(test=30)
    reports = [s.report for s in dataset.split("test")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ptb, "tokenize", lambda texts: [t.replace(" .", "") for t in texts])
        references = ReferenceSet(dataset, "test", "r2gen@1", vocabulary(dataset))
        pairs = Exchanged(references, reports)
        drawn = orders(30, 1, 4)
        for family in ("BLEU", "CIDEr"):
            found = pairs.statistics(family, drawn)
            metric = registry.load(family).given(references)
            for d, order in enumerate(drawn):
                said = [pairs.hypotheses[j] for j in order]
                assert np.allclose(found[d], metric.statistics(said, pairs.truths))


def test_a_run_with_one_derangement_is_still_read(
    scored: tuple[RunFolder, Mapping[str, Scored]], tmp_path: Path
) -> None:
    """Its table has the same shape; only its signature names no number of derangements."""
    _, tables = scored
    old = replace(
        tables[SHUFFLED],
        scores=tuple(
            replace(s, signature=s.signature.partition("|derangements")[0])
            for s in tables[SHUFFLED].scores
        ),
    )
    old.save(tmp_path / "x.npz")
    assert drawn_of(Scored.load(tmp_path / "x.npz")) == 1
    assert drawn_of(tables[SHUFFLED]) == DERANGEMENTS


def test_a_floor_has_no_control(tmp_path: Path) -> None:
    plan, work = make(tmp_path)
    floor = RunFolder(work.out, plan.runs[0].spec.run_id)
    assert not any((floor / name).exists() for name in CONTROLS.values())
