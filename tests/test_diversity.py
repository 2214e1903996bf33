"""Unique, copied and long reports."""

from __future__ import annotations

import numpy as np
import pytest

from bench.errors import BenchError
from bench.metrics.diversity import Diversity
from bench.metrics.references import Seen


def test_counts() -> None:
    metric = Diversity(lambda: Seen(["the heart  is normal .", "x"]))
    hypotheses = ["the heart is normal .", "the heart is normal .", "clear lungs", ""]
    table = metric.statistics(hypotheses, ["a b c", "a", "a b", ""])
    values = metric.corpus(table)
    assert values == {
        "diversity-unique": 3 / 4,
        "diversity-copied": 2 / 4,
        "diversity-length": 12 / 4,
        "diversity-length-ratio": 12 / 6,
    }


def test_a_constant_report_has_one_text() -> None:
    table = Diversity(tuple).statistics(["a"] * 7, ["a"] * 7)
    assert Diversity().aggregate(table.sum(axis=0), 7)[0] * 7 == pytest.approx(1)


def test_aggregate_works_on_many_sums_at_once() -> None:
    table = Diversity(tuple).statistics(["a b", "a b", "c"], ["a", "", "c d"])
    values = Diversity().aggregate(np.stack([table.sum(axis=0)] * 5), 3)
    assert values.shape == (5, 4)
    assert np.isinf(Diversity().aggregate(np.zeros(4), 3)[3])


def test_needs_the_train_split() -> None:
    with pytest.raises(BenchError, match="train split"):
        Diversity().statistics(["a"], ["a"])
