"""The draws, and the intervals that are made of them."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import MEAN, drawn, ids, values
from scipy.special import ndtri, stdtrit

from bench.metrics import registry
from bench.metrics.bleu import BLEU
from bench.scripts.coverage_worlds import Case, MeanMetric
from bench.stats import Plan, differences, intervals
from bench.stats.spread import Spread

BOOTSTRAP_OF_5 = [[1, 1, 0, 3, 0], [0, 2, 2, 0, 1], [3, 1, 1, 0, 0]]
SWAP_OF_5 = [[1, 1, 0, 0, 0], [0, 1, 1, 0, 1], [1, 0, 0, 1, 0]]

# The draws


def test_a_bootstrap_row_draws_as_many_units_as_there_are():
    counts = Plan(ids(37), resamples=4000).bootstrap(np.eye(37))
    assert np.array_equal(counts, counts.round())
    assert (counts.sum(axis=1) == 37).all()
    # Each unit is drawn Binomial(37, 1/37) times.
    assert np.allclose(counts.mean(axis=0), 1, atol=0.08)
    assert abs(counts.var() - 36 / 37) < 0.02


def test_a_swap_takes_each_unit_with_a_fair_coin():
    coins = Plan(ids(37), resamples=4000).swap(np.eye(37))
    assert set(np.unique(coins)) == {0.0, 1.0}
    assert np.allclose(coins.mean(axis=0), 0.5, atol=0.04)
    assert np.abs(np.corrcoef(coins.T) - np.eye(37)).max() < 0.08


def test_sums_are_those_of_the_drawn_reports():
    plan, columns = Plan(ids(11), resamples=20), values(11)[0]
    counts = plan.bootstrap(np.eye(11)).astype(int)
    slow = [sum(columns[i] for i in np.repeat(np.arange(11), row)) for row in counts]
    assert np.allclose(plan.bootstrap(columns), slow, rtol=1e-12)


def test_draws_depend_on_ids_alone():
    columns = values(11)[0]
    first = Plan(ids(11), resamples=50).bootstrap(columns)
    assert np.array_equal(first, Plan(ids(11), resamples=50).bootstrap(columns))
    renamed = Plan(("other", *ids(11)[1:]), resamples=50)
    assert not np.array_equal(first, renamed.bootstrap(columns))


def test_draws_stay_the_same_from_one_release_to_the_next():
    # A change here changes every published interval: it needs a new `bench.stats.VERSION`.
    plan = Plan(ids(5), resamples=3)
    assert plan.bootstrap(np.eye(5)).astype(int).tolist() == BOOTSTRAP_OF_5
    assert plan.swap(np.eye(5)).astype(int).tolist() == SWAP_OF_5


def test_draws_do_not_depend_on_the_size_of_a_block(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bench.stats.resampling.KEPT", 0)
    whole = [Plan(ids(37), resamples=300).bootstrap(np.eye(37))]
    whole += [Plan(ids(37), resamples=300).swap(np.eye(37))]
    monkeypatch.setattr("bench.stats.resampling.BLOCK", 64 * 37)
    assert np.array_equal(whole[0], Plan(ids(37), resamples=300).bootstrap(np.eye(37)))
    assert np.array_equal(whole[1], Plan(ids(37), resamples=300).swap(np.eye(37)))


def test_patients_are_drawn_whole():
    patients = ("p", "q", "p", "r", "q", "p")
    plan = Plan(ids(6), patients)
    assert (plan.unit, plan.units) == ("patients", 3)
    sums = plan.per_unit(np.arange(6.0).reshape(1, 6, 1))[:, 0]
    assert sums.tolist() == [[7.0, 3.0], [5.0, 2.0], [3.0, 1.0]]
    assert Plan(ids(3), ("p", "q", "r")).unit == "studies"


# Intervals


def test_the_value_is_the_corpus_score_to_the_last_bit():
    studies, a, _ = drawn(Case("BLEU", 80), 100)
    found = intervals(BLEU(), a, studies)
    assert {s: i.value for s, i in found.items()} == BLEU().corpus(a[0])


def test_the_interval_is_hesterbergs_expanded_percentile_interval():
    n, runs = 40, values(40)
    plan = Plan(ids(n), resamples=2000)
    means = plan.bootstrap(runs[0])[:, 0] / n
    centre = runs.mean()
    stretch = np.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.975) / ndtri(0.975)
    expected = centre + (np.quantile(means, [0.025, 0.975], method="weibull") - centre) * stretch
    found = intervals(MEAN, runs, plan)["mean"]
    assert np.allclose([found.low, found.high], expected, rtol=1e-9)
    assert found.error == pytest.approx(runs.std(ddof=1) / np.sqrt(n), rel=0.05)


def test_bca_leans_towards_the_long_tail():
    skewed = np.random.default_rng(3).lognormal(0, 1, (1, 60, 1))
    plan = Plan(ids(60), resamples=4000)
    plain, bca = (intervals(MEAN, skewed, plan, method=m)["mean"] for m in ("percentile", "bca"))
    assert bca.low > plain.low
    assert bca.high > plain.high


def test_repeated_patients_widen_the_interval_by_the_design_effect():
    n = 600
    shared = np.repeat(np.random.default_rng(0).normal(size=n // 3), 3)[None, :, None]
    patients = tuple(f"patient-{i // 3}" for i in range(n))
    naive = intervals(MEAN, shared, Plan(ids(n)))["mean"]
    whole = intervals(MEAN, shared, Plan(ids(n), patients))["mean"]
    assert whole.error / naive.error == pytest.approx(np.sqrt(3), rel=0.05)


def test_several_runs_add_the_spread_over_seeds():
    reports = values(200)
    offsets = np.array([-1.0, 0.0, 1.0])[:, None, None]
    plan = Plan(ids(200), resamples=2000)
    one, three = intervals(MEAN, reports, plan)["mean"], intervals(MEAN, reports + offsets, plan)
    # Offsets have variance 1, the mean of three runs a third of it.
    assert three["mean"].error ** 2 == pytest.approx(one.error**2 + 1 / 3, rel=1e-6)
    assert three["mean"].high - three["mean"].low > 2 * 4.0 * three["mean"].error  # t(2) is 4.3


def test_the_p_value_over_seeds_belongs_to_the_interval():
    """At the level 1 - p the interval of the difference just reaches 0."""
    b = values(100, 1)
    a = b + np.random.default_rng(5).normal(0.3, 1, (3, 100, 1)) + [[[0.2]], [[0.0]], [[-0.1]]]
    spread = Spread.of(MEAN, [a, b], Plan(ids(100), resamples=500))
    reach = spread.t(spread.p_value() / 2) * np.sqrt(spread.variance)
    assert 1e-4 < spread.p_value()[0] < 0.5
    assert reach == pytest.approx(spread.value)


def test_a_runs_luck_with_the_studies_counts_once():
    """The spread of the runs holds it; the part over studies is what the runs have in common."""
    own = np.random.default_rng(2).normal(size=(4, 300, 1))
    runs, plan = values(300) + own, Plan(ids(300), resamples=4000)
    spread = Spread.of(MEAN, [runs], plan)
    # The variance of a run's luck is that of its distances from the mean run, times S / (S - 1).
    luck = (own - own.mean(axis=0)).var(axis=1).sum() / 3 / 300 / 4
    assert spread.groups[0].luck() == pytest.approx(luck, rel=0.05)
    assert spread.parts[0] == pytest.approx((spread.studies - spread.groups[0].luck()) * 300 / 299)
    same = Spread.of(MEAN, [np.repeat(runs[:1], 4, axis=0)], plan)  # no luck of their own
    assert same.parts[0] == pytest.approx(same.studies * 300 / 299)


def test_the_part_over_studies_is_never_negative():
    runs = np.random.default_rng(4).normal(size=(2, 30, 1))
    runs[1] = -runs[0]  # the mean of the runs does not move, the runs do
    assert (Spread.of(MEAN, [runs], Plan(ids(30), resamples=200)).parts >= 0).all()


def test_of_several_runs_interval_and_p_agree_about_zero():
    """Whatever the skew of the studies: one t-test makes both."""
    rng = np.random.default_rng(0)
    skewed = rng.lognormal(0, 2, (1, 60, 1))
    for shift in np.linspace(-0.6, 0.6, 25):
        a = skewed + rng.normal(shift, 0.4, (4, 1, 1))
        b = skewed * 0.9 + rng.normal(0, 0.4, (4, 1, 1))
        found = differences(MEAN, a, b, Plan(ids(60), resamples=300))["mean"]
        assert found.test == "t"
        assert (found.p <= 0.05) == (not found.low <= 0 <= found.high)
        assert found.high - found.value == pytest.approx(found.value - found.low)


class Share(MeanMetric):
    bounds = (0.0, 1.0)


def test_an_interval_stays_where_a_score_can_be():
    rng = np.random.default_rng(0)
    runs = (rng.random((3, 40, 1)) < [[[0.99]], [[0.8]], [[1.0]]]).astype(float)
    plan = Plan(ids(40), resamples=300)
    free, within = (intervals(m, runs, plan)["mean"] for m in (MEAN, Share()))
    assert free.high > 1
    assert (within.high, within.low, within.error) == (1.0, free.low, free.error)
    few = (np.arange(40)[None, :, None] < 1).astype(float)
    assert intervals(Share(), few, plan)["mean"].low >= 0
    for name in registry.names():
        metric = registry.load(name)
        low, high = np.broadcast_arrays(*metric.bounds, np.zeros(len(metric.scores)))[:2]
        assert (low < high).all(), name


def test_the_logarithm_of_a_ratio():
    """A run that scores 0 has no logarithm; its row has, and so has the ratio of two rows."""
    a, b = values(200, 1, runs=3), values(200, 2, runs=3)
    plan = Plan(ids(200), resamples=2000)
    found = Spread.of(MEAN, [a, b], plan, log=True)
    assert found.value[0] == pytest.approx(np.log(a.mean() / b.mean()))
    error = [np.var(x.mean(axis=(1, 2)), ddof=1) / 3 / x.mean() ** 2 for x in (a, b)]
    assert found.parts[1, 0] == pytest.approx(sum(error))
    a[0] = 0.0
    assert np.isfinite(Spread.of(MEAN, [a, b], plan, log=True).value).all()
