"""The smallest difference that a design detects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.errors import BenchError
from bench.stats.power import Design, critical, detectable, minimum_detectable_effect

FIVE = Design(seeds=5, studies=300)
SEEDS, STUDIES = 0.040, 0.155  # of BLEU-4 on the development board


def effect(**changes: float) -> float:
    return minimum_detectable_effect(replace(FIVE, **changes), SEEDS, STUDIES)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"family": 60}, 0.182), ({"family": 31}, 0.163), ({}, 0.085), ({"rows": 4}, 0.054)],
)
def test_development_board(changes: dict[str, int], expected: float) -> None:
    assert effect(**changes) == pytest.approx(expected, rel=0.1)


def test_a_t_test_finds_it_as_often_as_said() -> None:
    rng = np.random.default_rng(0)
    delta = minimum_detectable_effect(replace(FIVE, seeds=3), SEEDS, 0.0)
    a, b = rng.normal(delta, SEEDS, (20_000, 3)), rng.normal(0, SEEDS, (20_000, 3))
    error = np.sqrt((a.var(axis=1, ddof=1) + b.var(axis=1, ddof=1)) / 3)
    t = abs(a.mean(axis=1) - b.mean(axis=1)) / error
    assert (t > critical(np.ones((1, 1)), np.array([[4.0]]), 0.025)).mean() == pytest.approx(
        0.8, abs=0.01
    )


def test_what_helps_and_what_costs() -> None:
    assert effect(seeds=10) < effect() < effect(family=10)
    assert effect(studies=3000) < effect() < effect(power=0.9)
    assert effect(alpha=0.01) > effect(rows=4)
    assert effect(seeds=1, folds=5) < effect(seeds=1, folds=3) < float("inf")
    overlapping = minimum_detectable_effect(
        Design(seeds=1, studies=590, folds=5), SEEDS, STUDIES, overlap=1 / 4
    )
    assert overlapping > minimum_detectable_effect(
        Design(seeds=1, studies=590, folds=5), SEEDS, STUDIES
    )


def test_one_training_detects_nothing() -> None:
    assert effect(seeds=1) == float("inf")
    assert minimum_detectable_effect(replace(FIVE, seeds=1), 0.0, STUDIES) > 0
    assert detectable((0.0, 0.0), (299, 8)) == 0


def test_errors() -> None:
    with pytest.raises(BenchError, match="seeds=0"):
        effect(seeds=0)
    with pytest.raises(BenchError, match="as many rows on either side"):
        effect(rows=3)
    with pytest.raises(BenchError, match="power=1"):
        effect(power=1)
    with pytest.raises(BenchError, match="below 0"):
        minimum_detectable_effect(FIVE, -1.0, 0.0)
