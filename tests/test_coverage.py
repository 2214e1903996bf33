"""How often intervals and tests are right: small experiments of known truth, and the record."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.scripts.coverage import ALPHA, REPEATS, experiment, spot
from bench.scripts.coverage_gains import gains, truth
from bench.scripts.coverage_worlds import SHAPES, Case, Made
from bench.stats import VERSION
from bench.stats.seeds import LIMIT

RECORD = json.loads((Path(__file__).parent / "golden" / "stats_check.json").read_text())
WIDEST = 0.98  # coverage that is still called 95 %

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
    (found,) = experiment(case, 500, 199)
    assert 0.93 <= found.covers <= WIDEST
    assert 0.93 <= found.covers_difference <= WIDEST


@pytest.mark.parametrize("control", [-0.08, 0.08])
def test_intervals_of_trainings_and_their_controls_hold_the_truth(control: float):
    """Whichever way the control goes with its training. As independent runs: 84 % and 100 %."""
    case = Case("mean", 200, (3, 3), a=Made(0.7, 0.08), b=Made(0.7, control), paired=True)
    (found,) = experiment(case, 500, 199)
    assert 0.93 <= found.covers_difference <= WIDEST
    assert found.rejected <= 0.070


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_seeds_has_mean_0_and_variance_1(shape: str):
    draws = SHAPES[shape](np.random.default_rng(0).standard_normal(200_000))
    assert abs(draws.mean()) < 0.01
    assert draws.var() == pytest.approx(1, abs=0.02)


def test_the_gain_of_a_made_system_is_what_its_reports_earn():
    from bench.scripts.coverage_gains import draw

    rng = np.random.default_rng(0)
    found = np.mean([np.subtract(*draw(rng, 0.7, 5, 3)).mean() for _ in range(150)])
    assert found == pytest.approx(truth(0.7, 5), abs=0.006)


# The record


def recorded(world: str, runs: tuple[int, int], **wanted) -> list[dict]:
    """Rows of the record of these runs, of the default interval and test."""
    return [
        case["case"] | figures
        for case in RECORD["cases"]
        for figures in case["figures"]
        if case["case"]["world"] == world
        and tuple(case["case"]["runs"]) == runs
        and figures["interval"] != "bca"
        and all((case["case"] | figures)[k] == v for k, v in wanted.items())
    ]


def shapes(row: dict) -> tuple[str, float]:
    """The shape of A's seeds, and the spread of B's."""
    return row["a"]["shape"], (row["b"] or row["a"])["seeds"]


@pytest.mark.parametrize("world", ["mean", "BLEU"])
@pytest.mark.parametrize("n", [100, 590])
def test_single_runs_as_statements_about_their_reports(world: str, n: int):
    rows = [r for r in recorded(world, (1, 1), n=n) if not r["a"]["seeds"]]
    equal = [r for r in rows if r["difference"] == 0]
    assert len(equal) == (3 if n == 590 else 1)
    assert all(0.032 <= row["rejected"] <= 0.070 for row in equal)
    assert all(0.93 <= row[k] <= 0.97 for row in rows for k in ("covers", "covers_difference"))


@pytest.mark.parametrize("world", ["mean", "BLEU"])
def test_one_training_says_nothing_of_methods(world: str):
    [single] = [r for r in recorded(world, (1, 1)) if r["a"]["seeds"]]
    [lopsided] = [r for r in recorded(world, (5, 1)) if r["a"]["seeds"]]
    assert single["rejected"] > 0.6
    assert 0.2 < lopsided["rejected"] < single["rejected"]


@pytest.mark.parametrize("world", ["mean", "BLEU"])
@pytest.mark.parametrize("runs", [(2, 2), (3, 3), (5, 5), (3, 1)])
def test_several_runs_with_normal_seeds(world: str, runs: tuple[int, int]):
    """Unequal spread of the two sides, and factorials, included."""
    rows = [r for r in recorded(world, runs) if r["a"]["shape"] == "normal"]
    assert rows
    assert all(0.93 <= row["covers_difference"] <= WIDEST for row in rows)
    assert all(row["rejected"] <= 0.070 for row in rows if row["difference"] == 0)


@pytest.mark.parametrize("world", ["mean", "BLEU"])
def test_the_limits_that_are_printed(world: str):
    """Seeds that escape or do not, against steady ones: what `LIMIT` says, and PROTOCOL.md."""
    rows = {shapes(r): r for r in recorded(world, (5, 5), rows=1) if r["a"]["shape"] != "normal"}
    held = round(100 * rows["escaping", 0.005]["covers_difference"])
    shown = sorted(round(100 * r["covers_difference"]) for r in limits())
    assert f"{shown[0]} to {shown[-1]} %" in LIMIT
    assert shown[0] <= held <= shown[-1]
    assert rows["escaping", 0.08]["covers_difference"] >= 0.93  # alike on both sides
    assert rows["skewed", 0.08]["covers_difference"] >= 0.93


def limits() -> list[dict]:
    every = [r for world in ("mean", "BLEU") for r in recorded(world, (5, 5), rows=1)]
    return [r for r in every if shapes(r) == ("escaping", 0.005)]


def test_image_gains():
    """By 30 derangements: at their level, and shorter than by one."""
    rows = {(g["strength"], g["runs"], g["derangements"]): g for g in RECORD["gains"]}
    for (strength, runs, count), row in rows.items():
        assert 0.92 <= row["covers_difference"] <= WIDEST
        if strength == 0:
            assert row["rejected"] <= 0.070
        if count > 1:
            assert row["half_width"] < rows[strength, runs, 1]["half_width"] * 1.02
    assert rows[0.0, 1, 30]["half_width"] < 0.8 * rows[0.0, 1, 1]["half_width"]


def test_the_record_shows_what_the_protocol_says():
    rows = [f for c in RECORD["cases"] for f in c["figures"] if f["interval"] != "bca"]
    macro = [row["covers"] for row in rows if row["score"] == "macro-F1"]
    assert sorted({round(100 * x) for x in macro}) == [74, 91]
    protocol = (Path(__file__).parents[1] / "leaderboards" / "PROTOCOL.md").read_text()
    words = " ".join(protocol.split())
    assert "74 % at n = 100, 91 % at n = 590" in words
    assert LIMIT.partition("in only ")[2].partition(" of simulated")[0] in words
    # One training a side, five against one; skewed seeds; ten against ten.
    for said, found in (
        ("{} to {} % of cases, five against one", [r["rejected"] for r in lone((1, 1))]),
        ("five against one in {} to {} %", [r["rejected"] for r in lone((5, 1))]),
        ("five skewed trainings against five steady ones {}-{} %", held("skewed", (5, 5))),
        ("ten against ten {}-{} %", held("escaping", (10, 10))),
    ):
        ends = sorted(round(100 * x) for x in found)
        assert said.format(ends[0], ends[-1]) in words
    ordinary = [r for world in ("mean", "BLEU") for runs in SEVERAL for r in recorded(world, runs)]
    covered = [r["covers_difference"] for r in ordinary if r["a"]["shape"] == "normal"]
    assert (round(100 * min(covered)), round(100 * max(covered))) == (94, 98)
    assert "93-98 % coverage and at most 7 % false positives" in words


SEVERAL = [(2, 2), (3, 3), (5, 5), (3, 1)]


def lone(runs: tuple[int, int]) -> list[dict]:
    """One training a side taken as a statement about methods."""
    every = [r for world in ("mean", "BLEU") for r in recorded(world, runs)]
    return [r for r in every if r["a"]["seeds"]]


def held(shape: str, runs: tuple[int, int]) -> list[float]:
    every = [r for world in ("mean", "BLEU") for r in recorded(world, runs)]
    return [r["covers_difference"] for r in every if shapes(r) == (shape, 0.005)]


def test_the_record_is_of_this_code():
    assert RECORD["version"] == VERSION
    assert RECORD["alpha"] == ALPHA
    assert RECORD["repeats"] == REPEATS
    assert RECORD["spot"] == spot()
    assert next(gains(2, 50)).runs == 1
