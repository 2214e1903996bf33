from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri, stdtrit

from bench.errors import BenchError
from bench.metrics.bleu import BLEU
from bench.scripts.coverage import ALPHA, REPEATS, experiment, spot
from bench.scripts.coverage_worlds import WORLDS, Case, Made, MeanMetric, draw, plan
from bench.stats import METHODS, VERSION, Plan, differences, holm, intervals, signature
from bench.stats.spread import Spread

RECORD = json.loads((Path(__file__).parent / "golden" / "stats_check.json").read_text())
MEAN = MeanMetric()
BOOTSTRAP_OF_5 = [[1, 1, 0, 3, 0], [0, 2, 2, 0, 1], [3, 1, 1, 0, 0]]
WIDEST = 0.98  # coverage that is still called 95 %
SWAP_OF_5 = [[1, 1, 0, 0, 0], [0, 1, 1, 0, 1], [1, 0, 0, 1, 0]]


def ids(n: int) -> tuple[str, ...]:
    return tuple(f"study-{i}" for i in range(n))


def values(n: int, seed: int = 0, runs: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, 1.0, (runs, n, 1))


def drawn(case: Case, resamples: int) -> tuple[Plan, np.ndarray, np.ndarray]:
    """One drawing of a case: its plan and both systems' statistics (runs, n, k)."""
    a, b = draw(case, 1)
    return plan(case, resamples), a[0], b[0]


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
    assert found.p >= float(f"{spread.p_value()[0]:.12g}")
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
    assert list(asdict(one).values()) == pytest.approx(list(asdict(other).values()), rel=1e-9)
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
    assert list(asdict(one).values()) == pytest.approx(list(asdict(other).values()), rel=1e-9)


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
    assert signature(MEAN, plan, (3, 1), test="randomization") == (
        f"ci:percentile-0.95|test:randomization|resamples:100|units:patients-3|runs:3,1|v:{VERSION}"
    )
    assert f"|runs:3,3|paired:runs|v:{VERSION}" in signature(MEAN, plan, (3, 3), paired=True)


def test_what_is_made_of_single_runs_keeps_its_version():
    """The rows of boards say `v:1`, and their intervals are what they were."""
    plan = Plan(ids(4), resamples=100)
    assert (
        signature(MEAN, plan, (1,)) == "ci:percentile-0.95|resamples:100|units:studies-4|runs:1|v:1"
    )


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


# Known truth. The tests draw their own small experiment; the record holds the large one.


@pytest.mark.parametrize("world", ["mean", "BLEU"])
def test_the_paired_test_rejects_equal_systems_in_five_percent(world: str):
    (found,) = experiment(Case(world, 200), 500, 199, [("percentile", "randomization")])
    assert 0.032 <= found.rejected <= 0.070  # 16 to 35 of 500
    assert 0.93 <= found.covers <= 0.97
    assert 0.93 <= found.covers_difference <= 0.97


@pytest.mark.parametrize("world", ["mean", "BLEU"])
def test_intervals_of_different_systems_hold_the_true_difference(world: str):
    case = Case(world, 200, b=Made(0.7, luck=4.0))
    (found,) = experiment(case, 500, 199, [("percentile", "randomization")])
    assert found.difference > 0.01
    assert 0.93 <= found.covers_difference <= 0.97


@pytest.mark.parametrize(("runs", "seeds"), [((3, 3), 0.08), ((3, 1), 0.08), ((3, 3), 0.0)])
def test_intervals_over_seeds_and_studies_hold_the_truth(runs: tuple[int, int], seeds: float):
    """Never short; hardly longer than need be, whether seeds matter or not."""
    floor = Made(0.65, seeds=seeds if runs[1] > 1 else 0.0)
    case = Case("mean", 100, runs, a=Made(0.7, seeds=seeds), b=floor)
    (found,) = experiment(case, 500, 199, [("percentile", "randomization")])
    assert 0.93 <= found.covers <= WIDEST
    assert 0.93 <= found.covers_difference <= WIDEST


@pytest.mark.parametrize("control", [-0.08, 0.08])
def test_intervals_of_trainings_and_their_controls_hold_the_truth(control: float):
    """Whichever way the control goes with its training. As independent runs: 84 % and 100 %."""
    case = Case("mean", 200, (3, 3), a=Made(0.7, 0.08), b=Made(0.7, control), paired=True)
    (found,) = experiment(case, 500, 199, [("percentile", "randomization")])
    assert 0.93 <= found.covers_difference <= WIDEST
    assert found.rejected <= 0.070


def recorded(world: str, n: int, *, same: bool, several: bool) -> list[dict]:
    """Rows of the record, of the default interval and test."""
    return [
        figures
        for row in RECORD["cases"]
        for figures in row["figures"]
        if (row["case"]["world"], row["case"]["n"], figures["interval"]) == (world, n, "percentile")
        and (figures["difference"] == 0) == same
        and (max(row["case"]["runs"]) > 1) == several
    ]


@pytest.mark.parametrize("world", ["mean", "BLEU"])
@pytest.mark.parametrize("n", [100, 590])
def test_the_record_shows_what_is_claimed_of_single_runs(world: str, n: int):
    equal = recorded(world, n, same=True, several=False)
    different = recorded(world, n, same=False, several=False)
    assert len(equal) == (3 if n == 590 else 1)
    assert all(0.032 <= row["rejected"] <= 0.070 for row in equal)
    assert all(0.93 <= row["covers"] <= 0.97 for row in equal + different)
    assert all(0.93 <= row["covers_difference"] <= 0.97 for row in equal + different)


@pytest.mark.parametrize("world", ["mean", "BLEU"])
def test_the_record_shows_what_is_claimed_of_several_runs(world: str):
    equal = recorded(world, 300, same=True, several=True)
    different = recorded(world, 300, same=False, several=True)
    assert (len(equal), len(different)) == (6, 1)
    assert all(row["rejected"] <= 0.070 for row in equal)
    assert all(0.93 <= row["covers"] <= WIDEST for row in equal + different)
    assert all(0.93 <= row["covers_difference"] <= WIDEST for row in equal + different)


def test_the_record_shows_what_the_protocol_says():
    """Rule 8: 93-98 %, but for macro averages."""
    rows = [f for c in RECORD["cases"] for f in c["figures"] if f["interval"] == "percentile"]
    macro = [row["covers"] for row in rows if row["score"] == "macro-F1"]
    assert sorted({round(100 * x) for x in macro}) == [74, 91]
    others = [row["covers"] for row in rows if row["score"] != "macro-F1"]
    found = [round(100 * x) for x in (*others, *(row["covers_difference"] for row in rows))]
    assert (min(found), max(found)) == (93, 98)


def test_the_record_is_of_this_code():
    assert RECORD["version"] == VERSION
    assert RECORD["alpha"] == ALPHA
    assert RECORD["repeats"] == REPEATS
    assert RECORD["spot"] == spot()
