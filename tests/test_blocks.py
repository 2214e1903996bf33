"""Rows compared within folds: arithmetic, coverage, and what a report shows of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bench.errors import BenchError
from bench.metrics import registry
from bench.scripts.coverage_folds import REPEATS, WORLDS, experiment
from bench.stats.blocks import combine, compare_folds, joined
from bench.stats.compare import System

RECORD = json.loads((Path(__file__).parent / "golden" / "folds_check.json").read_text())


def parts(studies: float, seeds: float = 0.0, folds: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Variances and degrees of freedom that every fold shows of itself, for one score."""
    each = np.tile(np.array([[studies], [seeds]]), (folds, 1, 1))
    return each, np.tile(np.array([[590.0], [8.0]]), (folds, 1, 1))


VALUES = np.array([0.02, 0.05, 0.01, 0.04, 0.03])[:, None]


def test_folds_that_differ_much_are_a_t_test_over_them() -> None:
    found = combine(VALUES, *parts(1e-5), overlap=0.25)
    expected = stats.ttest_1samp(VALUES[:, 0], 0)
    assert found.by_folds.all()
    assert found.value[0] == pytest.approx(0.03)
    assert found.p[0] == pytest.approx(expected.pvalue)
    assert (found.low[0], found.high[0]) == pytest.approx(expected.confidence_interval(0.95))


def test_folds_that_lie_close_together_are_not_trusted_more_than_their_studies() -> None:
    found = combine(VALUES * 0 + 0.03, *parts(4e-4), overlap=0.25)
    reach = stats.t.ppf(0.975, 5 * 590) * np.sqrt(4e-4 / 5)
    assert not found.by_folds.any()
    assert found.high[0] - found.value[0] == pytest.approx(reach)
    assert found.p[0] == pytest.approx(2 * stats.t.sf(0.03 / np.sqrt(4e-4 / 5), 5 * 590))
    seeded = combine(VALUES * 0 + 0.03, *parts(2e-4, 2e-4), overlap=0.25)
    assert seeded.high[0] - 0.03 == pytest.approx(stats.t.ppf(0.975, 40) * np.sqrt(4e-4 / 5))


def test_nadeau_and_bengio() -> None:
    """Their equation: the variance over folds times 1 / F + test / train instead of 1 / F."""
    found = combine(VALUES, *parts(1e-5), overlap=0.25)
    error = np.sqrt(VALUES.var(ddof=1) * (1 / 5 + 0.25))
    assert found.overlap_p[0] == pytest.approx(2 * stats.t.sf(0.03 / error, 4))
    assert found.overlap_high[0] - 0.03 == pytest.approx(stats.t.ppf(0.975, 4) * error)
    same = combine(VALUES, *parts(1e-5), overlap=0.0)
    assert same.overlap_p == pytest.approx(same.p)
    assert same.overlap_low == pytest.approx(same.low)


def test_interval_and_p_agree_about_zero() -> None:
    rng = np.random.default_rng(0)
    many = rng.normal(0.02, 0.02, (5, 500))
    variances = rng.gamma(2, 1e-4, (5, 2, 500))
    found = combine(many, variances, np.full((5, 2, 500), 8.0), overlap=0.25)
    assert ((found.low > 0) | (found.high < 0)).tolist() == (found.p < 0.05).tolist()
    assert 0 < (found.p < 0.05).mean() < 1
    assert 0 < found.by_folds.mean() < 1


def test_one_fold_is_refused() -> None:
    with pytest.raises(BenchError, match="one fold has no spread over folds"):
        combine(VALUES[:1], *parts(1e-4, folds=1), overlap=0.25)


@pytest.mark.parametrize("index", range(len(WORLDS)))
def test_record_of_coverage(index: int) -> None:
    """Regenerate with RECORD's command."""
    kept = RECORD["worlds"][index]
    found = experiment(WORLDS[index], REPEATS // 4, seed=1)
    assert (kept["name"], RECORD["repeats"]) == (WORLDS[index].name, REPEATS)
    assert found.covers == pytest.approx(kept["covers"], abs=0.015)
    assert found.covers_by_overlap == pytest.approx(kept["covers_by_overlap"], abs=0.015)


def test_coverage_is_what_the_report_says() -> None:
    apart = [w for w in RECORD["worlds"] if not w["shared"]]
    shared = [w for w in RECORD["worlds"] if w["shared"]]
    assert all(0.94 <= w["covers"] <= 0.985 for w in apart)
    assert all(0.905 <= w["covers"] <= 0.94 for w in shared)
    assert all(0.965 <= w["covers_by_overlap"] <= 0.98 for w in shared)


# --- rows ----------------------------------------------------------------------------------------

BLEU = registry.load("BLEU")


def system(name: str, fold: int, right: float, runs: int = 2) -> System:
    """A row on 40 studies of a fold; `right`: share of reports that are the reference itself."""
    rng = np.random.default_rng(fold)
    words = rng.integers(0, 30, (40, 12)).astype(str)
    truth = [" ".join(row) for row in words]
    tables = []
    for seed in range(runs):
        own = np.random.default_rng([fold, seed, int(right * 100)]).random(40) < right
        said = [t if ok else truth[i - 1] for i, (t, ok) in enumerate(zip(truth, own, strict=True))]
        tables.append(BLEU.statistics(said, truth))
    return System(name, np.stack(tables), tuple(f"{fold}-{i}" for i in range(40)))


def test_rows_are_compared_within_folds() -> None:
    a = [system("good", fold, 0.9) for fold in range(3)]
    b = [system("poor", fold, 0.3) for fold in range(3)]
    found = compare_folds(a, b, BLEU, overlap=0.5, resamples=200)["BLEU-4"]
    each = [
        np.mean([BLEU.corpus(run)["BLEU-4"] for run in x.runs])
        - np.mean([BLEU.corpus(run)["BLEU-4"] for run in y.runs])
        for x, y in zip(a, b, strict=True)
    ]
    assert found.folds == pytest.approx(each)
    assert found.difference == pytest.approx(np.mean(each))
    assert (found.n, found.runs, found.a, found.b) == (120, (2, 2), "good", "poor")
    assert found.sentence().startswith("good is higher than poor: ")
    assert "higher in 3 of 3 folds; with Nadeau and Bengio's correction [" in found.sentence()
    turned = compare_folds(b, a, BLEU, overlap=0.5, resamples=200)["BLEU-4"]
    assert (turned.low, turned.high, turned.p) == pytest.approx((-found.high, -found.low, found.p))
    assert json.loads(json.dumps(found.record()))["folds"] == pytest.approx(each)


def test_rows_of_other_folds_are_refused() -> None:
    a = [system("a", fold, 0.9) for fold in range(3)]
    with pytest.raises(BenchError, match="3 folds of one row, 2 of the other"):
        compare_folds(a, a[:2], BLEU, overlap=0.5)
    with pytest.raises(BenchError, match="different studies"):
        compare_folds(a, [a[1], a[0], a[2]], BLEU, overlap=0.5)


def test_joined_runs_hold_every_study_once() -> None:
    systems = [system("a", fold, 0.5) for fold in range(3)]
    tables = [(s.ids, run) for s in systems for run in s.runs]
    ids, runs = joined(tables)
    assert ids == tuple(i for s in systems for i in s.ids)
    assert runs.shape[:2] == (2, 120)
    np.testing.assert_array_equal(runs[1, 40:80], systems[1].runs[1])
    whole = joined([(systems[0].ids, run) for run in systems[0].runs])
    assert whole[0] == systems[0].ids
    np.testing.assert_array_equal(whole[1], systems[0].runs)
    with pytest.raises(BenchError, match="folds with 1 and 2 trainings of one row"):
        joined(tables[:-1])


def test_a_lone_training_a_fold_has_no_seed_part() -> None:
    a, b = ([system(n, fold, r, runs=1) for fold in range(3)] for n, r in (("a", 0.7), ("b", 0.5)))
    flat = [replace(s, runs=s.runs[0]) for s in a]
    found = compare_folds(flat, b, BLEU, overlap=0.5, resamples=200)["BLEU-4"]
    assert found == compare_folds(a, b, BLEU, overlap=0.5, resamples=200)["BLEU-4"]
    assert found.low < found.difference < found.high
