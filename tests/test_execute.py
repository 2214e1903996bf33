"""One run, on toys: train, predict, seal; what is skipped, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import Frozen, Toy, load

from bench.errors import BenchError, DataError, MissingError
from bench.metrics import predictions, registry
from bench.metrics.scoring import Scored
from bench.runs.execute import execute
from bench.runs.score import assess, is_scored, scoring_key
from bench.runs.training import initial_model, rerun
from bench.runs.workspace import Workspace
from bench.spec import (
    BudgetSpec,
    DataSpec,
    DecodeSpec,
    OptimizerSpec,
    PartSpec,
    RunSpec,
    SelectionSpec,
    StageSpec,
    TrainSpec,
)
from bench.store import RunFolder, file_digest

SPEC = RunSpec(
    kind="train",
    data=DataSpec("made", "toy.load", load().manifest, max_length=60, min_count=1),
    model=PartSpec("toy.Toy", {"dropout": 0.2}),
    code="",
    train=TrainSpec(batch=4, threads=1, optimizer=OptimizerSpec(rates={"rest": 0.05})),
    budget=BudgetSpec("steps", 12.0),
    selection=SelectionSpec(evaluations=3),
    decode=DecodeSpec(max_length=12),
)
TWO_STAGES = (
    StageSpec("one", 0.5, {"ce": 1.0}, {"extra": False}),
    StageSpec("two", 0.5, {"ce": 1.0, "extra": 1.0}, {"extra": True}),
)


@pytest.fixture(autouse=True)
def on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DEVICE", "cpu")


def run(place: Path, spec: RunSpec = SPEC) -> RunFolder:
    work = Workspace(place / "runs", place / "cache")
    folder = RunFolder(work.out, spec.run_id)
    with folder.lock() as mine:
        assert mine
        execute(spec, work, folder)
    return folder


def results(folder: RunFolder) -> dict[str, str]:
    manifest = folder.manifest
    assert manifest is not None
    return dict(manifest["results"])


def test_what_is_sealed(tmp_path: Path) -> None:
    folder = run(tmp_path)
    manifest = folder.manifest
    assert manifest is not None
    assert manifest["status"] == "predicted"
    assert set(results(folder)) == {
        "spec.json", "weights.safetensors", "curve.csv", "losses.csv", "train.json",
        "predictions.csv", "representations.npz",
    }  # fmt: skip
    assert set(manifest["records"]) == {"env.json", "timing.json"}
    assert folder.verify() == []
    assert not (folder / "checkpoints").exists()
    own = predictions.read(folder / "predictions.csv")
    assert list(own) == [f"test{i}" for i in range(6)]


def test_equal_specs_give_equal_results(tmp_path: Path) -> None:
    first, second = run(tmp_path / "a"), run(tmp_path / "b")
    assert results(first) == results(second)
    other = run(tmp_path / "a", replace(SPEC, seed=1))
    assert results(other)["weights.safetensors"] != results(first)["weights.safetensors"]


@pytest.mark.parametrize(
    "lost",
    [
        ["manifest.json"],
        ["manifest.json", "predictions.csv"],
        ["manifest.json", "predictions.csv", "env.json"],
    ],
)
def test_what_is_done_is_not_done_again(tmp_path: Path, lost: list[str]) -> None:
    folder = run(tmp_path)
    before = results(folder)
    trained = (folder / "weights.safetensors").stat().st_mtime_ns
    for name in lost:
        (folder / name).unlink()
    (folder / ".predictions.csv.1.part").write_text("half")
    assert results(run(tmp_path)) == before
    assert (folder / "weights.safetensors").stat().st_mtime_ns == trained
    assert not (folder / ".predictions.csv.1.part").exists()


def test_without_the_record_of_training_it_trains_again(tmp_path: Path) -> None:
    folder = run(tmp_path)
    before = results(folder)
    for name in ("manifest.json", "train.json", "predictions.csv"):
        (folder / name).unlink()
    assert results(run(tmp_path)) == before


def test_first_steps_again(tmp_path: Path) -> None:
    spec = replace(SPEC, stages=TWO_STAGES)
    folder = run(tmp_path, spec)
    with (folder / "losses.csv").open() as file:
        sealed = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    work = Workspace(tmp_path / "runs", tmp_path / "cache")
    again = rerun(spec, work, RunFolder(tmp_path / "again", spec.run_id), 3)
    assert again == sealed[:3]


def test_initial_weights_are_the_seeds(tmp_path: Path) -> None:
    work = Workspace(tmp_path, tmp_path)

    def first(spec: RunSpec) -> list[float]:
        return initial_model(spec, work).out.weight[0].tolist()

    assert first(SPEC) == first(SPEC) != first(replace(SPEC, seed=1))


class Coded(Toy):
    """A model beside an image tokenizer, whose code book it is told the size of."""

    def __init__(self, *given: Any, codebook_size: int, **more: Any) -> None:
        super().__init__(*given, **more)


class Drawn(Frozen):
    """A tokenizer whose construction draws random numbers, as any network's does."""

    def __init__(self, weights: Any = None) -> None:
        super().__init__(weights)
        self.book = torch.nn.Parameter(torch.rand(16))


def test_initial_weights_do_not_depend_on_what_the_process_did_before(tmp_path: Path) -> None:
    """The tokenizer is built for the first run that reads codes, and kept for the next ones."""
    part = PartSpec(f"{__name__}.Coded", {"dropout": 0.2})
    spec = replace(SPEC, model=part, tokenizer=PartSpec(f"{__name__}.Drawn"))
    work = Workspace(tmp_path, tmp_path)
    first, second = (initial_model(spec, work).state_dict() for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_a_pretraining_writes_no_reports(tmp_path: Path) -> None:
    folder = run(tmp_path, replace(SPEC, kind="pretrain", selection=SelectionSpec("loss")))
    manifest = folder.manifest
    assert manifest is not None
    assert manifest["status"] == "pretrained"
    assert "predictions.csv" not in results(folder)
    work = Workspace(tmp_path / "runs", tmp_path / "cache")
    name = f"run:{folder.run_id}"
    reference = work.reference(name)
    assert reference == f"{name}@{file_digest(folder / 'weights.safetensors')}"
    assert work.path(reference) == folder / "weights.safetensors"
    (folder / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(DataError, match="have changed"):
        work.path(reference)


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": replace(SPEC.data, manifest="0" * 64)}, "made is not the one of this run"),
        ({"data": replace(SPEC.data, target="toy.lood")}, "no such dataset reader: 'toy.lood'"),
        ({"data": replace(SPEC.data, params={"trian": 3})}, "trian"),
        ({"model": PartSpec("toy.Toi")}, "no such target: 'toy.Toi'"),
        ({"model": PartSpec("toys.Toy")}, "no such target: 'toys.Toy'"),
        ({"model": PartSpec("toy.Toy", {"hiden": 3})}, "hiden"),
        ({"model": PartSpec("toy.Toy", {}, {"visual": "run:gone-s0@ab"})}, "no pretrained weights"),
    ],
)
def test_errors_name_the_thing(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(BenchError, match=words):
        run(tmp_path, replace(SPEC, **change))


# --- scoring -----------------------------------------------------------------------------------

METRICS = ["chexpert-rules"]  # needs neither Java nor weights


@pytest.fixture
def scored(tmp_path: Path) -> tuple[Workspace, RunFolder]:
    folder = run(tmp_path)
    work = Workspace(tmp_path / "runs", tmp_path / "cache")
    assess(SPEC, work, folder, METRICS)
    return work, folder


def test_scores_are_sealed_with_what_they_depend_on(scored: tuple[Workspace, RunFolder]) -> None:
    _, folder = scored
    assert folder.verify() == []
    manifest = folder.manifest
    assert manifest is not None
    assert manifest["status"] == "scored"
    assert is_scored(SPEC, folder, METRICS)
    assert not is_scored(SPEC, folder, [*METRICS, "chexpert-rules-uncertain"])
    rows = json.loads((folder / "scores.json").read_text())
    assert {row["stratum"] for row in rows} >= {"all"}
    assert all(0 <= row["value"] <= 1 for row in rows)


def test_other_predictions_are_scored_anew(scored: tuple[Workspace, RunFolder]) -> None:
    _, folder = scored
    key = scoring_key(SPEC, folder, METRICS)
    path = folder / "predictions.csv"
    path.write_text(path.read_text().replace("test0,", "test0,nodule "))
    assert scoring_key(SPEC, folder, METRICS) != key
    assert not is_scored(SPEC, folder, METRICS)


def test_scoring_twice_gives_the_same_bytes(scored: tuple[Workspace, RunFolder]) -> None:
    work, folder = scored
    before = results(folder)
    assess(SPEC, work, folder, METRICS)
    assert results(folder) == before


OTHER = "chexpert-rules-uncertain"


def without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that lacks a metric's weights."""

    def refuse(self: object) -> None:
        raise MissingError("no weights", "get them")

    monkeypatch.setattr(type(registry.load(name)), "require", refuse)


def test_scores_from_a_machine_with_more_weights_are_kept(
    scored: tuple[Workspace, RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    work, folder = scored
    assess(SPEC, work, folder, [OTHER])
    assert {r["family"] for r in json.loads((folder / "scores.json").read_text())} == {OTHER}
    before = json.loads((folder / "scores.json").read_text())
    without(OTHER, monkeypatch)
    for metrics in (METRICS, [*METRICS, OTHER]):
        assess(SPEC, work, folder, metrics)
        assert is_scored(SPEC, folder, metrics)
        assert folder.verify() == []
        rows = json.loads((folder / "scores.json").read_text())
        assert [r for r in rows if r["family"] == OTHER] == before
        assert {r["family"] for r in rows} == {OTHER, *METRICS}
        tables = Scored.load(folder / "scores.npz").statistics
        assert {family for _, family in tables} == {OTHER, *METRICS}


def test_controls_of_families_that_are_not_asked_for_go(
    scored: tuple[Workspace, RunFolder],
) -> None:
    work, folder = scored
    (folder / "scores_shuffled.npz").write_bytes(b"of an earlier scoring")
    assess(SPEC, work, folder, METRICS)
    assert not (folder / "scores_shuffled.npz").exists()
    assert folder.verify() == []


def test_a_scoring_that_dies_leaves_no_seal_on_half_of_it(
    scored: tuple[Workspace, RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    work, folder = scored

    def die(*_: Any, **__: Any) -> Callable[..., None]:
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.runs.score.write_json", die)
    with pytest.raises(KeyboardInterrupt):
        assess(SPEC, work, folder, [*METRICS, "chexpert-rules-uncertain"])
    assert not is_scored(SPEC, folder, METRICS)
