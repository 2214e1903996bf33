"""Image information in a run: sealed, scored, sent to boards and reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_execute import SPEC, run
from toy import load

from bench.boards.rows import run_rows
from bench.data.pairings import OTHERS
from bench.metrics import ptb
from bench.metrics.image_information import ImageInformation, rank
from bench.reporting import image_information
from bench.reporting.figures import draw
from bench.reporting.summary import Summary
from bench.runs.features import FEATURES, SMALLEST_PART
from bench.runs.information import LIKELIHOODS
from bench.runs.score import assess, is_scored
from bench.runs.workspace import Workspace
from bench.spec import DataSpec, PartSpec, RunSpec
from bench.store import RunFolder, read_json
from bench.suites.plan import Plan, Planned
from bench.suites.suite import Row, Suite, Table

PARAMS = {"train": 14, "val": 12, "test": 40}
METRICS = ("BLEU",)
Made = tuple[RunSpec, Workspace, RunFolder]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    place = tmp_path_factory.mktemp("reading")
    data = DataSpec("made", "toy.load", load(**PARAMS).manifest, PARAMS, max_length=60, min_count=1)
    spec = replace(SPEC, data=data, model=PartSpec("reading.ReadingToy"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DEVICE", "cpu")
        patch.setattr(ptb, "tokenize", lambda texts: texts)
        folder = run(place, spec)
        work = Workspace(place / "runs", place / "cache")
        assess(spec, work, folder, METRICS)
        yield spec, work, folder


def likelihoods(folder: RunFolder) -> dict[str, np.ndarray]:
    with np.load(folder / LIKELIHOODS) as arrays:
        return dict(arrays)


def plan(made: Made) -> Plan:
    suite = Suite("Toys", (Row("reads", "toy"),), {"t": Table("Toys", ("reads",))}, (), "reads")
    return Plan("toys", suite, "made", (Planned("reads", "trained", "toy", made[0]),))


def test_what_is_sealed(made: Made) -> None:
    found = likelihoods(made[2])
    assert found["test"].shape == found["within"].shape == (40, 1 + OTHERS)
    assert found["val"].shape == (12, 1 + OTHERS)
    assert np.isfinite(found["test"]).all()
    assert np.isnan(found["val"][:, 12:]).all()  # 11 others there are
    assert found["own"].sum(axis=1) == pytest.approx(found["test"][:, 0], abs=1e-4)
    assert found["mean"].sum(axis=1) == pytest.approx(found["test"][:, 1:].mean(axis=1), abs=1e-4)
    assert found["within"][:, 0] == pytest.approx(found["test"][:, 0])


def test_what_is_scored(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, _, folder = made
    found = likelihoods(folder)
    rows = {r["metric"]: r for r in read_json(folder / "scores.json") if r["treatment"] == FEATURES}
    position = rows["image-information-rank"]
    assert position["value"] == pytest.approx(rank(found["test"]).mean())
    assert position["ci_low"] < position["value"] < position["ci_high"]
    assert position["higher_is_better"] is False
    assert "higher_is_better" not in rows["image-information-bound"]
    assert "others:24" in position["signature"]
    taking = int((~np.isnan(found["within"][:, 1:])).any(axis=1).sum())
    assert taking >= SMALLEST_PART
    assert rows["image-information-within-rank"]["n"] == taking
    assert rows["image-attribution-place"]["n"] == 40
    assert is_scored(spec, folder, METRICS)
    monkeypatch.setattr(ImageInformation, "version", 2)
    assert not is_scored(spec, folder, METRICS)


def test_a_board_row_knows_its_direction(made: Made) -> None:
    rows = {r.metric: r for r in run_rows(plan(made).runs[0], "made", made[1])}
    assert not rows["image-information-rank"].higher_is_better
    assert rows["image-information-bound"].higher_is_better
    assert rows["image-information-rank"].treatment == FEATURES


def test_the_section_of_a_report(made: Made) -> None:
    summary = Summary.of(plan(made), made[1])
    text = image_information.section(summary)
    figure = summary.figure("reads", "image-information-rank", FEATURES)
    [line] = [x for x in text.splitlines() if x.startswith("| reads |")][:1]
    assert f"{figure.value:.3f}".removeprefix("0") in line
    assert "same labels: rank" in text
    assert "edema" not in text.lower()  # no reference has it
    assert "generator" not in text  # a ceiling is known of the embedded data only
    compared = summary.contrasts.compare(
        summary.keys["reads"], summary.keys["reads"], ("a", "b"), "image-information-rank", FEATURES
    )
    assert not compared.higher_is_better


def test_the_figure_is_drawn_the_same_again(made: Made, tmp_path: Path) -> None:
    summary = Summary.of(plan(made), made[1])
    drawn = [draw("image-information", summary, tmp_path / name) for name in ("a", "b")]
    first, second = ([path.read_bytes() for path in paths] for paths in drawn)
    assert first == second
    assert first


def test_without_likelihoods_there_is_neither(made: Made, tmp_path: Path) -> None:
    summary = Summary.of(plan(made), made[1])
    summary.keys = {}
    assert image_information.section(summary) == ""
    assert draw("image-information", summary, tmp_path) == []
