"""Figures: drawn from made runs, their numbers held against slow ones, at the printed size."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made import METRICS, make

from bench.data.study import Region
from bench.figures import ONE, SMALLEST, TWO
from bench.files import write_atomic
from bench.metrics import ptb
from bench.reporting.figures import FIGURES, draw
from bench.reporting.figures import alignment as alignment_figure
from bench.reporting.figures import gram as gram_figure
from bench.reporting.figures import learning as learning_figure
from bench.reporting.figures import retrieval as retrieval_figure
from bench.reporting.figures.parts import letters_on
from bench.reporting.figures.retrieval import UNSHOWN
from bench.reporting.figures.sealed import cosines, ranks
from bench.reporting.summary import Summary
from bench.runs.representations import REPRESENTATIONS, gram
from bench.runs.score import assess
from bench.runs.workspace import Workspace
from bench.store import RunFolder
from bench.suites.plan import Plan

COUNT, TOKENS = 50, 8  # studies of the made dataset, visual tokens of two views


def sealed() -> dict[str, np.ndarray]:
    """What a training might have sealed: one phrase of each of twenty studies."""
    rng = np.random.default_rng(0)
    attention = rng.random((20, TOKENS))
    return {
        "images": rng.integers(-127, 128, (COUNT, 6)).astype(np.int8),
        "reports": rng.integers(-127, 128, (COUNT, 6)).astype(np.int8),
        **gram(rng.normal(size=(40, 6))),
        "study": np.arange(20, dtype=np.int32), "region": np.zeros(20, np.int32),
        "words": np.tile(np.int32([0, 2]), (20, 1)), "grid": np.int32([2, 2, 2]),
        "attention": attention.astype(np.float16), "free": attention.astype(np.float16),
        "shares": rng.random((20, 5)).astype(np.float32),
    }  # fmt: skip


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """A suite whose row BASE has sealed all that figures are drawn from."""
    plan, work = make(tmp_path_factory.mktemp("runs"))
    _add(plan, work)
    found = Summary.of(plan, work)
    region = Region("nodule", "a word", {"frontal": ((0.1, 0.2, 0.6, 0.7),)})
    found.data = replace(found.data, regions=lambda study: (region,))
    return found


def _add(plan: Plan, work: Workspace) -> None:
    [base] = [p for p in plan.runs if p.name == "BASE"]
    folder = RunFolder(work.out, base.spec.run_id)
    data = io.BytesIO()
    np.savez(data, **sealed())  # type: ignore[arg-type]
    write_atomic(folder / REPRESENTATIONS, data.getvalue())
    folder.seal(status="predicted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ptb, "tokenize", lambda texts: [t.replace(" .", "") for t in texts])
        assess(base.spec, work, folder, METRICS)


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram_figure, "ROWS", {"BASE": "#000000"})


DRAWN = ("hero", "attention", "alignment", "retrieval", "gram")


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_has_its_size_and_its_letters(summary: Summary, tmp_path: Path, name: str) -> None:
    [path] = draw(name, summary, tmp_path)
    assert path.read_bytes().startswith(b"\x89PNG")
    svg = path.with_suffix(".svg").read_text()
    width = float(re.search(r'width="([\d.]+)pt"', svg)[1]) / 72  # type: ignore[index]
    assert width == pytest.approx(TWO) or width == pytest.approx(ONE)
    sizes = [float(x) for x in re.findall(r"font(?:-size)?: [^;\"']*?([\d.]+)px", svg)]
    assert sizes, "letters are letters"
    assert min(sizes) >= SMALLEST
    again = draw(name, summary, tmp_path / "again")[0]
    for suffix in (".png", ".svg", ".csv"):
        assert again.with_suffix(suffix).read_bytes() == path.with_suffix(suffix).read_bytes()


def records(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.with_suffix(".csv").read_text().splitlines()))


def test_ranks_are_those_of_a_sorted_list(summary: Summary, tmp_path: Path) -> None:
    similar = cosines(sealed())
    for i, rank in enumerate(ranks(similar)):
        ahead = sorted(similar[i], reverse=True)
        assert rank == pytest.approx(1 + ahead.index(similar[i, i]))
    found = records(draw("retrieval", summary, tmp_path)[0])
    assert [float(r["rank"]) for r in found] == ranks(similar).tolist()


def test_a_board_of_data_that_are_not_ours_draws_no_report_and_no_film(
    summary: Summary, tmp_path: Path
) -> None:
    theirs = replace(summary, dataset="iu_xray", published=True)
    assert draw("attention", theirs, tmp_path) == []
    for suite, said in ((summary, True), (replace(theirs, published=False), True), (theirs, False)):
        drawn = draw("retrieval", suite, tmp_path)[0].with_suffix(".svg").read_text()
        assert ("Its own report:" in drawn) == ("<image" in drawn) == said
        assert (UNSHOWN.split(" (")[0] in drawn) != said


def test_equal_cosines_share_their_ranks() -> None:
    assert ranks(np.ones((4, 4))).tolist() == [2.5] * 4


def test_the_histograms_count_every_pair(summary: Summary, tmp_path: Path) -> None:
    found = records(draw("alignment", summary, tmp_path)[0])
    counts = {k: sum(int(r["count"]) for r in found if r["pairs"] == k) for k in ("own", "other")}
    assert counts == {"own": COUNT, "other": COUNT * (COUNT - 1)}


def test_the_shares_of_attention_are_those_that_were_scored(
    summary: Summary, tmp_path: Path
) -> None:
    found = {
        r["score"]: float(r["value"]) for r in records(draw("attention", summary, tmp_path)[0])
    }
    own, position = sealed()["shares"].mean(axis=0)[:2]
    assert found["attention-box"] == pytest.approx(own, abs=1e-6)
    assert found["attention-box-gain"] == pytest.approx(own - position, abs=1e-6)


def test_letters_stand_out_from_their_colour() -> None:
    def light(colour: tuple[float, ...]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return float(np.dot((0.2126, 0.7152, 0.0722), linear))

    for colour in np.random.default_rng(0).random((50, 3)):
        own = {"black": 0.0, "white": 1.0}[letters_on(colour)]
        low, high = sorted((light(colour), own))
        assert (high + 0.05) / (low + 0.05) > 4.5  # WCAG's AA


def test_titles_of_one_row_compare_it_with_chance() -> None:
    assert alignment_figure._title({"UAR": 0.79}) == (
        "UAR tells own pairs from others with AUC .79, chance .50"
    )
    assert retrieval_figure._title({"UAR": np.array([3.0, 5.0])}, 9) == (
        "The own report stands at rank 4 of 9 in UAR (median; chance 5)"
    )


def test_gain_of_a_training_that_is_looked_at_only_near_its_end_is_since_the_first_look() -> None:
    late = np.array([80.0, 90, 100]), np.array([0.3, 0.35, 0.4])
    whole = np.array([25.0, 50, 75, 100]), np.array([0.1, 0.5, 0.4, 0.45])
    assert learning_figure._gain(late, True) == pytest.approx(0.1)
    assert learning_figure._gain(whole, False) == pytest.approx(-0.05)
    assert learning_figure._gain(whole, True) == pytest.approx(0.35)  # beside a late one


def test_what_no_run_holds_is_not_drawn(summary: Summary, tmp_path: Path) -> None:
    for name in ("image-information", "learning", "cost", "agreement", "reconstructions"):
        assert draw(name, summary, tmp_path) == []
    assert not list(tmp_path.iterdir())
    assert all(text for _, text in FIGURES.values())
