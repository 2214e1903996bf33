"""From a suite and overrides to specs: what is shared, what differs, what waits."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.canonical import to_dict
from bench.config import names
from bench.errors import BenchError, DataError
from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.store import RunFolder, file_digest, write_json
from bench.suites.composer import Composer
from bench.suites.plan import Plan, Planned, make_plan
from bench.suites.suite import Row
from bench.suites.work import Job
from bench.terminal import Progress

TINY = ["dataset.train=6", "dataset.val=2", "dataset.test=3", "dataset.size=48", "budget=tiny"]
WITH_CODES = {"a", "e", "f", "UAR", "uniform", "normal", "no_gate", "addition"}


class Pretrained:
    """Stands for the training of image tokenizers: writes a file of the content it is given."""

    def __init__(self, out: Path, content: str = "codes") -> None:
        self.out, self.content, self.specs = out, content, list[RunSpec]()

    def __call__(self, *specs: RunSpec) -> None:
        for spec in specs:
            self.specs.append(spec)
            folder = RunFolder(self.out, spec.run_id)
            folder.path.mkdir(parents=True, exist_ok=True)
            (folder / "weights.safetensors").write_text(self.content)


def trained(plan: Plan) -> list[Planned]:
    return [p for p in plan.runs if p.origin == "trained"]


@pytest.fixture(scope="module")
def ablations(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Pretrained]:
    out = tmp_path_factory.mktemp("runs")
    pretrain = Pretrained(out)
    return make_plan("ablations", TINY, Workspace(out, out), pretrain), pretrain


def planned(folder: Path, name: str = "table2", *more: str, **options: object) -> Plan:
    work = Workspace(folder / "runs", folder / "cache")
    pretrain = Pretrained(work.out)
    return make_plan(name, [*TINY, *more], work, pretrain, **options)  # type: ignore[arg-type]


def test_twelve_trainings_and_six_floors(ablations: tuple[Plan, Pretrained]) -> None:
    plan, _ = ablations
    floors = ["constant", "constant_cider", "frequent", "no_finding", "random", "nearest"]
    assert [p.name for p in plan.runs[:6]] == floors
    assert [p.origin for p in plan.runs] == ["floor"] * 6 + ["trained"] * 12
    assert len(plan.distinct()) == 18
    assert plan.dataset == "synthetic"
    assert len({p.spec.code for p in plan.runs if p.model == "uar"}) <= 2


def test_all_rows_have_one_budget_decoding_and_data(ablations: tuple[Plan, Pretrained]) -> None:
    plan, _ = ablations
    specs = [p.spec for p in plan.runs if p.origin == "trained"]
    for part in ("budget", "decode", "data", "selection", "seed", "protocol"):
        assert len({repr(getattr(spec, part)) for spec in specs}) == 1, part
    assert len({repr(s.data) for s in specs} | {repr(p.spec.data) for p in plan.runs}) == 1


def test_one_pretraining_serves_all_rows_with_codes(ablations: tuple[Plan, Pretrained]) -> None:
    plan, pretrain = ablations
    [spec] = pretrain.specs
    assert spec.kind == "pretrain"
    assert plan.pretrained == (spec,)
    digest = file_digest(RunFolder(pretrain.out, spec.run_id) / "weights.safetensors")
    for row in plan.runs[6:]:
        tokenizer = row.spec.tokenizer
        assert (tokenizer is not None) == (row.name in WITH_CODES), row.name
        if tokenizer is not None:
            assert tokenizer.weights == {"dvae": f"seeded:{spec.run_id}@{digest}"}
            assert dict(tokenizer.params) == dict(spec.model.params)


def test_the_tokenizer_follows_the_seed(tmp_path: Path) -> None:
    """Each seed of a row has a tokenizer of its own, and the seeds are still one row."""
    work, pretrain = Workspace(tmp_path, tmp_path), Pretrained(tmp_path)
    plan = make_plan("table2", TINY, work, pretrain, ["a"], seeds=3)
    assert [spec.seed for spec in pretrain.specs] == [0, 1, 2]
    specs = [p.spec for p in trained(plan)]
    for spec, own in zip(specs, pretrain.specs, strict=True):
        assert spec.tokenizer is not None
        assert spec.tokenizer.weights["dvae"].startswith(f"seeded:{own.run_id}@")
        assert work.path(spec.tokenizer.weights["dvae"]) is not None
    assert len({spec.spec_id for spec in specs}) == 1
    assert [spec.run_id[-3:] for spec in specs] == ["-s0", "-s1", "-s2"]


def test_the_pretraining_is_part_of_what_uses_it(
    ablations: tuple[Plan, Pretrained], tmp_path: Path
) -> None:
    known = {p.name: p.spec.run_id for p in ablations[0].runs}
    other = planned(
        tmp_path, "table2", "budget.pretrain.amount=800", only=["BASE", "a", "d", "UAR"]
    )
    changed = {p.name for p in other.runs if p.spec.run_id != known[p.name]}
    assert changed == {"a", "UAR"}


def test_a_run_that_began_with_other_weights_is_not_taken_for_this_one(tmp_path: Path) -> None:
    work = Workspace(tmp_path, tmp_path)
    made = [
        trained(make_plan("table2", TINY, work, Pretrained(tmp_path, text), ["a"]))[0].spec
        for text in ("codes", "other codes")
    ]
    assert made[0].run_id == made[1].run_id
    folder, job = RunFolder(tmp_path, made[0].run_id), Job(work, Progress(), ())
    folder.path.mkdir(exist_ok=True)
    write_json(folder / "spec.json", to_dict(made[0]))
    folder.seal(status="predicted")
    assert job._is_finished(made[0])
    with pytest.raises(DataError, match="other weights"):
        job._is_finished(made[1])


def test_no_path_is_part_of_an_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = planned(tmp_path / "here", only=["BASE"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", "/elsewhere")
    second = planned(Path("there"), only=["BASE"])
    assert [p.spec for p in first.runs] == [p.spec for p in second.runs]
    assert str(tmp_path) not in repr(first.runs)


def test_suites_share_runs(ablations: tuple[Plan, Pretrained], tmp_path: Path) -> None:
    plan, _ = ablations
    known = {p.name: p.spec.run_id for p in plan.runs}
    for name in ("table3", "table4"):
        for p in planned(tmp_path, name).runs:
            assert p.spec.run_id == known[p.name]


def test_what_the_user_says_has_the_last_word(tmp_path: Path) -> None:
    plan = planned(
        tmp_path, "table2", "model.stages=joint", "decode.beam_size=5", only=["UAR", "d"]
    )
    for p in trained(plan):
        assert len(p.spec.stages) == 1
        assert p.spec.decode.beam_size == 5
    assert plan.runs[-1].spec.stages[0].losses["mask"] == 1


def test_budgets_and_models_do_not_change_a_floor(
    ablations: tuple[Plan, Pretrained], tmp_path: Path
) -> None:
    known = [p.spec for p in ablations[0].runs if p.origin == "floor"]
    more = ("budget.amount=320", "size.d=32", "decode.beam_size=1")
    plan = planned(tmp_path, "table2", *more, only=["BASE"])
    assert [p.spec for p in plan.runs if p.origin == "floor"] == known
    other = planned(tmp_path, "table2", "dataset.test=4", only=["BASE"])
    assert all(p.spec.data != known[0].data for p in other.runs)


def test_what_is_said_of_the_model_is_not_said_of_its_tokenizer(tmp_path: Path) -> None:
    work, pretrain = Workspace(tmp_path, tmp_path), Pretrained(tmp_path)
    composer = Composer(work, pretrain, [*TINY, "+model.params.ce=sum"])
    assert composer.row(Row("UAR", "uar")).model.params["ce"] == "sum"
    assert "ce" not in composer.pretraining("dvae").model.params
    asked = Composer(work, None, [*TINY, "+model.params.usage_weight=0.5"])
    assert asked.pretraining("dvae", asked=True).model.params["usage_weight"] == 0.5


def test_seeds(tmp_path: Path) -> None:
    plan = planned(tmp_path, "table2", "seed=5", only=["BASE"], seeds=2)
    trained = [p.spec for p in plan.runs if p.origin == "trained"]
    assert [s.run_id[-3:] for s in trained] == ["-s5", "-s6"]
    assert len({s.spec_id for s in trained}) == 1


def test_smoke(tmp_path: Path) -> None:
    plan = planned(tmp_path, only=["BASE", "a"], smoke=True)
    budgets = {(p.spec.budget.unit, p.spec.budget.amount) for p in trained(plan)}
    assert budgets == {("steps", 2.0)}
    assert {s.budget.amount for s in plan.pretrained} == {2.0}


def test_rows_that_wait_for_a_pretraining_are_left_out_by_a_reader(tmp_path: Path) -> None:
    plan = make_plan("table2", TINY, Workspace(tmp_path, tmp_path), None)
    assert [p.name for p in trained(plan)] == ["BASE", "b", "c", "d"]


@pytest.mark.parametrize(
    ("only", "more", "words"),
    [
        (["BSE"], [], "unknown row 'BSE'\n.*did you mean 'BASE'"),
        (["BASE"], ["decode.beam_size=0"], "decode.beam_size=0"),
        (["BASE"], ["budget.unit=passes"], "unknown budget.unit 'passes'"),
        (["BASE"], ["+model.train.clip={kind: norms}"], "did you mean 'norm'"),
        (["BASE"], ["budget.selection.evaluations=many"], "evaluations=many: expected a number"),
        (["BASE"], ["budget.amount=8"], "is not enough for one step of 16"),
        (["BASE"], ["+dataset.sise=3"], "sise"),
    ],
)
def test_errors_before_anything_runs(
    tmp_path: Path, only: list[str], more: list[str], words: str
) -> None:
    with pytest.raises(BenchError, match=f"(?s){words}") as caught:
        planned(tmp_path, "table2", *more, only=only)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "runs").exists()


def test_every_model_makes_a_spec(tmp_path: Path) -> None:
    composer = Composer(Workspace(tmp_path, tmp_path), Pretrained(tmp_path), TINY)
    specs = {}
    for name in names("model"):
        pretraining = composer.config([f"model={name}"])["model"].get("kind") == "pretrain"
        make: Callable[[str], RunSpec] = composer.pretraining
        specs[name] = make(name) if pretraining else composer.row(Row(name, name))
    assert len({spec.spec_id for spec in specs.values()}) == len(specs)
    assert {replace(s, seed=0).kind for s in specs.values()} <= {"train", "pretrain"}
    assert os.sep not in "".join(spec.model.target for spec in specs.values())
