"""Paired tests: randomization, the t-test, pairs of runs, Holm, errors."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from drawn import MEAN, drawn, ids, values
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.metrics.bleu import BLEU
from bench.scripts.coverage_worlds import WORLDS, Case, Made, MeanMetric
from bench.stats import METHODS, VERSION, Difference, Plan, differences, holm, intervals, signature
from bench.stats.spread import Spread


def numbers(found: Difference) -> list[float]:
    return [v for v in asdict(found).values() if not isinstance(v, str)]


# Pairs


def test_one_run_and_its_control_are_compared_as_ever():
    studies, a, b = drawn(Case("BLEU", 60, b=Made(0.6)), 300)
    paired = differences(BLEU(), a, b, studies, paired=True)
    assert paired == differences(BLEU(), a, b, studies)


@pytest.mark.parametrize("method", METHODS)
def test_a_pair_of_runs_is_one_score(method: str):
    """Of a mean, the paired comparison is the interval of the differences of the reports."""
    a, b = values(80, 1, runs=3), values(80, 2, runs=3)
    plan = Plan(ids(80), resamples=500)
    found = differences(MEAN, a, b, plan, method=method, paired=True)["mean"]
    one = intervals(MEAN, a - b, plan, method=method)["mean"]
    expected = [one.value, one.low, one.high, one.error]
    assert [found.value, found.low, found.high, found.error] == pytest.approx(expected)
    spread = Spread.of(MEAN, [a, b], plan, paired=True)
    assert spread.df.tolist() == [[79], [2]]
    assert found.p == float(f"{spread.p_value()[0]:.12g}")
    assert found.relative == pytest.approx(a.mean() / b.mean() - 1)


def test_what_a_control_loses_with_its_training_is_counted_together():
    reports, plan = values(200), Plan(ids(200), resamples=500)
    offsets = np.array([-1.0, 0.0, 1.0])[:, None, None]
    rises = differences(MEAN, reports + offsets, reports / 2 + offsets, plan, paired=True)["mean"]
    falls = differences(MEAN, reports + offsets, reports / 2 - offsets, plan, paired=True)["mean"]
    one = differences(MEAN, reports, reports / 2, plan)["mean"]
    assert rises.error == pytest.approx(one.error)
    assert falls.error**2 == pytest.approx(one.error**2 + 4 / 3, rel=1e-6)


def test_the_order_of_pairs_does_not_matter_and_that_within_them_does():
    case = Case("BLEU", 60, (3, 3), a=Made(0.7, seeds=0.05), b=Made(seeds=-0.05), paired=True)
    studies, a, b = drawn(case, 300)
    one, other, broken = (
        differences(BLEU(), x, y, studies, paired=True)["BLEU-4"]
        for x, y in [(a, b), (a[[2, 0, 1]], b[[2, 0, 1]]), (a, b[[2, 0, 1]])]
    )
    assert numbers(one) == pytest.approx(numbers(other), rel=1e-9)
    assert one.error != pytest.approx(broken.error, rel=0.01)


@pytest.mark.parametrize("name", WORLDS)
def test_the_truth_of_a_made_world_is_its_score_on_very_many_studies(name: str):
    world, a = WORLDS[name], Made(0.7, seeds=0.05)
    _, runs, _ = drawn(Case(name, 4000, runs=(60, 1), a=a), 10)
    many = np.mean([list(world.metric.corpus(run).values()) for run in runs], axis=0)
    assert np.allclose(many, list(world.truth(a).values()), rtol=0.04)


# Tests


def test_randomization_agrees_with_all_permutations():
    a, b = values(9, 1)[0], values(9, 2)[0] + 0.6
    d = (a - b)[:, 0]
    signs = np.array(list(itertools.product([-1, 1], repeat=9)))
    exact = (np.abs(signs @ d) >= abs(d.sum()) - 1e-12).mean()
    p = differences(MEAN, a, b, Plan(ids(9)))["mean"].p
    assert p == pytest.approx(exact, abs=0.015)


def test_randomization_of_bleu_agrees_with_a_loop():
    studies, a, b = drawn(Case("BLEU", 30, b=Made(0.6)), 200)
    (a,), (b,) = a, b
    coins = studies.swap(np.eye(30)).astype(bool)
    metric = BLEU()
    observed = metric.corpus(a)["BLEU-4"] - metric.corpus(b)["BLEU-4"]
    hits = 0
    for coin in coins[:, :, None]:
        swapped = np.where(coin, a, b), np.where(coin, b, a)
        null = [metric.corpus(s)["BLEU-4"] for s in swapped]
        hits += abs(null[0] - null[1]) >= abs(observed)
    assert differences(metric, a, b, studies)["BLEU-4"].p == pytest.approx((hits + 1) / 201)


@pytest.mark.parametrize("test", ["randomization", "bootstrap"])
def test_p_is_never_zero(test: str):
    a = values(50)
    found = differences(MEAN, a + 100, a * 1.01, Plan(ids(50), resamples=999), test=test)
    assert found["mean"].p == 0.001


def test_equal_systems_have_no_difference():
    a = values(50)
    found = differences(MEAN, a, a, Plan(ids(50), resamples=500))["mean"]
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert (found.relative, found.standardized) == (0, 0)


@pytest.mark.parametrize("runs", [1, 3])
def test_b_against_a_mirrors_a_against_b(runs: int):
    case = Case("BLEU", 60, runs=(runs, 2), a=Made(seeds=0.05), b=Made(0.7, seeds=0.05))
    studies, a, b = drawn(case, 500)
    there, back = (differences(BLEU(), *pair, studies)["BLEU-4"] for pair in ((a, b), (b, a)))
    assert there.value == -back.value
    assert (there.low, there.p, there.error) == (pytest.approx(-back.high), back.p, back.error)


def test_the_order_of_runs_does_not_matter():
    case = Case("BLEU", 60, runs=(3, 3), a=Made(seeds=0.05), b=Made(0.7, seeds=0.05))
    studies, a, b = drawn(case, 500)
    one = differences(BLEU(), a, b, studies)["BLEU-4"]
    other = differences(BLEU(), a[[2, 0, 1]], b[::-1], studies)["BLEU-4"]
    assert numbers(one) == pytest.approx(numbers(other), rel=1e-9)


def test_the_standardized_difference_of_a_mean_is_cohens_d():
    a, b = values(300, 1), values(300, 2) + 0.3
    d = (a - b)[0, :, 0]
    found = differences(MEAN, a, b, Plan(ids(300)))["mean"]
    assert found.standardized == pytest.approx(d.mean() / d.std(), rel=0.03)
    assert found.relative == pytest.approx(a.mean() / b.mean() - 1)


def test_few_seeds_are_not_trusted():
    """A difference that each study supports, but that only one of three trainings shows."""
    b = values(400, 1)
    a = np.concatenate([b, b, b + 1.0]) + 0.01 * values(400, 2)
    plan = Plan(ids(400))
    assert differences(MEAN, a.mean(axis=0), b, plan)["mean"].p < 0.001
    seeds = differences(MEAN, a, b, plan)["mean"]
    assert seeds.p > 0.3
    assert seeds.low < 0 < seeds.high


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms())
@settings(max_examples=60, deadline=None)
def test_holm_lies_between_p_and_bonferroni_and_keeps_order(ps, random):
    corrected = holm(ps)
    assert all(p <= c <= min(1, p * len(ps)) + 1e-12 for p, c in zip(ps, corrected, strict=True))
    order = np.argsort(ps, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()
    shuffled = list(range(len(ps)))
    random.shuffle(shuffled)
    assert holm([ps[i] for i in shuffled]) == [corrected[i] for i in shuffled]


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_a_signature_names_the_method_and_what_is_approximated():
    plan = Plan(ids(4), ("p", "p", "q", "r"), 100)
    assert signature(MEAN, plan, (1, 1), test="randomization") == (
        f"ci:percentile-0.95|test:randomization|resamples:100|units:patients-3|runs:1,1|v:{VERSION}"
    )
    # Of several runs the t-test, whatever single runs would get.
    assert signature(MEAN, plan, (3, 1), test="randomization") == (
        f"ci:t-0.95|test:t|resamples:100|units:patients-3|runs:3,1|v:{VERSION}"
    )
    assert f"|runs:3,3|paired:runs|v:{VERSION}" in signature(MEAN, plan, (3, 3), paired=True)


# Errors


class Undefined(MeanMetric):
    def aggregate(self, sums: np.ndarray, n: np.ndarray | int) -> np.ndarray:
        return np.full((*sums.shape[:-1], 1), np.nan)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Plan(("a", "b", "a")), "occur twice: a"),
        (lambda: Plan(("a",)), "1 studies cannot be resampled"),
        (lambda: Plan(ids(3), ("p", "p", "p")), "1 patients cannot be resampled"),
        (lambda: Plan(ids(3), ("p",)), "1 patients for 3 studies"),
        (lambda: intervals(MEAN, values(4), Plan(ids(3))), r"shape \(1, 4, 1\) for 3 studies"),
        (lambda: intervals(Undefined(), values(3), Plan(ids(3))), "mean is not a number"),
        (
            lambda: intervals(MEAN, values(3), Plan(ids(3)), method="precentile"),
            "did you mean 'percentile'",
        ),
        (
            lambda: differences(MEAN, values(3), values(3), Plan(ids(3)), test="t"),
            "unknown test 't'",
        ),
        (
            lambda: differences(
                MEAN, values(3, runs=3), values(3, runs=2), Plan(ids(3)), paired=True
            ),
            "3 runs cannot be paired with 2",
        ),
    ],
)
def test_errors_name_what_is_wrong(wrong, message: str):
    with pytest.raises(BenchError, match=message):
        wrong()


def test_statistics_load_without_torch():
    code = "import sys, bench.stats.compare; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
