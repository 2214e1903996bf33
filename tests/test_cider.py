"""CIDEr-D against pycocoevalcap, and its edges."""

from __future__ import annotations

import random
from types import ModuleType

import numpy as np
import pytest

from bench.metrics import bleu, cider
from bench.metrics.cider import CIDEr


def texts(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices("abcdefgh", k=rng.randrange(16))) for _ in range(count)]


@pytest.mark.parametrize("count", [2, 3, 300])
def test_each_report_equals_pycocoevalcap(count: int) -> None:
    cider = pytest.importorskip("pycocoevalcap.cider.cider").Cider()
    hypotheses, references = texts(count, 1), texts(count, 2)
    references[0] = "a b c d"
    hypotheses[-1] = references[-1]
    keys = range(count)
    mean, each = cider.compute_score(
        {k: [references[k]] for k in keys}, {k: [hypotheses[k]] for k in keys}
    )
    metric = CIDEr()
    table = metric.statistics(hypotheses, references)
    np.testing.assert_allclose(table[:, 0], each, rtol=0, atol=1e-12)
    assert metric.corpus(table)["CIDEr"] == pytest.approx(mean, abs=1e-12)


def test_one_report_has_no_idf_and_scores_nothing() -> None:
    assert CIDEr().statistics(["a b c"], ["a b c"]).tolist() == [[0.0]]


def test_empty_texts_score_nothing() -> None:
    assert CIDEr().statistics(["", "a"], ["", ""]).tolist() == [[0.0], [0.0]]
    assert CIDEr().statistics(["", ""], ["a b", "c d"]).tolist() == [[0.0], [0.0]]
    assert CIDEr().statistics([], []).shape == (0, 1)


def test_a_perfect_set_of_long_distinct_reports_scores_ten() -> None:
    reports = ["a b c d e", "f g h i j", "k l m n o"]
    np.testing.assert_allclose(CIDEr().statistics(reports, reports)[:, 0], 10.0)


def test_a_value_depends_on_the_set_and_says_so() -> None:
    hypotheses, references = texts(20, 3), texts(20, 4)
    whole = CIDEr().statistics(hypotheses, references)[:10]
    assert not np.allclose(whole, CIDEr().statistics(hypotheses[:10], references[:10]))
    assert "idf" in CIDEr.resampling
    assert CIDEr.context == "idf"


@pytest.mark.parametrize("metric", [cider, bleu])
@pytest.mark.parametrize("block", [1, 7, 40])
def test_blocks_of_pairs_change_nothing(
    metric: ModuleType, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{i}" for i in rng.integers(0, 9, rng.integers(0, 14))) for _ in range(80)]
    family = CIDEr() if metric is cider else bleu.BLEU()
    whole = family.statistics(texts[:40], texts[40:])
    monkeypatch.setattr(metric, "_PAIRS", block)
    np.testing.assert_array_equal(family.statistics(texts[:40], texts[40:]), whole)
