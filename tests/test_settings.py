"""Every setting has a type and a range, refused before anything is planned, named or computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_training import SPEC

from bench.__main__ import main
from bench.canonical import from_dict, to_dict
from bench.config import compose, names
from bench.data import load
from bench.errors import BenchError
from bench.spec import RunSpec

RUN = ("run", "single", "model=base", "budget=tiny", "--dry-run")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("budget.threads=99999", "budget.threads=99999"),
        ("budget.threads=-1", "budget.threads=-1"),
        ("budget.amount=0", "is not enough for one step"),
        ("budget.amount=nan", "budget.amount=nan"),
        ("budget.batch=0", "budget.batch=0"),
        ("budget.crops=0", "budget.crops=0"),
        ("budget.crops=two", "budget.crops=two: expected a number"),
        ("budget.selection.evaluations=0", "budget.selection.evaluations=0"),
        ("budget.selection.studies=-1", "budget.selection.studies=-1"),
        ("decode.top_k=-1", "decode.top_k=-1"),
        ("decode.length_penalty=nan", "decode.length_penalty=nan"),
        ("decode.length_penalty=.inf", "decode.length_penalty"),
        ("decode.beam_size=0", "decode.beam_size=0"),
        ("decode.temperature=0", "decode.temperature=0"),
        ("seed=1.5", "seed"),
        ("seed=1e99", "seed"),
        ("seed=-1", "seed=-1"),
        ("seed=abc", "seed=abc: expected a number"),
        ("seed='x/../../../pwned'", "seed=x/../../../pwned: expected a number"),
        ("deterministic=maybe", "deterministic=maybe: expected true or false"),
        ("deterministic=1", "deterministic=1: expected true or false"),
        ("dataset.train=abc", "dataset.train=abc: expected a number"),
        ("dataset.train=1.5", "dataset.train=1.5: expected a whole number"),
        ("dataset.train=-3", "synthetic data cannot have dataset.train=-3"),
        ("dataset.test=-1", "give from 1 to 1000000 studies"),
        ("dataset.train=1000000000", "would take 3,000 GB of memory"),
        ("dataset.size=1000000000", "give from 32 to 2048 pixels"),
        ("dataset.seed=-1", "synthetic data cannot have dataset.seed=-1"),
        ("dataset.image_views=0", "dataset.image_views=0"),
        ("dataset.sample=-1", "dataset.sample=-1"),
        ("tune=-1", "tune=-1"),
        ("tune=1.5", "tune=1.5"),
        ("tune=1000000000", "at most 100"),
        ("tokenizer=nothing", "unknown image_tokenizer 'nothing'"),
        (
            "+model.train.accumulate=3",
            "budget.batch=16 is not a multiple of",
        ),
        ("budget.batch=1.5", "error: budget.batch: expected int"),
        ("budget.precision=fp99", "unknown budget.precision"),
        ("model.train.optimizer.name=sgd", "unknown model.train.optimizer.name"),
        ("seed=[1,2]", "seed=[1, 2]: expected a whole number"),
        ("seed={a: 1}", "expected a whole number"),
        ("deterministic=null", "deterministic=null: deterministic is needed"),
        ("model.train=null", "model.train=null: model.train is needed"),
        ("model._target_=null", "model._target_=null: model._target_ is needed"),
        ("dataset.train=null", "dataset.train=null: dataset.train is needed"),
        ("dataset.name=../../x", "dataset.name=../../x is no name"),
        ("~seed", "~seed removes what every run needs"),
        ("~dataset.test", "~dataset.test removes what every run needs"),
        ("+foo=1", "unknown setting 'foo'"),
        ("+budget.amout=2", "unknown setting 'budget.amout'"),
        ("++model.target=os.system", "unknown setting 'model.target'"),
        ("~model", "~model removes what every run needs"),
        ("model=uar", "model is given twice: model=base, model=uar"),
        ("model.name=3", "model.name=3: expected a text"),
        ("model.params.dropout=abc", "model.params.dropout=abc: expected a number"),
        ("hydra.run.dir=", "hydra.run.dir is not a setting"),
        ("hydra/job_logging=none", "is not a setting"),
    ],
)
def test_a_setting_of_another_type_or_range_is_refused_before_the_plan(
    setting: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [f"--out={tmp_path / 'runs'}", f"--cache={tmp_path / 'cache'}"]
    assert main([*RUN, setting, *places]) == 2
    out, error = capsys.readouterr()
    assert said in error
    assert not out  # no plan was printed
    assert not list(tmp_path.iterdir())


def test_a_pretraining_is_not_named_after_what_is_no_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a" / "b" / "runs"
    command = ["pretrain", "dvae", 'seed="x/../../../pwned"', f"--out={out}"]
    assert main([*command, f"--cache={tmp_path / 'cache'}"]) == 2
    assert "seed=x/../../../pwned: expected a number" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("amount", ["0", "-5"])
def test_the_budget_of_a_pretraining_is_the_one_that_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], amount: str
) -> None:
    places = [f"--out={tmp_path / 'runs'}", f"--cache={tmp_path / 'cache'}"]
    assert main(["pretrain", "dvae", f"budget.amount={amount}", *places]) == 2
    assert "budget" in capsys.readouterr().err


def test_what_the_user_says_of_a_pretraining_stands() -> None:
    from bench.runs.workspace import Workspace
    from bench.suites.composer import Composer

    work = Workspace()
    given = Composer(work, None, ["budget=tiny", "budget.amount=480", "budget.batch=8"])
    asked, for_rows = (given.pretraining("dvae", asked=a) for a in (True, False))
    assert (asked.budget.amount, asked.train.batch) == (480, 8)
    assert (for_rows.budget.amount, for_rows.train.batch) == (1600, 16)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "ablations", "--seeds", "0"],
        ["run", "ablations", "--jobs", "-4"],
        ["verify", "--rerun", "-1"],
        ["table", "table1", "--seeds", "0"],
        ["report", "--seeds", "x"],
        ["board", "publish", "ablations", "--seeds", "0"],
        ["perf", "decode", "--repeats", "0"],
        ["perf", "decode", "--studies", "-5"],
        ["perf", "score", "--pairs", "abc"],
        ["perf", "score", "--pairs", ""],
        ["power", "--studies", "-5"],
        ["power", "--folds", "0"],
        ["power", "--difference", "nan"],
    ],
)
def test_options_have_ranges_too(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert arguments[-2] in capsys.readouterr().err


def test_no_metric_is_no_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "a", "b", "--metric", ""]) == 2
    assert "--metric names no score" in capsys.readouterr().err
    assert main(["compare", "a", "b", "--metric", ","]) == 2
    assert main(["score", "a.csv", "--metrics", " ,"]) == 2


@pytest.mark.parametrize("device", ["gpu", "cuda:1", " cpu", "CPU"])
def test_a_device_that_is_none(
    device: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENCH_DEVICE", device)
    assert main([*RUN]) == 2
    assert f"BENCH_DEVICE={device}" in capsys.readouterr().err


@pytest.mark.parametrize("suite", names("suite"))
def test_the_projects_own_settings_are_of_their_types(suite: str) -> None:
    from bench.suites.suite import load_suite

    for row in load_suite(suite).rows:
        if row.model:
            compose([f"model={row.model}", "budget=tiny", *row.overrides])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": "a/b"}, "seed"),
        ({"data": {**to_dict(SPEC.data), "name": "../../x"}}, "data.name=../../x is no name"),
        ({"train": {"optimizer": {"rates": {"rest": -1}}}}, "train.optimizer.rates=-1"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": True}, "seed"),
        ({"deterministic": "maybe"}, "deterministic"),
        ({"train": {"threads": 10**6}}, "train.threads=1e+06"),
        ({"train": {"optimizer": {"rates": {"rest": float("inf")}}}}, "rates=inf"),
        ({"train": {"optimizer": {"betas": [2, 0.9]}}}, "betas=2"),
        ({"stages": [{"share": float("nan")}]}, "stages.share=nan"),
        ({"selection": {"beam_size": 0}}, "selection.beam_size=0"),
    ],
)
def test_a_strangers_spec_has_the_same_ranges(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BenchError) as caught:
        from_dict(RunSpec, {**to_dict(SPEC), **change})
    assert said in str(caught.value)
    assert from_dict(RunSpec, to_dict(SPEC)) == SPEC


@pytest.mark.parametrize("data", [[], None, "x", 3, {"data": []}, {"kind": {}}])
def test_what_is_no_spec_is_named(data: Any) -> None:
    with pytest.raises(BenchError, match="spec"):
        from_dict(RunSpec, data, "spec.json")


def test_a_spec_that_is_nested_without_end() -> None:
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    part = {"target": "toy.Toy", "params": {"x": deep}}
    with pytest.raises(BenchError, match="levels deep"):
        from_dict(RunSpec, {**to_dict(SPEC), "model": part})
    assert replace(SPEC, seed=3).seed == 3


def test_readers_take_their_types() -> None:
    with pytest.raises(BenchError, match=r"dataset\.size=true|dataset\.size=True"):
        load("bench.data.synthetic.load", size=True)
    with pytest.raises(BenchError, match=r"dataset\.manifest=3: expected a text"):
        load("bench.data.iu_xray.load", manifest=3)
