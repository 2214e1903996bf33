from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from bench.errors import BenchError
from bench.metrics.bleu import BLEU
from bench.scripts.coverage_worlds import Case, Made, MeanMetric, draw, plan
from bench.stats import differences
from bench.stats.compare import (
    Comparison,
    System,
    compare,
    compare_all,
    corrected,
)
from bench.stats.seeds import next_run, uneven
from bench.terminal import interval, number, p_value

MEAN = MeanMetric()


class Loss(MeanMetric):
    lower_is_better = ("mean",)


def system(name: str, shift: float = 0.0, n: int = 60, seed: int = 0, **more) -> System:
    """Reports that share their difficulty with every other system's."""
    shared = np.random.default_rng(0).normal(size=n)
    own = np.random.default_rng([seed, *name.encode()]).normal(size=n)
    runs = (1 + shared + 0.3 * own + shift)[:, None]
    return System(name, runs, tuple(f"s{i}" for i in range(n)), **more)


def made(**changes) -> Comparison:
    found = compare(system("UAR"), system("BASE"), MEAN, "mean", resamples=100)
    return replace(found, **{"lone": (), "test": "t", **changes})


HIGHER = {"difference": 0.021, "low": 0.004, "high": 0.038, "p": 0.0015, "p_corrected": 0.012}
OPEN = {"difference": 0.003, "low": -0.012, "high": 0.018, "p": 0.61, "p_corrected": 0.61}
LOWER = {"difference": -0.021, "low": -0.038, "high": -0.004, "p": 0.012, "p_corrected": 0.012}


T = "(t-test over seeds and studies)"


def test_a_difference_in_words():
    found = made(**HIGHER, family=8)
    assert found.sentence() == (
        f"UAR is higher than BASE by .021 [.004, .038], p = .002 {T}; holds after Holm over 8"
    )
    assert (found.separate, found.distinguishable) == (True, True)


def test_a_lower_score_in_words():
    assert made(**LOWER).sentence() == f"UAR is lower than BASE by .021 [.004, .038], p = .012 {T}"
    loss = made(**LOWER, higher_is_better=False)
    assert loss.sentence().endswith(f"{T}; lower is better")


def test_no_difference_in_words():
    found = made(**OPEN, b="the constant report", family=8)
    assert found.sentence() == (
        "UAR is not distinguishable from the constant report: the difference of .003 has the "
        f"95 % interval [-.012, .018], p = .61 {T}"
    )
    assert (found.separate, found.distinguishable) == (False, False)


def test_a_raw_p_stands_beside_its_own_interval():
    """What the correction takes back is said in words, never as a p that belies the interval."""
    found = made(**HIGHER | {"p_corrected": 0.2}, family=40)
    assert (found.separate, found.distinguishable) == (True, False)
    assert found.sentence() == (
        f"UAR is higher than BASE by .021 [.004, .038], p = .002 {T}; does not hold after Holm "
        "over 40"
    )


def test_one_training_makes_a_sentence_about_reports():
    found = made(**HIGHER, lone=("UAR", "BASE"), test="randomization")
    assert found.sentence() == (
        "these reports of UAR score higher than those of BASE by .021 [.004, .038], p = .002 "
        "(randomization test over studies)"
    )
    assert found.caveat == "one training of UAR and of BASE: training luck is not counted"


def test_one_run_of_a_trained_system_is_said():
    a, floor = system("UAR"), system("the constant report", seeded=False)
    assert compare(a, floor, MEAN, "mean", 100).caveat == (
        "one training of UAR: training luck is not counted"
    )
    several = replace(a, runs=np.stack([a.runs, a.runs + 0.1, a.runs - 0.1]))
    assert compare(several, floor, MEAN, "mean", 100).caveat == ""


def test_a_comparison_is_what_the_statistics_say():
    case = Case("BLEU", 60, runs=(3, 1), b=Made(0.6))
    (a,), (b,) = draw(case, 1)
    studies = plan(case, 300)
    first = System("A", a, studies.ids, studies.patients)
    second = System("B", b[0], studies.ids, studies.patients, seeded=False)
    found = compare_all(first, second, BLEU(), 300)
    assert list(found) == list(BLEU.scores)
    for score, difference in differences(BLEU(), a, b, studies).items():
        one = found[score]
        assert (one.difference, one.low, one.high) == (
            difference.value,
            difference.low,
            difference.high,
        )
        assert (one.p, one.family, one.runs, one.n) == (difference.p, 1, (3, 1), 60)
        assert one.value_a - one.value_b == pytest.approx(one.difference, abs=1e-15)
        assert one.test == "t"
        assert one.signature.startswith(f"{score}|ci:t-0.95|test:t|")
    assert compare(first, second, BLEU(), "BLEU-4", 300) == found["BLEU-4"]


def test_a_training_is_compared_with_its_own_control():
    case = Case("BLEU", 60, (3, 3), a=Made(0.7, 0.05), b=Made(0.6, -0.05), paired=True)
    (a,), (b,) = draw(case, 1)
    studies = plan(case, 300)
    own, control = (System(n, x, studies.ids, studies.patients) for n, x in (("A", a), ("C", b)))
    found = compare_all(own, control, BLEU(), 300, paired=True)["BLEU-4"]
    expected = differences(BLEU(), a, b, studies, paired=True)["BLEU-4"]
    assert (found.low, found.high, found.p) == (expected.low, expected.high, expected.p)
    assert found.value_a - found.value_b == pytest.approx(found.difference, abs=1e-15)
    assert "|runs:3,3|paired:runs|" in found.signature


def test_a_family_is_corrected_together():
    names = ["A", "C", "D", "E"]
    family = [compare(system(x, 0.1), system("B"), MEAN, "mean", 200) for x in names]
    together = corrected(family)
    assert [c.family for c in together] == [4] * 4
    assert all(c.p_corrected >= c.p for c in together)
    assert min(c.p_corrected for c in together) == pytest.approx(4 * min(c.p for c in family))


def test_seeds_that_should_be_looked_at():
    rng = np.random.default_rng(0)
    names = ("A", "B")
    steady, wide = 0.6 + 0.004 * rng.normal(size=(2, 5)) * [[1], [10]]
    [ratio] = uneven(dict(zip(names, (steady, wide), strict=True)))
    assert "B's trainings vary" in ratio
    [gap] = uneven({"A": np.array([0.6, 0.601, 0.47, 0.602, 0.605]), "B": wide})
    assert gap.startswith("one part of A's trainings lies far from the rest (.470, .600, ")
    assert uneven({"A": wide[:4], "B": steady[:4]}) == ()  # too few to tell
    assert uneven({"A": np.full(5, 0.5), "B": wide}) == ()
    normal = rng.normal(size=(2000, 2, 5))
    assert np.mean([bool(uneven({"A": a, "B": b})) for a, b in normal]) < 0.09


def test_one_more_training_lies_where_it_is_foretold():
    rng = np.random.default_rng(0)
    runs = rng.normal(size=(4000, 6, 1))
    ends = [next_run(x[:5], 0.95) for x in runs]
    held = [low[0] <= x[5, 0] <= high[0] for (low, high), x in zip(ends, runs, strict=True)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.012)
    assert next_run(runs[0][:1], 0.95) is None


def test_a_record_is_json_without_nan():
    text = json.dumps(made(**OPEN, relative=float("nan")).record(), allow_nan=False)
    record = json.loads(text)
    assert record["relative"] is None
    assert record["difference"] == 0.003
    assert record["sentence"].startswith("UAR is not distinguishable")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0213, ".021"),
        (-0.0124, "-.012"),
        (-0.0001, ".000"),
        (0.9996, "1.000"),
        (1.2344, "1.234"),
        (float("nan"), "–"),
    ],
)
def test_numbers(value: float, text: str):
    assert number(value) == text


def test_intervals_and_p_values():
    assert interval(-0.012, 0.018) == "[-.012, .018]"
    texts = [p_value(p) for p in (0.0001, 0.012, 0.0996, 0.61, 0.9999)]
    assert texts == ["p < .001", "p = .012", "p = .100", "p = .61", "p > .99"]


@pytest.mark.parametrize(
    ("b", "message"),
    [
        (system("B", n=59), "A and B were scored on different studies: only A has s59"),
        (replace(system("B"), ids=system("B").ids[::-1]), "list their studies"),
        (replace(system("B"), patients=("p",) * 60), "list their studies or patients"),
    ],
)
def test_different_studies_are_refused(b: System, message: str):
    with pytest.raises(BenchError, match=message):
        compare(system("A"), b, MEAN, "mean", 100)


def test_unknown_names_get_the_nearest():
    with pytest.raises(BenchError, match="did you mean 'BLEU-4'"):
        compare(system("A"), system("B"), BLEU(), "BLUE-4")
