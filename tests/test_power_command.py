"""`bench power`: a design held against a pilot, by arithmetic, by simulation, and in words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.__main__ import main
from bench.commands.power import Power, plan
from bench.errors import BenchError
from bench.reporting.pilot import Pair, Pilot
from bench.stats.blocks import combine
from bench.stats.power import (
    Design,
    critical,
    detectable_between,
    evenness,
    minimum_detectable_effect,
    seeds_for,
)

BOARD = Path(__file__).parents[1] / "leaderboards" / "v0"
FIVE = Design(seeds=5, studies=300)
SEEDS, STUDIES = 0.040, 0.110
REPEATS = 20_000


# --- by arithmetic -------------------------------------------------------------------------------


@pytest.mark.parametrize("folds", [1, 5])
@pytest.mark.parametrize("family", [1, 31])
def test_more_trainings_studies_and_folds_find_less(folds: int, family: int) -> None:
    design = replace(FIVE, folds=folds, family=family)

    def found(**changes: Any) -> float:
        return minimum_detectable_effect(replace(design, **changes), SEEDS, STUDIES)

    for name, values in {
        "seeds": (2, 3, 5, 10, 40), "studies": (50, 300, 3000), "folds": (2, 3, 5, 10),
    }.items():  # fmt: skip
        series = [found(**{name: value}) for value in values]
        assert series == sorted(series, reverse=True)
        assert len(set(series)) == len(series)
    assert found(family=family + 1) > found()


@pytest.mark.parametrize("difference", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("design", [FIVE, replace(FIVE, folds=5), replace(FIVE, family=31)])
def test_seeds_for_is_the_inverse(difference: float, design: Design) -> None:
    seeds = seeds_for(difference, design, SEEDS, STUDIES, evenness=0.8, most=300)

    def found(seeds: int) -> float:
        given = replace(design, seeds=seeds)
        return minimum_detectable_effect(given, SEEDS, STUDIES, evenness=0.8)

    if seeds is None:
        assert found(300) > difference
    else:
        assert found(seeds) <= difference
        assert seeds == 1 or found(seeds - 1) > difference


def test_no_number_of_trainings_makes_up_for_studies() -> None:
    assert seeds_for(0.001, FIVE, SEEDS, STUDIES) is None
    assert seeds_for(0.001, replace(FIVE, studies=10**7), SEEDS, STUDIES, most=10**6) is not None


def test_rows_of_unequal_spread_need_more() -> None:
    assert evenness((0.04, 0.04)) == pytest.approx(1)
    assert evenness((0.04, 0.0)) == pytest.approx(0.5)
    assert evenness((0.0, 0.0)) == 1
    both = detectable_between(FIVE, (SEEDS, SEEDS), STUDIES)
    assert both == pytest.approx(minimum_detectable_effect(FIVE, SEEDS, STUDIES))
    assert detectable_between(FIVE, (SEEDS * 2**0.5, 0.0), STUDIES) > both


def test_overlap_is_nadeau_and_bengios() -> None:
    folded = replace(FIVE, folds=5)
    ratio = minimum_detectable_effect(folded, SEEDS, STUDIES, overlap=0.25)
    assert ratio / minimum_detectable_effect(folded, SEEDS, STUDIES) == pytest.approx(
        ((1 / 5 + 0.25) / (1 / 5)) ** 0.5
    )


# --- by simulation -------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [1, 31])
@pytest.mark.parametrize("seeds", [5, 10])
@pytest.mark.parametrize("sds", [(0.04, 0.04), (0.06, 0.01)])
def test_welchs_test_finds_it_as_often_as_said(
    sds: tuple[float, float], seeds: int, family: int
) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(0, sd, (REPEATS, seeds)) for sd in sds)
    va, vb = a.var(axis=1, ddof=1) / seeds, b.var(axis=1, ddof=1) / seeds
    seen = float(np.mean((va + vb) ** 2 / (2 * (va**2 + vb**2))))
    both = np.sqrt((sds[0] ** 2 + sds[1] ** 2) / 2)
    design = replace(FIVE, seeds=seeds, family=family)
    delta = minimum_detectable_effect(design, both, 0.0, evenness=seen)
    df = (va + vb) ** 2 / ((va**2 + vb**2) / (seeds - 1))
    tail = np.full(REPEATS, 0.025 / family)
    t = abs(a.mean(axis=1) - b.mean(axis=1) + delta) / np.sqrt(va + vb)
    found = (t > critical((va + vb)[None], df[None], tail)).mean()
    assert 0.74 < found < 0.81


@pytest.mark.parametrize("spread", [(0.04, 0.0), (0.04, 0.5), (0.01, 1.0)])
def test_folds_find_it_as_often_as_said(spread: tuple[float, float]) -> None:
    """About as often: where folds lie close together, the test is that of studies and seeds."""
    seed_sd, study_sd = spread
    folded = Design(seeds=2, studies=400, folds=5)
    delta = minimum_detectable_effect(folded, *spread)
    rng = np.random.default_rng(0)
    parts = np.array([study_sd**2 / 400, 2 * seed_sd**2 / 2])
    values = rng.normal(delta, np.sqrt(parts.sum()), (5, REPEATS))
    df = np.tile(np.array([[399.0], [2.0]]), (5, 1, REPEATS))
    variances = rng.chisquare(df) / df * parts[None, :, None]
    over_folds = combine(values, variances * 0, df, overlap=0.25)
    assert (over_folds.p < 0.05).mean() == pytest.approx(0.8, abs=0.01)
    assert (combine(values, variances, df, overlap=0.25).p < 0.05).mean() > 0.77


# --- in words ------------------------------------------------------------------------------------

PILOT = Pilot(
    "made", "folded", "BLEU-4", ("a", "b"), (Pair("a", "b", 0.03, (0.05, 0.03), 0.1),), 1.0, 0.04,
    0.1, 0.9, 3, 200, 2, 0.25, {"Holm over 7 contrasts (t)": 7}, 60.0, 30.0, "A, device cpu",
)  # fmt: skip


def test_what_is_not_given_is_as_in_the_pilot() -> None:
    found = plan(PILOT)
    assert found.design == Design(3, 200, 2)
    assert [line.family for line in found.lines] == [1, 1, 7]
    assert [line.rows for line in found.lines] == [2, 4, 2]
    assert found.training_seconds == 2 * 3 * (60 + 30)  # tokenizers follow the seed
    given = plan(PILOT, 7, 900, 5, families=[12, 40])
    assert given.design == Design(7, 900, 5)
    assert [line.family for line in given.lines] == [1, 1, 12, 40]
    assert all(sorted(line.series) == [2, 3, 5, 7, 10, 20] for line in given.lines)
    for line in given.lines:
        assert line.smallest == line.series[7]
        assert line.overlap > line.smallest


@pytest.mark.parametrize(
    "found",
    [plan(PILOT), plan(PILOT, 1, folds=1), plan(PILOT, difference=0.01), plan(PILOT, folds=12)],
)
def test_text_keeps_to_its_width_and_json_is_json(found: Power) -> None:
    text = found.render()
    assert max(map(len, text.splitlines())) <= 100
    record = json.loads(json.dumps(found.record(), allow_nan=False))
    assert record["design"]["studies"] == 200
    assert len(record["lines"]) == 3
    folded, asked = "Nadeau and Bengio" in text, "for .010" in text
    assert (folded, asked) == (found.design.folds > 1, found.difference is not None)


def test_what_cannot_be_found_is_a_dash() -> None:
    found = plan(PILOT, 1, folds=1)
    assert [line.smallest for line in found.lines] == [float("inf")] * 3
    assert [line["smallest"] for line in found.record()["lines"]] == [None] * 3
    assert "–: no difference that the score can have" in found.render()
    assert "no number: more trainings do not help" in plan(PILOT, difference=1e-4).render()


# --- on the board --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def test_the_boards_resolution(cache: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of board v0: 60 tests of a table, 31 claims, one, a main effect."""
    argv = ["power", "claims", "--board", str(BOARD), "--cache", cache, "--json"]
    assert main([*argv, "--family", "60", "--family", "31"]) == 0
    record = json.loads(capsys.readouterr().out)
    pilot = record["pilot"]
    assert 0 < pilot["seed_sd"] < 0.02  # 24,000 examples a row; .040 at 8,000
    seeds, studies = record["design"]["seeds"], record["design"]["studies"]
    assert studies == 300
    found = {(x["family"], x["rows"]): x["smallest"] for x in record["lines"]}
    for family, rows in ((60, 2), (31, 2), (1, 2), (1, 4)):
        design = Design(seeds, studies, rows=rows, family=family)
        spread = pilot["seed_sd"], pilot["study_sd"]
        expected = minimum_detectable_effect(design, *spread, 0.0, pilot["evenness"])
        assert found[family, rows] == pytest.approx(expected)
    assert found[60, 2] > found[31, 2] > found[1, 2] > found[1, 4]
    trained = sum(float(p["seed_sds"][0] > 0) for p in record["pairs"])
    assert trained == len(record["pairs"]) > 10
    assert record["device_seconds"] > 0.99 * seeds * pilot["training_seconds"] > 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--metric", "BLEU"], "unknown score 'BLEU'"),
        (["--difference", "0"], "--difference 0"),
        (["dataset=mimic_cxr"], "no board"),
        (["budget=tiny"], "unknown setting 'budget'"),
    ],
)
def test_errors_are_named(
    more: list[str], said: str, cache: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["power", "table4", *more, "--board", str(BOARD), "--cache", cache]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--seeds", "--family"])
def test_counts_begin_with_one(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["power", "table4", option, "0"])
    assert f"argument {option}: '0' is not a whole number from 1" in capsys.readouterr().err


def test_one_training_a_row_is_no_pilot(cache: str) -> None:
    from bench.reporting.pilot import measure
    from bench.reporting.summary import Summary
    from bench.runs.workspace import Workspace

    summary = Summary.of_board("table4", "synthetic", BOARD, Workspace(cache=Path(cache)))
    summary.keys = {row: runs[:1] for row, runs in summary.keys.items()}
    with pytest.raises(BenchError, match="no two rows with several trainings scored in BLEU-4"):
        measure(summary, "BLEU-4")
