"""BLEU against pycocoevalcap, against sacrebleu, and the constant chooser against the slow way."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from bench.errors import BenchError
from bench.metrics.bleu import BLEU, best_constant, constant_statistics


def texts(count: int, seed: int, words: str = "abcdefgh", longest: int = 14) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(words, k=rng.randrange(longest))) for _ in range(count)]


def pycocoevalcap(hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
    bleu = pytest.importorskip("pycocoevalcap.bleu.bleu").Bleu(4)
    keys = range(len(references))
    values, _ = bleu.compute_score(
        {k: [references[k]] for k in keys}, {k: [hypotheses[k]] for k in keys}, verbose=0
    )
    return list(values)


@pytest.mark.parametrize("count", [1, 2, 7, 200])
def test_equals_pycocoevalcap(count: int) -> None:
    hypotheses, references = texts(count, 1), texts(count, 2)
    metric = BLEU()
    values = metric.aggregate(metric.statistics(hypotheses, references).sum(axis=0), count)
    # One reference: "closest" and "average" length are the same, also for a single report.
    np.testing.assert_allclose(values, pycocoevalcap(hypotheses, references), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("hypotheses", "references"),
    [
        (["", ""], ["a b", "c"]),
        (["a b", "c"], ["", ""]),
        (["", ""], ["", ""]),
        (["a", "b"], ["x", "y"]),
        (["the the the the"], ["the cat the mat"]),
        (["a  b\tc"], ["a b c"]),
    ],
)
def test_edges_equal_pycocoevalcap(hypotheses: list[str], references: list[str]) -> None:
    metric = BLEU()
    values = metric.corpus(metric.statistics(hypotheses, references))
    expected = pycocoevalcap(hypotheses, references)
    np.testing.assert_allclose(list(values.values()), expected, rtol=0, atol=1e-12)


def test_equals_sacrebleu() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    # Two words only: at every order something matches, so that no smoothing is met.
    hypotheses, references = texts(150, 3, words="ab"), texts(150, 4, words="ab")
    metric = BLEU()
    values = metric.corpus(metric.statistics(hypotheses, references))
    for n in range(1, 5):
        other = sacrebleu.metrics.BLEU(tokenize="none", smooth_method="none", max_ngram_order=n)
        expected = other.corpus_score(hypotheses, [references]).score / 100
        assert values[f"BLEU-{n}"] == pytest.approx(expected, abs=1e-10)


def test_token_ids_score_as_their_words() -> None:
    hypotheses, references = texts(30, 5), texts(30, 6)
    ids = [[ord(w) for w in text.split()] for text in hypotheses + references]
    metric = BLEU()
    np.testing.assert_array_equal(
        metric.statistics(ids[:30], ids[30:]), metric.statistics(hypotheses, references)
    )


def test_statistics_do_not_depend_on_the_other_reports() -> None:
    hypotheses, references = texts(20, 7), texts(20, 8)
    metric = BLEU()
    one_by_one = [
        metric.statistics([h], [r])[0] for h, r in zip(hypotheses, references, strict=True)
    ]
    np.testing.assert_array_equal(metric.statistics(hypotheses, references), one_by_one)


def test_aggregate_works_on_many_sums_at_once() -> None:
    metric = BLEU()
    table = metric.statistics(texts(50, 9), texts(50, 10))
    draws = np.random.default_rng(0).integers(50, size=(3, 40, 50))
    sums = table[draws].sum(axis=2)
    values = metric.aggregate(sums, 50)
    assert values.shape == (3, 40, 4)
    np.testing.assert_array_equal(values[1, 7], metric.aggregate(sums[1, 7], 50))


def test_constant_statistics_equal_scoring_every_pair() -> None:
    candidates, references = texts(25, 11), texts(40, 12)
    metric = BLEU()
    slow = [metric.statistics([c] * 40, references).sum(axis=0) for c in candidates]
    np.testing.assert_array_equal(constant_statistics(candidates, references), slow)


def test_best_constant() -> None:
    references = ["a b c d e"] * 3 + ["a b c d f"]
    assert best_constant(["x", "a b c d f", "a b c d e", "a b c d e"], references)[0] == 2
    index, value = best_constant(["a b c d e"], references)
    metric = BLEU()
    expected = metric.corpus(metric.statistics(["a b c d e"] * 4, references))["BLEU-4"]
    assert (index, value) == (0, expected)


def test_errors_are_the_users() -> None:
    with pytest.raises(BenchError, match="2 hypotheses for 1 references"):
        BLEU().statistics(["a", "b"], ["a"])
    with pytest.raises(BenchError, match="no candidates"):
        best_constant([], ["a"])
    with pytest.raises(BenchError, match="did you mean 'BLEU-4'"):
        best_constant(["a"], ["a"], "BLEU4")


def test_no_reports_at_all() -> None:
    assert BLEU().statistics([], []).shape == (0, 10)
