"""The regression gate: what it says when something changed, and how a change is accepted."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made import make
from toy import load

from bench.__main__ import main
from bench.boards.rows import read_rows, write_rows
from bench.commands import check
from bench.metrics import ptb
from bench.metrics.bleu import BLEU
from bench.runs.workspace import Workspace
from bench.spec import DataSpec, PartSpec, RunSpec
from bench.suites import golden as gate
from bench.suites.golden import changes, merged

HERE = "Linux-x86_64-A-AVX2-torch-2"
NOW = {
    "manifest": "ab" * 32,
    "scores": {"BLEU-4 r2gen@1": {"value": 0.25, "signature": "BLEU-4|n:64|v:1"}},
    "floors": {"nearest": {"BLEU-4": 0.2, "CIDEr": 0.5}, "constant": {"BLEU-4": 0.1, "CIDEr": 0.1}},
    "control": {"BLEU-4": 0.1, "CIDEr": 0.2},
    "losses": {HERE: {"base": [3.0, 2.5], "uar": [4.0, 3.5]}},
}  # fmt: skip


def after(**parts: Any) -> dict[str, Any]:
    return {**deepcopy(NOW), **parts}


def test_nothing_changed() -> None:
    assert list(changes(NOW, after())) == []


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"manifest": "cd" * 32}, "the sampled dataset changed: manifest abababababab -> cdcdcd"),
        (
            {"scores": {"BLEU-4 r2gen@1": {"value": 0.26, "signature": "BLEU-4|n:64|v:1"}}},
            "score BLEU-4 r2gen@1: 0.25 -> 0.26 (+0.01)",
        ),
        (
            {"scores": {"BLEU-4 r2gen@1": {"value": 0.25, "signature": "BLEU-4|n:64|v:2"}}},
            "score BLEU-4 r2gen@1: signature BLEU-4|n:64|v:1 -> BLEU-4|n:64|v:2",
        ),
        ({"scores": {}}, "score BLEU-4 r2gen@1: gone"),
        (
            {"floors": {"nearest": {"BLEU-4": 0.21, "CIDEr": 0.5}}},
            "floors nearest BLEU-4: 0.2 -> 0.21",
        ),
        ({"control": {"BLEU-4": 0.1, "CIDEr": 0.3}}, "control CIDEr: 0.2 -> 0.3"),
        ({"control": {"BLEU-4": 0.1, "CIDEr": 0.6}}, "images are not shuffled, or not read"),
        (
            {"losses": {HERE: {"base": [3.0, 2.5000000000000004], "uar": [4.0, 3.5]}}},
            "losses of base, step 2: 2.5 -> 2.5000000000000004",
        ),
        ({"losses": {HERE: {"base": [3.0, 2.5]}}}, "losses of uar: model gone"),
        (
            {"losses": {HERE: {**NOW["losses"][HERE], "st": [1.0]}}},  # type: ignore[index]
            "losses of st: new model",
        ),
        (
            {"losses": {"elsewhere": {"base": [3.0, 2.5], "uar": [4.0, 3.2]}}},
            "losses of uar, step 2: 3.5 -> 3.2 (-0.3) (golden of another platform)",
        ),
    ],
)
def test_what_changed_is_named_with_its_size(parts: dict[str, Any], said: str) -> None:
    assert any(said in problem for problem in changes(NOW, after(**parts)))


def test_real_pictures_need_not_tell_but_must_be_read() -> None:
    better = after(control={"BLEU-4": 0.1, "CIDEr": 0.6})
    assert list(changes(better, better, telling=False)) == []
    [problem] = changes(better, better, telling=True)
    assert "images are not shuffled, or not read" in problem
    same = after(control={"BLEU-4": 0.1, "CIDEr": 0.5})
    [problem] = changes(same, same, telling=False)
    assert "images are not shuffled, or not read" in problem


def test_another_platform_may_round_otherwise() -> None:
    losses = {"elsewhere": {"base": [3.0001, 2.5], "uar": [4.0, 3.51]}}
    assert not [c for c in changes(NOW, after(losses=losses)) if "losses" in c]
    golden = merged(NOW, after(losses=losses))
    assert set(golden["losses"]) == {HERE, "elsewhere"}
    other = merged(NOW, after(losses=losses, manifest="other"))
    assert set(other["losses"]) == {"elsewhere"}  # of another sample


# --- a metric's version ------------------------------------------------------------------------


def test_a_changed_version_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ptb, "tokenize", lambda texts: list(texts))
    monkeypatch.setattr(gate, "METRICS", ("BLEU", "CIDEr"))
    data = DataSpec("made", "toy.load", load().manifest)
    spec = RunSpec("floor", data, PartSpec("baselines.floors.Constant"), "")

    def scores() -> dict[str, dict[str, Any]]:
        return gate._metric_scores(spec, Workspace(tmp_path, tmp_path))

    before = scores()
    monkeypatch.setattr(BLEU, "version", BLEU.version + 1)
    found = list(changes(after(scores=before), after(scores=scores())))
    named = [problem for problem in found if problem.startswith("score ")]
    assert len(named) == 8  # four n-gram orders under two treatments
    assert all("BLEU" in x and re.search(r"v:1 -> .*v:2$", x) for x in named)


# --- the same numbers from other code ----------------------------------------------------------


def with_run(code: str, result: str) -> dict[str, Any]:
    return after(runs={HERE: {"base": {"code": code, "steps": "20", "result": result}}})


def test_a_result_that_changed_is_named() -> None:
    [problem] = changes(with_run("c1", "r1"), with_run("c2", "r2"))
    assert problem == "base: 20 steps come to other reports or weights than before"
    assert list(changes(with_run("c1", "r1"), with_run("c2", "r1"))) == []


def test_other_code_with_the_same_numbers_is_recorded_once(tmp_path: Path) -> None:
    path = tmp_path / "same_numbers.csv"
    before, now = with_run("c1", "r1"), with_run("c2", "r1")
    assert gate.changed_code(before, before) == {}
    elsewhere = after(runs={"elsewhere": before["runs"][HERE]})
    assert gate.changed_code(elsewhere, now) == {}  # nothing to compare with on this platform
    rows = gate.changed_code(before, now)
    assert (rows["base"]["code"], rows["base"]["same_as"]) == ("c2", "c1")
    assert gate.record(rows, path) == 1
    assert gate.record(rows, path) == 0
    head, line = path.read_text().splitlines()
    assert head.startswith("code,same_as,run,steps,losses,result,platform,added")
    assert line.startswith("c2,c1,base,20,")


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What `measure` finds, to be changed by a test."""
    now = after()
    monkeypatch.setattr(check, "measure", lambda *_: now)
    monkeypatch.chdir(tmp_path)
    return now


def run(*options: str) -> int:
    return main(["check", *options, "--golden", "g", "--cache", "c"])


def test_the_gate_opens_closes_and_is_moved_knowingly(
    measured: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 2
    assert "no golden file g/check-synthetic-64.json" in capsys.readouterr().err
    assert run("--accept") == 0
    assert run() == 0
    assert "1 scores and 20 losses of 2 models as before" in capsys.readouterr().out
    measured["losses"][HERE]["base"][0] = 3.1
    assert run() == 3
    out = capsys.readouterr().out
    assert "FAIL losses of base, step 1: 3.0 -> 3.1 (+0.1)" in out
    assert "bench check --accept" in out
    assert run("--accept") == 0
    assert run() == 0


def test_code_that_changes_no_number_is_recorded_when_asked(
    measured: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate.record, "__defaults__", (Path("same.csv"),))
    monkeypatch.setattr(check, "platform_key", lambda: HERE)
    assert run("--accept") == 0
    assert run("--same-numbers") == 2  # of another golden file than the project's
    monkeypatch.setattr(check, "GOLDEN", Path("g"))
    assert run("--same-numbers") == 2  # of a platform without short runs
    measured["runs"] = with_run("c1", "r1")["runs"]
    assert run("--accept") == 0
    measured["runs"] = with_run("c2", "r1")["runs"]
    assert run() == 0
    assert "the code of base changed, and no number did" in capsys.readouterr().out
    assert not Path("same.csv").exists()
    assert run("--same-numbers") == 0
    assert "1 digests recorded" in capsys.readouterr().out
    assert run() == 0
    assert "changed" not in capsys.readouterr().out
    measured["runs"] = with_run("c3", "r2")["runs"]
    assert run("--same-numbers") == 3
    assert "c3" not in Path("same.csv").read_text()


def test_from_another_folder_nothing_is_accepted(
    measured: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "GOLDEN", Path("g"))
    assert run("--accept") == 0
    measured["losses"][HERE]["base"][0] = 3.1
    assert (run(), capsys.readouterr().out.count("--accept")) == (3, 0)


def test_an_installation_never_blesses_itself(
    measured: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run from another folder it is held to the golden files that came with it."""
    shipped = Path("site-packages/bench/golden").absolute()
    monkeypatch.setattr(check, "GOLDEN", shipped)
    assert main(["check", "--cache", "c", "--accept"]) == 0  # a checkout: there they are made
    monkeypatch.setattr(check, "in_source_tree", lambda: False)
    assert main(["check", "--cache", "c"]) == 0
    assert "note: no board leaderboards/v0 here" in capsys.readouterr().out
    measured["losses"][HERE]["base"][0] = 3.1
    assert main(["check", "--cache", "c"]) == 3
    out = capsys.readouterr().out
    assert "came with it" in out
    assert "--accept" not in out
    before = (shipped / "check-synthetic-64.json").read_bytes()
    assert main(["check", "--cache", "c", "--accept"]) == 2
    assert "give --golden FOLDER" in capsys.readouterr().err
    assert (shipped / "check-synthetic-64.json").read_bytes() == before
    assert main(["check", "sample=32", "--cache", "c"]) == 2
    assert "bench check sample=32 --accept --golden FOLDER" in capsys.readouterr().err


def test_a_users_data_has_a_golden_file_of_its_own(
    measured: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("dataset=iu_xray", "sample=32", "--accept") == 0
    assert Path("g/check-iu_xray-32.json").exists()
    assert run("dataset=iu_xray", "sample=32") == 0
    assert run("dataset=iu_xray", "sample=16") == 2
    assert "bench check dataset=iu_xray sample=16 --accept" in capsys.readouterr().err
    for wrong in ("sample=many", "sample=0", "smaple=3"):
        assert run(wrong) == 2
        assert wrong.partition("=")[2 if "smaple" not in wrong else 0] in capsys.readouterr().err


# --- board and tables --------------------------------------------------------------------------


@pytest.fixture
def board(measured: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A published board in a commit, a report beside it, and a golden file."""
    plan, work = make(tmp_path / "made")
    monkeypatch.setattr("bench.commands.board.make_plan", lambda *_, **__: plan)
    assert main(["board", "publish", "toys", "--board", "b", "--out", str(work.out)]) == 0
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@y"]
    for command in (["init", "-q"], ["add", "b"], ["commit", "-qm", "board"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    monkeypatch.setattr(check, "names", lambda group: ["toys"])
    monkeypatch.setattr(check, "regenerate", regenerate)
    regenerate("toys", "synthetic", Path("b"), Path("r/toys"), work)
    assert run("--accept") == 0
    return Path("b")


def regenerate(suite: str, dataset: str, board: Path, folder: Path, work: Workspace) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(f"{len(read_rows(board / 'made.csv'))} rows")
    (folder / "x.svg").write_text(str(folder))  # fonts differ: not compared


GATE = ("--board", "b", "--reports", "r")


def test_an_untouched_board_passes(board: Path) -> None:
    assert run(*GATE) == 0


def test_a_board_outside_git_is_still_held_to_its_runs(
    board: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "in_checkout", lambda _: False)
    assert run(*GATE) == 0
    assert "in no git checkout" in capsys.readouterr().out


def test_an_edited_row_closes_the_gate(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = read_rows(board / "made.csv")
    write_rows(board / "made.csv", [replace(rows[0], value=0.9), *rows[1:]])
    assert run(*GATE) == 3
    part, out = f"{rows[0].treatment}, all, floor, run {rows[0].run_id}", capsys.readouterr().out
    name = f"{rows[0].variant} {rows[0].metric} ({part})"
    assert f"board {board.name}: row gone or edited since HEAD: made.csv: {name}" in out
    assert f"{name}: value is 0.9, the run's is" in out


def test_a_deleted_row_closes_the_gate(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = read_rows(board / "made.csv")
    write_rows(board / "made.csv", rows[1:])
    assert run(*GATE) == 3
    out = capsys.readouterr().out
    assert f"row missing: {rows[0].variant} {rows[0].metric}" in out
    assert "r/toys/README.md is not up to date: bench report toys" in out


def test_a_touched_manifest_closes_the_gate(
    board: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next((board / "runs").glob("*/manifest.json"))
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "scoring": "0" * 64}, indent=1, sort_keys=True) + "\n")
    assert run(*GATE) == 3
    told = f"board {board.name}: {path.parent.name}/manifest.json: altered"
    assert told in capsys.readouterr().out


def test_a_stale_table_closes_the_gate(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("r/toys/README.md").write_text("old")
    assert run(*GATE) == 3
    assert "r/toys/README.md is not up to date: bench report toys" in capsys.readouterr().out


# --- the golden files that are kept ------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(check.GOLDEN.glob("check-*.json")), ids=lambda p: p.stem)
def test_golden_files_hold_numbers_names_and_digests(path: Path) -> None:
    """No text of any report: every string in them is a digest or a signature."""

    def strings(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for x in value.values():
                yield from strings(x)
        elif isinstance(value, list):
            for x in value:
                yield from strings(x)
        elif isinstance(value, str):
            yield value

    golden = json.loads(path.read_text())
    parts = {"manifest", "scores", "floors", "control", "losses", "runs"}
    assert set(golden) in (parts, parts - {"runs"})
    for text in strings(golden):
        assert re.fullmatch(r"[0-9a-f]{64}|\d+|\S+\|v:\d+", text), text
