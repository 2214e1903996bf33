"""The board's rules: append only, every row what its run says; what breaks them is named."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from made import make

from bench.__main__ import main
from bench.boards.rows import BoardRow, active, read_rows, row_key, write_rows
from bench.boards.validate import diff, in_checkout, validate
from bench.errors import BenchError
from bench.runs.workspace import Workspace
from bench.suites.plan import Plan


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Workspace]:
    return make(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def publish(
    made: tuple[Plan, Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], int]:
    plan, work = made
    monkeypatch.setattr("bench.commands.board.make_plan", lambda *_, **__: plan)
    monkeypatch.chdir(tmp_path)
    arguments = ["board", "publish", "toys", "--board", "b/v0", "--out", str(work.out)]
    return lambda: main(arguments)


@pytest.fixture
def board(publish: Callable[[], int], tmp_path: Path) -> Path:
    """A published board in a commit of its own."""
    assert publish() == 0
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "board")
    return Path("b/v0")


def git(place: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=place, check=True, capture_output=True)


def change(board: Path, edit: Callable[[list[BoardRow]], list[BoardRow]]) -> None:
    write_rows(board / "made.csv", edit(read_rows(board / "made.csv")))


def best(rows: list[BoardRow]) -> int:
    """The place of one row: `good`'s BLEU-4 on the whole split."""
    wanted = ("good", "BLEU-4", "r2gen@1", "all", "trained")
    return next(
        i
        for i, r in enumerate(rows)
        if (r.variant, r.metric, r.treatment, r.stratum, r.origin) == wanted
    )


def edited(**values: object) -> Callable[[list[BoardRow]], list[BoardRow]]:
    def edit(rows: list[BoardRow]) -> list[BoardRow]:
        i = best(rows)
        return [*rows[:i], replace(rows[i], **values), *rows[i + 1 :]]  # type: ignore[arg-type]

    return edit


# --- publish and validate ----------------------------------------------------------------------


def test_a_published_board_is_valid(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(board) == []
    assert diff(board, "HEAD") == ([], [])
    assert main(["board", "validate", "--board", str(board)]) == 0
    assert "none is missing" in capsys.readouterr().out
    rows = read_rows(board / "made.csv")
    assert len({row_key(r) for r in rows}) == len(rows)
    assert {(r.origin, r.stratum) for r in rows if r.origin == "control"} == {
        ("control", "all"), ("control", "grouped"),
    }  # fmt: skip
    assert all(r.added and r.value is not None for r in rows)


def test_texts_of_other_peoples_data_stay_with_them(board: Path) -> None:
    assert not list(board.rglob("predictions*.csv"))


def test_publishing_again_adds_nothing(
    board: Path, publish: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.read_bytes() for p in board.rglob("*") if p.is_file()}
    capsys.readouterr()
    assert publish() == 0
    assert ": 0 rows added" in capsys.readouterr().out
    assert {p: p.read_bytes() for p in board.rglob("*") if p.is_file()} == before


def test_another_value_for_a_row_is_refused(
    board: Path, publish: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    change(board, edited(value=0.5))
    assert publish() == 2
    assert "good BLEU-4 (r2gen@1, all, trained" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"value": 0.999}, "value is 0.999, the run's is 0.9"),
        ({"ci_low": 0.0}, "ci_low is 0.0"),
        ({"n": 51}, "n is 51, the run's is 50"),
        ({"signature": "BLEU-4|v:2"}, "signature is 'BLEU-4|v:2'"),
        ({"budget": "1 steps"}, "budget is '1 steps', the run's is '3 steps'"),
        ({"predictions_sha": "ab"}, "predictions_sha is 'ab'"),
        ({"commit": "other"}, "commit is 'other', the run's is 'c0ffee'"),
        ({"value": None, "reason": "lost"}, "has no value"),
        ({"metric": "BLEU-5"}, "is not in its run's scores.json"),
        ({"variant": "better"}, "row missing: good BLEU-4"),
        ({"run_id": "0123-s0"}, "run 0123-s0 has no"),
        ({"status": "hidden"}, "has the status 'hidden'"),
    ],
)
def test_an_edited_row_is_named(board: Path, values: dict[str, object], said: str) -> None:
    change(board, edited(**values))
    assert any(said in problem for problem in validate(board)), validate(board)
    gone, new = diff(board, "HEAD")
    assert len(gone) == len(new) == 1
    assert "good BLEU-4 (r2gen@1, all, trained, run " in gone[0]


def test_a_deleted_row_is_named_with_git_and_without(board: Path) -> None:
    change(board, lambda rows: [r for i, r in enumerate(rows) if i != best(rows)])
    [problem] = validate(board)
    assert "row missing: good BLEU-4 (r2gen@1, all, trained, run " in problem
    [gone], new = diff(board, "HEAD")
    assert "good BLEU-4" in gone
    assert not new


def test_a_run_whose_rows_are_all_gone_is_named(board: Path) -> None:
    run = read_rows(board / "made.csv")[-1].run_id
    change(board, lambda rows: [r for r in rows if r.run_id != run])
    assert validate(board) == [f"run {run} is on the board, but none of its rows"]


def test_a_run_that_is_gone_with_its_files_is_named(board: Path) -> None:
    run = read_rows(board / "made.csv")[-1].run_id
    change(board, lambda rows: [r for r in rows if r.run_id != run])
    for path in (board / "runs" / run).iterdir():
        path.unlink()
    assert validate(board) == [f"run {run} is on the board, but none of its rows"]  # empty
    (board / "runs" / run).rmdir()
    [problem] = validate(board)
    assert problem.startswith(f"run {run} had rows in the last commit; rows and files are gone")


def test_a_folder_that_is_empty_or_gone_is_named(board: Path) -> None:
    run = read_rows(board / "made.csv")[-1].run_id
    for path in (board / "runs" / run).iterdir():
        path.unlink()
    assert validate(board) == [f"run {run} has no {board / 'runs' / run / 'manifest.json'}"]
    (board / "runs" / run).rmdir()
    assert validate(board) == [f"run {run} has no {board / 'runs' / run / 'manifest.json'}"]


def test_a_board_file_that_is_gone_is_named(board: Path) -> None:
    count = len(read_rows(board / "made.csv"))
    (board / "made.csv").unlink()
    assert len(diff(board, "HEAD")[0]) == count


def test_a_row_twice_is_named(board: Path) -> None:
    change(board, lambda rows: [*rows, rows[best(rows)]])
    assert any("stands twice" in problem for problem in validate(board))


@pytest.mark.parametrize(
    "name", ["manifest.json", "spec.json", "scores.json", "scores.npz", "train.json", "env.json"]
)
def test_a_flipped_byte_of_a_published_file_is_named(board: Path, name: str) -> None:
    rows = read_rows(board / "made.csv")
    path = board / "runs" / rows[best(rows)].run_id / name
    data = path.read_bytes()
    for place in (len(data) // 3, len(data) - 3):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        problems = validate(board)
        assert any(f"{path.parent.name}/{name}" in p for p in problems), problems


def test_a_touched_manifest_is_named(board: Path) -> None:
    path = next((board / "runs").glob("*/manifest.json"))
    content = json.loads(path.read_text())
    for changed in ({**content, "status": "best"}, {**content, "results": {}}, {}):
        path.write_text(json.dumps(changed, indent=1, sort_keys=True) + "\n")
        assert any(f"{path.parent.name}/manifest.json" in p for p in validate(board))


def test_files_that_nobody_sealed_are_named(board: Path) -> None:
    folder = next((board / "runs").glob("*"))
    (folder / "more.csv").write_text("x")
    (folder / "scores.npz").unlink()
    assert validate(board) == [
        f"{folder / 'scores.npz'}: missing", f"{folder / 'more.csv'}: not in the manifest",
    ]  # fmt: skip


def test_a_line_that_is_no_row_is_named(board: Path) -> None:
    with (board / "made.csv").open("a") as file:
        file.write("v0,made\n")
    assert any("line" in p and "not a board's row" in p for p in validate(board))


# --- retract -----------------------------------------------------------------------------------


def test_a_retraction_answers_and_deletes_nothing(board: Path) -> None:
    before = read_rows(board / "made.csv")
    run = before[best(before)].run_id
    arguments = ["board", "retract", run, "--board", str(board), "--reason", "trained on test"]
    assert main(arguments) == 0
    rows = read_rows(board / "made.csv")
    assert rows[: len(before)] == before
    assert {(r.run_id, r.status, r.reason) for r in rows[len(before) :]} == {
        (run, "retracted", "trained on test")
    }
    assert run not in {r.run_id for r in active(rows)}
    assert validate(board) == []
    gone, new = diff(board, "HEAD")
    assert not gone
    assert len(new) == len(rows) - len(before)


def test_a_second_retraction_and_an_unknown_run_are_refused(
    board: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = read_rows(board / "made.csv")[0].run_id
    arguments = ["board", "retract", run, "--board", str(board), "--reason", "x"]
    assert main(arguments) == 0
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert f"run {run} is retracted already: x" in said
    assert "did you mean" not in said
    assert main(["board", "retract", run[:-4] + "x-s0", "--board", str(board), "--reason", "x"]) == 2  # fmt: skip # noqa: E501
    assert "unknown active run" in capsys.readouterr().err
    assert main(["board", "retract", run, "--board", str(board)]) == 2
    assert "--reason" in capsys.readouterr().err


def test_a_retraction_of_nothing_is_named(board: Path) -> None:
    def edit(rows: list[BoardRow]) -> list[BoardRow]:
        return [replace(r, status="retracted", reason="x") for r in rows[:1]] + rows[1:]

    change(board, edit)
    assert any("its row is gone" in problem for problem in validate(board))


# --- git ---------------------------------------------------------------------------------------


def test_the_board_may_be_named_from_anywhere(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = board.resolve()
    monkeypatch.chdir("/")
    assert diff(path, "HEAD") == ([], [])
    assert in_checkout(path)


def test_an_unknown_revision_and_no_checkout(
    board: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BenchError, match="nowhere"):
        diff(board, "nowhere")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path_factory.getbasetemp()))
    assert not in_checkout(tmp_path_factory.mktemp("bare"))
