"""`bench table`, `report` and `plot` as a user calls them, on a published board of toys."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from made import DATASET, SUITE, make, reports

import bench.reporting.summary
from bench.__main__ import main
from bench.commands import board, table
from bench.errors import BenchError
from bench.metrics import registry
from bench.reporting import rescored
from bench.runs.reports import write_predictions
from bench.runs.workspace import Workspace
from bench.store import RunFolder, read_json
from bench.suites.plan import Plan

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Workspace]:
    return make(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def call(
    made: tuple[Plan, Workspace],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Call:
    """call(*argv) -> exit code, stdout, stderr; the suite of toys is the only one there is."""
    plan, work = made
    for module in (board, table):
        monkeypatch.setattr(module, "make_plan", lambda *_, **__: plan)
    for module in (table, bench.reporting.summary):
        monkeypatch.setattr(module, "load_suite", lambda _: SUITE)
    monkeypatch.setattr(table, "names", lambda _: ["toys"])
    few = SimpleNamespace(
        LANGUAGE="language", of_kind=lambda kind: ("BLEU", "CIDEr"), load=registry.load
    )
    monkeypatch.setattr(rescored, "registry", few)  # those of the made runs, which need no Java
    monkeypatch.chdir(tmp_path)
    assert main(["board", "publish", "toys", "--board", "b", "--out", str(work.out)]) == 0

    def run(*argv: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*argv, "--cache", str(work.cache)])
        return code, *capsys.readouterr()

    return run


def test_a_board_gives_the_table_of_its_runs(call: Call, made: tuple[Plan, Workspace]) -> None:
    _, work = made
    code, of_runs, _ = call("table", "t", "--out", str(work.out))
    assert code == 0
    code, of_board, _ = call("table", "t", "dataset=made", "--board", "b")
    assert code == 0
    assert of_board == of_runs
    assert "good" in of_runs
    for form in ("text", "latex", "csv", "html"):
        code, text, _ = call("table", "t", "dataset=made", "--board", "b", "--format", form)
        assert code == 0
        assert "constant report" in text


def test_rescored_predictions_stand_above_ours(call: Call, tmp_path: Path) -> None:
    """The very predictions of a run, as a file, get that run's score and interval."""
    studies = DATASET.split("test")
    write_predictions(tmp_path / "p.csv", studies, reports(0.3, 0))  # those of BASE
    given = ("--rescored", "good=p.csv", "--rescored", "absent=p.csv", "--format", "md")
    code, text, _ = call("table", "t", "dataset=made", "--board", "b", *given)
    assert code == 0
    lines = [line.split("|")[2:] for line in text.splitlines() if line.startswith("|")]
    ours = next(x for x in lines if x[0].strip() == "ours")  # BASE comes first
    found = [x for x in lines if x[0].strip() == "rescored"]
    assert len(found) == 2
    for x in found:
        assert [c.strip(" *") for c in x[1:]] == [c.strip(" *") for c in ours[1:]]
    assert "Rescored: predictions of that system" in text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("p.csv", "does not name a file"),
        ("good=", "does not name a file"),
        ("god=p.csv", "did you mean 'good'"),
        ("good=none.csv", "cannot read none.csv"),
    ],
)
def test_wrong_rescored_files(call: Call, given: str, words: str) -> None:
    code, out, err = call("table", "t", "dataset=made", "--board", "b", "--rescored", given)
    assert (code, out) == (2, "")
    assert words in err


def test_rescored_is_a_function_of_the_file_alone(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="does not name a file"):
        rescored.rescored(["x"], SUITE.tables["t"], DATASET, "r2gen@1")


def test_wrong_boards_and_names(call: Call) -> None:
    for argv, words in (
        (["table", "t", "dataset=made", "sed=1", "--board", "b"], "unknown setting of a board"),
        (["table", "tt", "--board", "b"], "unknown table 'tt'"),
        (["table", "t", "dataset=other", "--board", "b"], "no board b/other.csv"),
        (["report", "toys", "dataset=made", "--board", "none"], "no board none/made.csv"),
        (["table", "claims", "--rescored", "a=b"], "the claims ledger takes no rescored"),
    ):
        code, _, err = call(*argv)
        assert code == 2, argv
        assert words in err, argv


def test_report_and_plot(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "b" / "toys-made"
    code, out, _ = call("report", "toys", "dataset=made", "--board", "b", "--format", "html")
    assert code == 0
    assert "report.html" in out
    svg = (folder / "hero.svg").read_bytes()
    shutil.rmtree(folder)
    code, out, _ = call("plot", "hero", "toys", "dataset=made", "--board", "b")
    assert code == 0
    assert {p.name for p in folder.iterdir()} == {"hero.svg", "hero.png", "hero.csv"}
    assert (folder / "hero.svg").read_bytes() == svg
    code, _, err = call("plot", "ladder", "toys", "dataset=made", "--board", "b")
    assert code == 2
    assert "unknown figure 'ladder'" in err
    code, _, err = call("plot", "gram", "toys", "dataset=made", "--board", "b")
    assert code == 2
    assert "the runs hold nothing for gram" in err


def test_a_retracted_run_leaves_the_table(call: Call, made: tuple[Plan, Workspace]) -> None:
    plan, work = made
    for run in (p.spec.run_id for p in plan.runs if p.name == "good"):
        assert read_json(RunFolder(work.out, run) / "manifest.json")["status"] == "scored"
        code, _, _ = call("board", "retract", run, "--board", "b", "--reason", "x")
        assert code == 0
    _, text, _ = call("table", "t", "dataset=made", "--board", "b", "--full", "--format", "md")
    [good] = [line for line in text.splitlines() if line.startswith("| good |")]
    assert good.count("not run") == 7
