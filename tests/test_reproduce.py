"""The commands that make a run again."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from made import make

from bench.__main__ import main
from bench.commands.reproduce import commands
from bench.errors import DataError
from bench.runs.workspace import Workspace
from bench.spec import BudgetSpec, DataSpec, PartSpec, RunSpec
from bench.store import RunFolder
from bench.suites.plan import Plan


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Workspace]:
    return make(tmp_path_factory.mktemp("runs"))


def test_what_is_printed(made: tuple[Plan, Workspace], capsys: pytest.CaptureFixture[str]) -> None:
    plan, work = made
    run = next(p.spec for p in plan.runs if p.name == "BASE")
    assert main(["reproduce", run.run_id[:10], "--out", str(work.out)]) == 0
    out = capsys.readouterr().out
    for said in ("commit c0ffee", f"made, manifest {run.data.manifest[:12]}", "numpy==2.0.0",
                 "A & B", "not the code here",
                 f"execute {work.out}/{run.run_id}/spec.json"):  # fmt: skip
        assert said in out


def test_of_a_board_too(
    made: tuple[Plan, Workspace], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A board keeps no predictions, yet all that the commands need."""
    plan, work = made
    spec = plan.runs[0].spec
    for name in ("manifest.json", "spec.json", "env.json"):
        path = tmp_path / "runs" / spec.run_id / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((work.out / spec.run_id / name).read_bytes())
    assert main(["reproduce", spec.run_id, "--out", str(tmp_path / "runs")]) == 0
    assert "git worktree add reproduced/code c0ffee" in capsys.readouterr().out


def test_the_order_of_the_commands() -> None:
    """Data, then weights, then pretraining, then the run, then the comparison."""
    spec = RunSpec(
        "train",
        data=DataSpec("iu_xray", "bench.data.iu_xray.load", "m"),
        model=PartSpec("uar.model.UAR", {}, {"visual": "resnet@12", "text": "random"}),
        code="",
        tokenizer=PartSpec("uar.dvae.DVAE", {}, {"dvae": "run:ab-s0@34"}),
        budget=BudgetSpec("steps", 1.0),
    )
    found = commands(spec, {"commit": "c0ffee+dirty"}, Path("runs") / spec.run_id)
    assert [line.partition("  #")[0] for line in found] == [
        "git worktree add reproduced/code c0ffee",
        "# the run was made from files that differ from this commit",
        "pip install -e reproduced/code",
        "bench data check iu_xray",
        "bench weights verify resnet",
        "bench execute runs/ab-s0/spec.json --out reproduced",
        f"bench execute runs/{spec.run_id}/spec.json --out reproduced",
        f"bench verify {spec.run_id} --out reproduced --against runs",
    ]


def test_an_unknown_run(made: tuple[Plan, Workspace], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "zz", "--out", str(made[1].out)]) == 2
    assert "unknown run 'zz'" in capsys.readouterr().err


def test_what_lies_outside_the_project_is_said() -> None:
    spec = RunSpec(
        "train",
        data=DataSpec("my_set", "my_pkg.data.load", "m"),
        model=PartSpec("their_pkg.Model", {}, {}),
        code="",
        budget=BudgetSpec("steps", 1.0),
    )
    found = commands(spec, {"commit": ""}, Path("runs") / spec.run_id)
    assert found[1:4] == [
        "# their_pkg is not part of the project: put the folder that holds it on PYTHONPATH",
        "# my_pkg is not part of the project: put the folder that holds it on PYTHONPATH",
        "# put the folder with dataset/my_set.yaml in BENCH_CONF",
    ]
    assert "# their code runs only if you trust it: BENCH_PACKAGES=their_pkg,my_pkg" in found


COMMAND = "x; touch pwned #"


@pytest.mark.parametrize("commit", ["HEAD; touch x #", "$(touch x)", "c0ffee\ntouch x", "-h", "é"])
def test_a_commit_that_is_none_is_not_printed_as_a_command(commit: str) -> None:
    spec = RunSpec("floor", data=DataSpec("made", "toy.load", "m"), model=PartSpec("x.Y"), code="")
    with pytest.raises(DataError, match="which is not one"):
        commands(spec, {"commit": commit}, Path("runs") / spec.run_id)


def test_names_out_of_a_run_are_quoted() -> None:
    weights = {"visual": f"{COMMAND}@12", "x": f"run:{COMMAND}-s0@3"}
    spec = RunSpec(
        "train",
        data=DataSpec("iu", "a.b\ntouch z.load", "m", {COMMAND: COMMAND}),
        model=PartSpec("uar.model.UAR", {}, weights),
        code="",
        budget=BudgetSpec("steps", 1.0),
    )
    for line in commands(spec, {"commit": ""}, Path("my runs; touch w") / spec.run_id):
        assert "\n" not in line
        words = [] if line.startswith("#") else shlex.split(line.partition("  # ")[0])
        assert not {"touch", "touch;"} & set(words), line
        assert not any(w.endswith(";") or w == "#" for w in words), line


@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"packages": []}', '{"packages": {}}'])
def test_a_damaged_record_of_the_machine_is_named(
    made: tuple[Plan, Workspace], tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    plan, work = made
    spec = plan.runs[0].spec
    folder = RunFolder(tmp_path, spec.run_id)
    folder.path.mkdir()
    (folder / "spec.json").write_bytes((work.out / spec.run_id / "spec.json").read_bytes())
    (folder / "env.json").write_text(text)
    folder.seal(status="scored")
    assert main(["reproduce", spec.run_id, "--out", str(tmp_path)]) == 2
    assert "env.json" in capsys.readouterr().err
