"""ROUGE-L against pycocoevalcap and a plain dynamic programme."""

from __future__ import annotations

import random
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.metrics.rouge import RougeL, lcs


def slow_lcs(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    @lru_cache(None)
    def common(i: int, j: int) -> int:
        if i == len(a) or j == len(b):
            return 0
        if a[i] == b[j]:
            return 1 + common(i + 1, j + 1)
        return max(common(i + 1, j), common(i, j + 1))

    return common(0, 0)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine
@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_lcs(a: list[str], b: list[str]) -> None:
    assert lcs(a, b) == slow_lcs(tuple(a), tuple(b)) == lcs(b, a)


def test_lcs_of_texts_longer_than_a_machine_word() -> None:
    rng = random.Random(0)
    a, b = rng.choices("abcdef", k=200), rng.choices("abcdef", k=170)
    rows = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            rows[i + 1][j + 1] = rows[i][j] + 1 if x == y else max(rows[i][j + 1], rows[i + 1][j])
    assert lcs(a, b) == rows[-1][-1]


def test_each_report_equals_pycocoevalcap() -> None:
    rouge = pytest.importorskip("pycocoevalcap.rouge.rouge").Rouge()
    rng = random.Random(1)

    def text() -> str:  # double spaces, tabs and empty texts included
        return "".join(rng.choices(["a", "b", "cd", " ", " ", "  ", "\t"], k=rng.randrange(25)))

    hypotheses, references = [text() for _ in range(300)], [text() for _ in range(300)]
    hypotheses[:2], references[:2] = ["", ""], ["", "a"]
    keys = range(300)
    mean, each = rouge.compute_score(
        {k: [references[k]] for k in keys}, {k: [hypotheses[k]] for k in keys}
    )
    metric = RougeL()
    table = metric.statistics(hypotheses, references)
    np.testing.assert_array_equal(table[:, 0], each)
    assert metric.corpus(table)["ROUGE-L"] == pytest.approx(mean, abs=1e-12)


def test_aggregate_works_on_many_sums_at_once() -> None:
    sums = np.arange(12.0).reshape(3, 4, 1)
    np.testing.assert_array_equal(RougeL().aggregate(sums, 4), sums / 4)
    n = np.array([1, 2, 4, 8])
    np.testing.assert_array_equal(RougeL().aggregate(sums, n)[2, 3], sums[2, 3] / 8)
