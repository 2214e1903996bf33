"""Trials: their order, the same number for every row, what is chosen and where it is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.runs.workspace import Workspace
from bench.spec import BudgetSpec, RunSpec
from bench.store import RunFolder, write_json
from bench.suites.composer import Composer
from bench.suites.plan import Plan, make_plan
from bench.suites.suite import Row
from bench.suites.tuning import RATE, alternatives, grid, shortened, tried

TINY = ["dataset.train=6", "dataset.val=2", "dataset.test=3", "dataset.size=48", "budget=tiny"]


class Tried:
    """Stands for trials and pretrainings: seals each with the score that it is given."""

    def __init__(self, out: Path, score: Callable[[RunSpec], float]) -> None:
        self.out, self.score, self.trials = out, score, list[RunSpec]()

    def __call__(self, *specs: RunSpec) -> None:
        for spec in specs:
            folder = RunFolder(self.out, spec.run_id)
            folder.path.mkdir(parents=True, exist_ok=True)
            (folder / "weights.safetensors").write_text("codes")
            if spec.kind == "trial":
                self.trials.append(spec)
                write_json(folder / "train.json", {"best": {"score": self.score(spec)}})
                folder.seal(status="tried")


def planned(folder: Path, pretrain: Tried | None, *more: str) -> Plan:
    work = Workspace(folder, folder)
    return make_plan("table1", [*TINY, *more], work, pretrain)


def test_the_order_is_from_the_centre() -> None:
    rates = [change[RATE] for change in grid(7, {})]
    assert rates == [1, 1 / 2, 2, 1 / 4, 4, 1 / 8, 8]
    tunable = {"params.dropout": [0.1, 0.3]}
    assert grid(6, tunable) == [
        {RATE: 1}, {RATE: 1 / 2}, {RATE: 2}, {"params.dropout": 0.1}, {"params.dropout": 0.3},
        {RATE: 1 / 4},
    ]  # fmt: skip
    assert grid(0, tunable) == []
    with pytest.raises(BenchError, match="tune=-1"):
        grid(-1, {})


def test_what_never_looks_at_validation_cannot_choose(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"selection\.metric=last never looks"):
        planned(tmp_path, None, "tune=2", "budget.selection.metric=last")


def test_a_setting_that_the_model_does_not_have_is_refused() -> None:
    config = {"model": {"params": {"dropout": 0.1}}}
    assert tried(config, {"params.dropout": 0.3})["model"]["params"] == {"dropout": 0.3}
    assert config["model"]["params"] == {"dropout": 0.1}
    with pytest.raises(BenchError, match="dropuot"):
        tried(config, {"params.dropuot": 0.3})


@pytest.mark.parametrize("share", [0, 1.5])
def test_a_share_is_a_share(share: float, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="tune_share"):
        planned(tmp_path, Tried(tmp_path, lambda spec: 0.0), "tune=1", f"tune_share={share}")


def test_every_row_gets_as_many_trials_and_the_best_of_its_own(tmp_path: Path) -> None:
    """Scores favour a rate of 6e-3, twice what the preset gives to all."""
    best = Tried(tmp_path, lambda spec: -abs(spec.train.optimizer.rates["rest"] - 6e-3))
    plan = planned(tmp_path, best, "tune=3", "tune_share=0.5")
    rows = [p for p in plan.runs if p.origin == "trained"]
    assert len(rows) == 8
    assert len(best.trials) == len(plan.trials) == 3 * 8
    for p in rows:
        tuning = p.spec.tuning
        assert tuning is not None
        assert (tuning.trials, tuning.share, tuning.chosen) == (3, 0.5, {RATE: 2.0})
        assert p.spec.train.optimizer.rates == {"rest": 6e-3, "visual": 6e-3}
        own = [spec for spec in best.trials if spec.run_id in tuning.runs]
        assert len(own) == 3
        assert {spec.model.target for spec in own} == {p.spec.model.target}
        assert {spec.budget.amount for spec in own} == {p.spec.budget.amount / 2}
        assert {spec.kind for spec in own} == {"trial"}
        assert p.spec.budget.amount == 1600


def test_of_equals_the_values_of_the_yaml(tmp_path: Path) -> None:
    plan = planned(tmp_path, Tried(tmp_path, lambda spec: 0.3), "tune=5")
    plain = planned(tmp_path, Tried(tmp_path, lambda spec: 0.3))
    for tuned, untuned in zip(plan.runs, plain.runs, strict=True):
        assert tuned.spec.train == untuned.spec.train
        if tuned.origin == "trained":
            assert tuned.spec.spec_id != untuned.spec.spec_id
            assert tuned.spec.derived_seed("order") == untuned.spec.derived_seed("order")
            assert untuned.spec.tuning is None


def test_all_seeds_of_a_row_share_its_trials(tmp_path: Path) -> None:
    best = Tried(tmp_path, lambda spec: 0.3)
    work = Workspace(tmp_path, tmp_path)
    plan = make_plan("table1", [*TINY, "tune=2"], work, best, ["BASE"], seeds=3)
    assert {spec.seed for spec in best.trials} == {0}
    assert len(best.trials) == 2
    assert len({p.spec.spec_id for p in plan.runs if p.origin == "trained"}) == 1


def test_a_reader_leaves_out_rows_whose_trials_have_not_run(tmp_path: Path) -> None:
    plan = planned(tmp_path, None, "tune=2")
    assert all(p.origin == "floor" for p in plan.runs)
    assert any("BASE: waits for its trials" in line for line in plan.waiting)


def test_what_a_model_calls_tunable_is_one_of_its_settings(tmp_path: Path) -> None:
    composer = Composer(Workspace(tmp_path, tmp_path), Tried(tmp_path, lambda spec: 0.0), TINY)
    for name in ("r2gen", "r2gencmn", "uar"):
        config = composer.config([f"model={name}"])
        other = alternatives(config["model"])
        assert all(len(values) >= 1 for values in other.values())
        plain = composer.row(Row(name, name))
        for change in grid(3 + len(other), other)[3:]:
            assert RATE not in change
            assert composer.spec(tried(config, change), 0) != plain


def test_a_trial_goes_through_the_whole_schedule_on_its_share(tmp_path: Path) -> None:
    composer = Composer(Workspace(tmp_path, tmp_path), None, ["budget=medium"])
    whole = composer.row(Row("R2Gen", "r2gen"))
    trial = shortened(whole, 0.25)
    assert trial.budget == BudgetSpec("examples", whole.budget.amount / 4)
    assert trial.train.schedule.every_epochs == whole.train.schedule.every_epochs / 4 > 0
    assert replace(trial, budget=whole.budget, train=whole.train) == whole


def test_no_trial_is_spent_on_a_part_that_is_off(tmp_path: Path) -> None:
    composer = Composer(Workspace(tmp_path, tmp_path), None, TINY)
    name = "params.triplet.negatives"
    on, off = (
        alternatives(composer.config(["model=uar", f"model.params.align={value}"])["model"])
        for value in ("true", "false")
    )
    assert list(on) == [name]
    assert off == {}
