"""Publishing to a board: rows are added, and what would change or mix them is refused."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from made import DATA, PARAMS, SUITE, make, seal
from toy import load

from bench.__main__ import main
from bench.boards.publish import _refuse_unnamed
from bench.boards.rows import read_rows
from bench.boards.validate import validate
from bench.config import load_yaml
from bench.data.registry import parameters
from bench.errors import BenchError
from bench.metrics import ptb
from bench.metrics.predictions import PREDICTIONS
from bench.reporting import summary
from bench.runs.score import assess
from bench.runs.workspace import Workspace
from bench.spec import BudgetSpec, DataSpec, DecodeSpec, PartSpec, RunSpec
from bench.store import RunFolder
from bench.suites.plan import Plan, Planned
from bench.suites.suite import load_suite


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Runs of this test's own, published: they may be scored again."""
    plan, work = make(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ptb, "tokenize", lambda texts: [t.replace(" .", "") for t in texts])
    monkeypatch.setattr(summary, "load_suite", lambda _: SUITE)
    own = Bench(plan, work, monkeypatch)
    assert own.publish(plan) == 0
    return own


@dataclass
class Bench:
    plan: Plan
    work: Workspace
    patch: pytest.MonkeyPatch
    board: Path = Path("b/v0")

    def publish(self, plan: Plan) -> int:
        self.patch.setattr("bench.commands.board.make_plan", lambda *_, **__: plan)
        return main(["board", "publish", "toys", "--board", "b/v0", "--out", str(self.work.out)])

    def retract(self, run_id: str) -> int:
        return main(["board", "retract", run_id, "--board", "b/v0", "--reason", "by mistake"])

    def row(self, name: str) -> Planned:
        return next(p for p in self.plan.runs if p.name == name)

    def score(self, metrics: tuple[str, ...]) -> None:
        for planned in self.plan.runs:
            folder = RunFolder(self.work.out, planned.spec.run_id)
            assess(planned.spec, self.work, folder, metrics)

    def sealed(self, name: str, **values: Any) -> Planned:
        """The row's first run with other values in its spec, trained and scored."""
        planned = self.row(name)
        other = replace(planned, spec=replace(planned.spec, **values))
        seal(other, 0.95, self.work)
        return other

    def put(self, *runs: Planned) -> None:
        """Publish behind the back of the rule that runs of a row are its seeds."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bench.boards.publish.refuse_mixed", lambda *_: None)
            assert self.publish(replace(self.plan, runs=runs)) == 0

    def read(self) -> summary.Summary:
        return summary.Summary.of_board("toys", "made", self.board, self.work)

    def files(self) -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in self.board.rglob("*") if p.is_file()}


OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"budget": BudgetSpec("steps", 300.0)}, "budget.amount (3.0, 300.0)"),
    ({"code": "edited"}, "code (, edited)"),
    ({"decode": DecodeSpec(beam_size=1), "seed": 7}, "decode.beam_size (3, 1)"),
]


@pytest.mark.parametrize(("values", "said"), OTHERS)
def test_runs_of_another_spec_are_no_seeds_of_a_row(
    bench: Bench, values: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, other = bench.row("BASE"), bench.sealed("BASE", **values)
    before = bench.files()
    assert bench.publish(replace(bench.plan, runs=(other,))) == 2
    message = capsys.readouterr().err
    for part in ("BASE has runs of 2 specs", said, first.spec.run_id, other.spec.run_id, "retract"):
        assert part in message
    assert bench.files() == before

    bench.put(other)
    [problem] = validate(bench.board)
    assert f"they differ in {said}" in problem
    with pytest.raises(BenchError, match="BASE has runs of 2 specs") as caught:
        bench.read()
    assert "bench board retract RUN" in caught.value.hint
    assert bench.retract(first.spec.run_id) == 0
    assert validate(bench.board) == []
    assert bench.read().keys["BASE"] == (other.spec.run_id,)


def test_the_way_out_of_a_mixture_can_be_gone(bench: Bench) -> None:
    other = bench.sealed("BASE", budget=BudgetSpec("steps", 300.0))
    assert bench.retract(bench.row("BASE").spec.run_id) == 0
    assert bench.publish(replace(bench.plan, runs=(other,))) == 0
    assert validate(bench.board) == []


def test_floors_alone_are_not_published(
    bench: Bench, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The suite without its settings: no trained run of these specs is here."""
    runs = tuple(p if p.origin == "floor" else _longer(p) for p in bench.plan.runs)
    before = bench.files()
    assert bench.publish(replace(bench.plan, runs=runs)) == 2
    said = capsys.readouterr().err
    assert "only the floors are sealed" in said
    assert "bench board publish toys key=value" in said
    assert bench.files() == before
    assert bench.publish(replace(bench.plan, runs=(*bench.plan.runs, runs[-1]))) == 0
    out = capsys.readouterr().out
    assert f"good seed 1: not published, no scored run {runs[-1].spec.run_id}" in out


def test_a_board_of_data_that_are_not_ours_shows_no_text_and_may_hold_none(bench: Bench) -> None:
    assert bench.read().published
    assert not bench.read().shows_data
    assert not [path for path in bench.files() if path.name == PREDICTIONS]
    run = bench.plan.runs[-1].spec.run_id
    shutil.copy(bench.work.out / run / PREDICTIONS, bench.board / "runs" / run)
    [problem] = validate(bench.board)
    assert problem.endswith(f"{run}/{PREDICTIONS}: reports of made are not to be published")


def test_another_seed_is_a_seed(bench: Bench) -> None:
    other = bench.sealed("BASE", seed=1)
    assert bench.publish(replace(bench.plan, runs=(other,))) == 0
    assert validate(bench.board) == []
    assert bench.read().keys["BASE"] == (bench.row("BASE").spec.run_id, other.spec.run_id)


def test_runs_on_other_data_are_not_shown_beside(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = {**PARAMS, "sentences": 3}
    monkeypatch.setattr("made.DATASET", load(**params))
    data = replace(DATA, manifest=load(**params).manifest, params=params)
    # Under a name of its own, so that no row is of two specs.
    other = replace(bench.sealed("BASE", data=data), name="absent")
    assert bench.publish(replace(bench.plan, runs=(other,))) == 2
    assert "runs on different data" in capsys.readouterr().err
    bench.put(other)
    [problem] = validate(bench.board)
    assert f"{DATA.manifest[:16]} (run " in problem
    assert f"{data.manifest[:16]} (run {other.spec.run_id})" in problem
    with pytest.raises(BenchError, match="runs on different data"):
        bench.read()


@pytest.mark.parametrize("metrics", [("BLEU", "chexpert-rules"), ("BLEU",)])
def test_a_run_scored_with_other_metrics_does_not_replace_its_statistics(
    bench: Bench, metrics: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = bench.files()
    bench.score(metrics)
    assert bench.publish(bench.plan) == 2
    message = capsys.readouterr().err
    assert f"CIDEr (r2gen@1, all, floor, run {bench.row('constant').spec.run_id})" in message
    assert "scores here lack it: CIDEr" in message
    assert "--metrics BLEU,CIDEr" in message
    assert bench.files() == before
    assert validate(bench.board) == []


def test_a_run_scored_with_more_metrics_gains_rows(bench: Bench) -> None:
    before = read_rows(bench.board / "made.csv")
    bench.score(("BLEU", "CIDEr", "chexpert-rules"))
    assert bench.publish(bench.plan) == 0
    rows = read_rows(bench.board / "made.csv")
    assert rows[: len(before)] == before
    assert len(rows) > len(before)
    assert validate(bench.board) == []


def test_more_metrics_are_rows_under_every_name_of_a_run(bench: Bench) -> None:
    other = replace(bench.row("BASE"), name="absent")
    assert bench.publish(replace(bench.plan, runs=(other,))) == 0
    bench.score(("BLEU", "CIDEr", "chexpert-rules"))
    assert bench.publish(replace(bench.plan, runs=(other,))) == 0
    assert validate(bench.board) == []


def test_other_scores_under_another_name_are_refused(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    before = bench.files()
    planned = bench.row("BASE")
    seal(planned, 0.8, bench.work)
    assert bench.publish(replace(bench.plan, runs=(replace(planned, name="absent"),))) == 2
    assert "with other values than this run: value is" in capsys.readouterr().err
    assert bench.files() == before


def test_a_retracted_run_is_not_published_again(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    run = bench.row("BASE").spec.run_id
    seal(bench.row("BASE"), 0.5, bench.work)
    assert bench.publish(bench.plan) == 2
    assert "retract" not in capsys.readouterr().err  # it would be of no help
    assert bench.retract(run) == 0
    before = bench.files()
    for share in (0.5, 0.3):  # other numbers, and those that were retracted
        seal(bench.row("BASE"), share, bench.work)
        assert bench.publish(bench.plan) == 2
        message = capsys.readouterr().err
        assert f"run {run} was retracted from b/v0/made.csv (by mistake)" in message
        assert f"move {bench.work.out / run} away" in message
    assert bench.files() == before
    # What the message says can be done.
    (bench.work.out / run).rename(bench.work.out.parent / "away")
    assert bench.publish(bench.plan) == 0
    assert bench.publish(replace(bench.plan, runs=(bench.sealed("BASE", seed=1),))) == 0
    assert validate(bench.board) == []


def _longer(planned: Planned) -> Planned:
    return replace(planned, spec=replace(planned.spec, budget=BudgetSpec("steps", 9)))


@pytest.mark.parametrize(
    ("changes", "refused"),
    [({}, False), ({"views": "all"}, True), ({"subset": "present"}, True), ({"sample": 9}, True)],
)
def test_only_datasets_that_a_yaml_names_are_published(changes: dict, refused: bool) -> None:
    """Frontal and all views must not share a board's file and a command that makes it again."""
    params = {**parameters(load_yaml("dataset", "mimic_cxr")), **changes}
    data = DataSpec("mimic_cxr", "bench.data.mimic_cxr.load", "m", params)
    spec = RunSpec("floor", data, PartSpec("x"), "c")
    plan = Plan("toys", load_suite("single"), "mimic_cxr", (Planned("x", "floor", "x", spec),))
    if not refused:
        _refuse_unnamed(plan)
        return
    with pytest.raises(BenchError, match=rf"dataset\.{next(iter(changes))}="):
        _refuse_unnamed(plan)
