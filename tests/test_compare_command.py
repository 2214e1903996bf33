"""`bench compare`: whose dataset, what is resampled, what is said of seeds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from made import DATASET, make

from bench.__main__ import main
from bench.boards.publish import publish
from bench.commands.compare import _rows
from bench.reporting.summary import Summary
from bench.runs.workspace import Workspace
from bench.suites.plan import Plan


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Workspace]:
    return make(tmp_path_factory.mktemp("compared"))


def compared(made: tuple[Plan, Workspace], a: str, b: str, *more: str) -> list[str]:
    """Arguments with the rows' run ids instead of their names."""
    plan, work = made
    ids = {p.name: p.spec.run_id for p in plan.runs}
    names = [ids.get(a, a), ids.get(b, b)]
    folders = ["--out", str(work.out), "--cache", str(work.cache)]
    return ["compare", *names, *more, "--metric", "BLEU-4", *folders]


def test_runs_bring_their_dataset(
    made: tuple[Plan, Workspace], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(compared(made, "good", "constant", "--json")) == 0
    [found] = json.loads(capsys.readouterr().out)
    assert main(compared(made, "good", "constant", "--json", "--text", "r2gen@1")) == 0
    assert json.loads(capsys.readouterr().out) == [found]  # the old name of --treatment
    patients = {s.patient for s in DATASET.split("test")}
    assert found["units"] == len(patients)
    assert found["n"] == len(DATASET.split("test"))
    ids = {p.name: p.spec.run_id for p in made[0].runs}
    assert found["lone"] == [ids["good"]]  # a floor has no seeds


def test_two_files_keep_the_names_that_they_were_given_by(
    made: tuple[Plan, Workspace], capsys: pytest.CaptureFixture[str]
) -> None:
    plan, work = made
    files = [str(work.out / p.spec.run_id / "predictions.csv") for p in plan.runs[:2]]
    assert main(compared(made, files[0], "BASE")) == 0
    said = capsys.readouterr().out
    assert files[0] in said
    assert said.startswith(
        f"One training of {files[0]} and of {plan.runs[1].spec.run_id}: training"
    )
    assert f"these reports of {files[0]} " in said


def test_studies_of_no_known_patient_are_refused(
    made: tuple[Plan, Workspace], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(compared(made, "good", "BASE", "dataset=synthetic")) == 2
    said = capsys.readouterr().err
    assert "studies that are not in synthetic" in said
    assert "dataset=NAME" in said


def test_unknown_and_ambiguous_runs_are_named(
    made: tuple[Plan, Workspace], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(compared(made, "nothing", "BASE")) == 2
    assert "unknown run or file 'nothing'" in capsys.readouterr().err
    assert main(compared(made, "", "BASE")) == 2
    assert "begins the ids of several runs" in capsys.readouterr().err


def test_files_of_one_spec_make_no_statement_about_methods(
    made: tuple[Plan, Workspace], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(compared(made, *runs_of(made[0], "good"))) == 0
    said = capsys.readouterr().out
    assert "not about methods" in said.partition("\n")[0]
    assert "Both sides are of one spec: they differ in their seeds alone." in said
    assert "is higher" not in said
    assert "is lower" not in said


def runs_of(plan: Plan, row: str) -> list[str]:
    return [p.spec.run_id for p in plan.runs if p.name == row]


def test_several_trainings_a_side_are_the_rows_of_a_table(
    made: tuple[Plan, Workspace], capsys: pytest.CaptureFixture[str]
) -> None:
    plan, work = made
    good = ",".join(runs_of(plan, "good"))
    assert main(compared(made, good, "constant", "--json")) == 0
    [found] = json.loads(capsys.readouterr().out)
    table = Summary.of(plan, work).compare("good", "constant", "BLEU-4")
    for key in ("difference", "low", "high", "p"):
        assert found[key] == getattr(table, key)
    assert (found["runs"], found["lone"], found["test"]) == ([2, 1], [], "t")
    assert main(compared(made, good, "constant")) == 0
    said = capsys.readouterr().out
    assert said.startswith("BLEU-4: ")
    assert "is higher than" in said


def test_wrong_sides(made: tuple[Plan, Workspace], capsys: pytest.CaptureFixture[str]) -> None:
    one, two = runs_of(made[0], "good")
    base = runs_of(made[0], "BASE")[0]
    for a, words in ((f"{one},{base}", "trainings of 2 specs"), (f"{two},{two}", "given twice")):
        assert main(compared(made, a, "constant")) == 2
        assert words in capsys.readouterr().err


def test_nothing_is_compared_with_itself(
    made: tuple[Plan, Workspace], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(compared(made, "good", "good")) == 2
    assert "was given twice: it differs from itself by nothing" in capsys.readouterr().err
    plan, work = made
    same = str(work.out / plan.runs[0].spec.run_id / "predictions.csv")
    assert main(compared(made, same, same)) == 2
    assert "was given twice" in capsys.readouterr().err


def test_an_unknown_treatment_is_no_other_one(
    made: tuple[Plan, Workspace], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(compared(made, "good", "BASE", "--treatment", "nonsense")) == 2
    assert "unknown treatment 'nonsense'" in capsys.readouterr().err


def test_rows_of_a_board_of_several_datasets(made: tuple[Plan, Workspace], tmp_path: Path) -> None:
    plan, work = made
    publish(plan, work, tmp_path)
    shutil.copy(tmp_path / "made.csv", tmp_path / "other.csv")
    alone, named = _rows(tmp_path, "none"), _rows(tmp_path, "made")
    assert {name.partition(":")[0] for name in alone} == {"made", "other"}
    assert named["good"] == named["made:good"] == tuple(runs_of(plan, "good"))
    (tmp_path / "other.csv").unlink()
    assert "good" in _rows(tmp_path, "none")
