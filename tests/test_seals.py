"""Whoever reads a sealed run checks what it reads: nothing altered is shown, printed or sealed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made import METRICS, SUITE, make

from bench.__main__ import main
from bench.boards.publish import publish
from bench.boards.rows import suite_rows
from bench.boards.validate import validate
from bench.errors import BenchError, DataError
from bench.metrics.scoring import Scored
from bench.reporting.summary import Summary
from bench.runs.score import assess, is_scored
from bench.runs.workspace import Workspace
from bench.store import RunFolder, keep, kept, load_spec, read_json
from bench.suites.plan import Plan


@pytest.fixture
def made(tmp_path: Path) -> tuple[Plan, Workspace]:
    return make(tmp_path, {"constant": (0.2,), "BASE": (0.3,), "good": (0.93, 0.94)})


def folders(plan: Plan, work: Workspace, name: str) -> list[RunFolder]:
    return [RunFolder(work.out, p.spec.run_id) for p in plan.runs if p.name == name]


def swapped(plan: Plan, work: Workspace, name: str) -> RunFolder:
    """BASE with a file of another sealed run in the place of its own."""
    [base], [good, _] = folders(plan, work, "BASE"), folders(plan, work, "good")
    shutil.copyfile(good / name, base / name)
    return base


def summary(plan: Plan, work: Workspace) -> float:
    found = Summary.of(plan, work)
    return found.figure("BASE", "BLEU-4", "r2gen@1").value


def test_statistics_of_another_run_are_not_reported(made: tuple[Plan, Workspace]) -> None:
    plan, work = made
    value = summary(plan, work)  # its interval, and those of the other run, are in the cache
    assert value < Summary.of(plan, work).figure("good", "BLEU-4", "r2gen@1").value
    base = swapped(plan, work, "scores.npz")
    with pytest.raises(DataError, match=r"scores\.npz was altered"):
        summary(plan, work)
    good = folders(plan, work, "good")[0].run_id
    with pytest.raises(DataError, match=r"scores\.npz was altered"):
        raise_from("compare", base.run_id, good, "--metric=BLEU-4", work=work)


def raise_from(*arguments: str, work: Workspace) -> None:
    places = [f"--out={work.out}", f"--cache={work.cache}"]
    assert main([*arguments, *places, "--debug"]) == 0


@pytest.mark.parametrize("name", ["scores.json", "train.json", "env.json", "timing.json"])
def test_a_row_of_altered_files_is_refused(made: tuple[Plan, Workspace], name: str) -> None:
    plan, work = made
    [base] = folders(plan, work, "BASE")
    path = base / name
    path.write_text(path.read_text().replace("1", "2").replace("0", "1"))
    with pytest.raises(DataError, match=f"{name} was altered"):
        suite_rows(plan, work)
    with pytest.raises(DataError, match=f"{name} was altered"):
        publish(plan, work, work.out / "board")
    assert not (work.out / "board").exists()


@pytest.mark.parametrize("name", ["spec.json", "env.json"])
def test_a_file_that_is_missing_is_named(made: tuple[Plan, Workspace], name: str) -> None:
    plan, work = made
    [base] = folders(plan, work, "BASE")
    (base / name).unlink()
    with pytest.raises(DataError, match=f"{name} is missing from a sealed run"):
        load_spec(base) if name == "spec.json" else suite_rows(plan, work)


def test_a_seed_without_its_statistics_is_an_error_and_not_a_row_that_was_not_run(
    made: tuple[Plan, Workspace],
) -> None:
    plan, work = made
    (folders(plan, work, "good")[1] / "scores.npz").unlink()
    with pytest.raises(DataError, match=r"scores\.npz is missing from a sealed run"):
        Summary.of(plan, work).grid(SUITE.tables["t"], "r2gen@1")


def test_altered_predictions_are_not_scored_and_sealed(made: tuple[Plan, Workspace]) -> None:
    plan, work = made
    [base] = folders(plan, work, "BASE")
    spec, before = load_spec(base), (base / "manifest.json").read_bytes()
    swapped(plan, work, "predictions.csv")
    assert not is_scored(spec, base, METRICS)
    with pytest.raises(DataError, match=r"predictions\.csv: altered"):
        assess(spec, work, base, METRICS)
    assert (base / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("text", ["{}", "[]", "null", "{", '{"run_id": 1}', "[" * 5000, "\udcff"])
def test_a_damaged_manifest_is_named(made: tuple[Plan, Workspace], text: str) -> None:
    plan, work = made
    [base] = folders(plan, work, "BASE")
    (base / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    for reader in (suite_rows, Summary.of):
        with pytest.raises(DataError, match=r"manifest\.json"):
            reader(plan, work)
    assert base.verify() != []
    with pytest.raises(DataError, match=r"manifest\.json"):
        assess(load_spec_unsealed(base), work, base, METRICS)


def load_spec_unsealed(folder: RunFolder) -> object:
    from bench.canonical import from_dict
    from bench.spec import RunSpec

    return from_dict(RunSpec, json.loads((folder / "spec.json").read_text()))


def test_a_board_whose_files_were_swapped_shows_nothing(made: tuple[Plan, Workspace]) -> None:
    plan, work = made
    board = work.out.parent / "board"
    publish(plan, work, board)
    there = Workspace(board / "runs", work.cache)
    assert validate(board) == []
    base = swapped(plan, there, "scores.npz")
    assert any("altered" in problem for problem in validate(board))
    with pytest.raises(DataError, match=r"scores\.npz was altered"):
        summary(plan, there)
    assert base.run_id


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff", b'{"content": 1, "digest": "0"}'])
def test_a_damaged_cache_is_computed_again(
    made: tuple[Plan, Workspace], tmp_path: Path, damage: bytes
) -> None:
    plan, work = made
    value = summary(plan, work)
    for path in (work.cache / "comparisons").glob("*.json"):
        path.write_bytes(damage)
    assert summary(plan, work) == value
    keep(tmp_path / "x.json", [1])
    assert kept(tmp_path / "x.json") == [1]
    (tmp_path / "x.json").write_text((tmp_path / "x.json").read_text().replace("1", "2", 1))
    assert kept(tmp_path / "x.json") is None
    assert kept(tmp_path / "absent.json") is None


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}', b'{"a": ' + b"1" * 5000 + b"}", b"{"]
)
def test_what_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(BenchError, match=r"x\.json is not valid JSON"):
        read_json(tmp_path / "x.json")
    with pytest.raises(BenchError, match="cannot read"):
        read_json(tmp_path)


def of_objects(path: Path) -> None:
    np.savez(path, facts=np.array([{"a": 1}], dtype=object))


def of_one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([{}], dtype=object))


@pytest.mark.parametrize(
    "write",
    [
        of_objects,
        of_one_array,
        lambda path: np.savez(path, facts=np.array("[]")),
        lambda path: np.savez(path, other=np.ones(2)),
        lambda path: path.write_bytes(b"PK\3\4junk"),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink() or path.mkdir(),
    ],
)
def test_statistics_that_are_none_are_called_damaged(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "scores.npz"
    path.touch()
    write(path)
    with pytest.raises(DataError, match=r"scores\.npz is damaged") as caught:
        Scored.load(path)
    assert "put the file back" in caught.value.hint
    assert "pickle" not in str(caught.value)


def test_a_sealed_spec_that_is_none_is_named_and_the_others_are_verified(
    made: tuple[Plan, Workspace], capsys: pytest.CaptureFixture[str]
) -> None:
    plan, work = made
    [base] = folders(plan, work, "BASE")
    (base / "spec.json").write_text("[]")
    base.seal(status="scored", scoring="x")
    assert main(["verify", f"--out={work.out}", f"--cache={work.cache}"]) == 3
    out = capsys.readouterr().out
    assert f"{base / 'spec.json'}: expected a mapping" in out
    assert out.count("ok  ") == 3
