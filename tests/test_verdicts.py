"""Verdicts: which rule applies to an interval, and the contrasts that they are made on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn import MEAN, ids, values

from bench.errors import BenchError
from bench.stats import Plan, differences
from bench.stats.effect import Effect, effects, main_effect
from bench.stats.verdicts import KINDS, judge, oriented

ERROR = 0.01
# Hardly any seeds and studies without end: the interval is 1.96 standard errors either way.
EFFECT = Effect(0.0, ERROR**2, 0.0, (1e6, 1.0))


def at(value: float) -> Effect:
    return replace(EFFECT, value=value)


@pytest.mark.parametrize(
    ("value", "claimed", "kind", "detail"),
    [
        (0.030, None, "confirmed", ""),
        (0.030, 0.030, "confirmed", "size compatible"),
        (0.030, 0.060, "confirmed", "smaller"),
        (0.030, 0.005, "confirmed", "larger"),
        (-0.030, 0.030, "reversed", ""),
        (-0.030, None, "reversed", ""),
        (0.000, 0.034, "no practical effect", ""),  # 1.645 errors lie within .017
        (0.000, 0.032, "claimed size excluded", ""),  # and not within .016
        (0.010, 0.035, "claimed size excluded", ""),
        (0.010, 0.025, "unresolved", ""),
        (0.010, None, "unresolved", ""),
        (0.010, -0.003, "unresolved", ""),  # a text and its table that disagree
    ],
)
def test_rules(value: float, claimed: float | None, kind: str, detail: str) -> None:
    found = judge(at(value), claimed)
    assert (found.kind, found.detail) == (kind, detail)
    assert kind in KINDS
    if kind != "unresolved":
        assert found.p is not None
        assert found.p <= 0.05


def test_what_is_said_before_any_interval() -> None:
    assert judge(None, 0.1).kind == "not run"
    assert judge(at(float("-inf")), 0.1).kind == "not run"  # a score of 0 has no ratio
    assert judge(at(0.5), 0.1, lone=True).kind == "one training"


def test_the_first_rule_that_applies() -> None:
    """An effect that is surely there and surely small is confirmed, and smaller."""
    assert judge(at(0.020), 0.2).kind == "confirmed"
    assert judge(at(-0.020), 0.2).kind == "reversed"


def test_orientation() -> None:
    assert oriented(at(0.03), "higher") == at(0.03)
    assert judge(oriented(at(-0.03), "lower"), None).kind == "confirmed"


def test_interval_p_and_equivalence_are_one_test() -> None:
    found = Effect(0.02, 0.0001, 0.0002, (299.0, 7.0))
    low, high = found.interval(0.95)
    assert found.p(low) == pytest.approx(0.05)
    assert found.p(high) == pytest.approx(0.05)
    assert found.p(found.value) == 1
    low, high = found.interval(0.90)
    assert found.equivalence(high) == pytest.approx(0.05)
    assert found.equivalence(0.01) == 1
    assert found.detectable() > found.interval(0.95)[1] - found.value


def test_a_contrast_of_two_rows_is_their_difference() -> None:
    a, b, plan = values(80, 1, runs=3), values(80, 2, runs=4), Plan(ids(80), resamples=300)
    one = differences(MEAN, a, b, plan)["mean"]
    found = effects(MEAN, {"a": a, "b": b}, {"a": 1.0, "b": -1.0}, plan)["mean"]
    assert [found.value, *found.interval(0.95), found.p()] == pytest.approx(
        [one.value, one.low, one.high, one.p], rel=1e-6
    )


def test_a_main_effect_halves_the_variance_over_seeds() -> None:
    """Four rows in place of two, with weights of one half; degrees of freedom add up."""
    rng = np.random.default_rng(0)
    reports, plan = values(200, 5), Plan(ids(200), resamples=300)
    rows = {
        name: reports + shift + rng.permuted([-0.1, -0.05, 0.0, 0.05, 0.1])[:, None, None]
        for name, shift in (("BASE", 0.0), ("a", 0.3), ("d", 0.1), ("e", 0.6))
    }
    weights = main_effect([("a", "BASE"), ("e", "d")])
    assert weights == {"a": 0.5, "e": 0.5, "BASE": -0.5, "d": -0.5}
    main = effects(MEAN, rows, weights, plan)["mean"]
    simple = effects(MEAN, rows, main_effect([("a", "BASE")]), plan)["mean"]
    assert main.value == pytest.approx((0.3 + 0.5) / 2)
    assert main.seeds == pytest.approx(simple.seeds / 2)
    assert (main.degrees[1], simple.degrees[1]) == pytest.approx((16, 8))
    ratio = effects(MEAN, rows, weights, plan, log=True)["mean"]
    means = {name: runs.mean() for name, runs in rows.items()}
    expected = np.log(means["a"] * means["e"] / means["BASE"] / means["d"]) / 2
    assert ratio.value == pytest.approx(expected)


def test_weights_that_are_no_contrast() -> None:
    with pytest.raises(BenchError, match="do not sum to 0"):
        effects(MEAN, {"a": values(9)}, {"a": 1.0}, Plan(ids(9), resamples=9))
