"""Run folders: atomic writes, the lock, the seal."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.errors import DataError, RunError
from bench.store import RunFolder, file_digest, read_json, write_atomic, write_json

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A sealed run with two results and a record."""
    folder = RunFolder(tmp_path, "abc-s0")
    write_atomic(folder / "predictions.csv", "study_id,report\n1,clear\n")
    write_atomic(folder / "deep/weights.bin", b"\x00\x01")
    write_json(folder / "env.json", {"host": "x"})
    folder.seal(status="predicted", inputs="d1")
    return folder


def test_write_atomic(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_atomic(path, "å")
    assert path.read_bytes() == "å".encode()
    write_atomic(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("moment", ["fsync", "replace", "write"])
def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    path = tmp_path / "file.txt"
    write_atomic(path, "old")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if moment == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        name = "replace" if moment == "replace" else "open"
        monkeypatch.setattr(Path, name, full)
    with pytest.raises(RunError, match=r"cannot write .*file\.txt: No space left") as caught:
        write_atomic(path, "new")
    monkeypatch.undo()
    assert caught.value.exit_code == 1
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="cannot write"):
        write_atomic(tmp_path / "file" / "x.json", "{}")
    with pytest.raises(RunError, match="cannot write"), RunFolder(tmp_path / "file", "x").lock():
        pass


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"b": 0.1, "a": [1]})
    assert path.read_text() == '{\n "a": [\n  1\n ],\n "b": 0.1\n}\n'
    assert read_json(path) == {"a": [1], "b": 0.1}
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, {"a": float("nan")})
    path.write_text('{"a": ')
    with pytest.raises(DataError, match=r"x.json is not valid JSON"):
        read_json(path)


# --- lock --------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from bench.store import RunFolder
with RunFolder(Path(sys.argv[1]), "abc-s0").lock() as mine:
    print(mine, flush=True)
    sys.stdin.readline()
"""


def holder(root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("end", ["leave", "kill"])
def test_one_process_has_the_run(tmp_path: Path, end: str) -> None:
    with holder(tmp_path) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "True\n"
        with RunFolder(tmp_path, "abc-s0").lock() as mine:
            assert not mine
        with RunFolder(tmp_path, "other-s0").lock() as mine:
            assert mine
        if end == "kill":
            process.kill()
        else:
            process.stdin.write("\n")
            process.stdin.flush()
        process.wait(timeout=60)
        with RunFolder(tmp_path, "abc-s0").lock() as mine:
            assert mine


def test_a_lock_is_free_after_an_error(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "abc-s0")
    with pytest.raises(KeyError), folder.lock():
        raise KeyError
    with folder.lock() as mine:
        assert mine


def test_sweep(folder: RunFolder) -> None:
    torn = [folder / ".predictions.csv.77.part", folder / "deep/.weights.bin.78.part"]
    for path in torn:
        path.write_bytes(b"half")
    assert folder.verify() == []
    folder.sweep()
    assert not any(path.exists() for path in torn)
    assert folder.verify() == []


# --- seal --------------------------------------------------------------------------------------


def test_manifest(folder: RunFolder) -> None:
    manifest = folder.manifest
    assert manifest is not None
    assert {k: manifest[k] for k in ("run_id", "status", "inputs")} == {
        "run_id": "abc-s0", "status": "predicted", "inputs": "d1",
    }  # fmt: skip
    assert list(manifest["results"]) == ["deep/weights.bin", "predictions.csv"]
    assert list(manifest["records"]) == ["env.json"]
    assert manifest["results"]["predictions.csv"] == file_digest(folder / "predictions.csv")
    assert folder.verify() == []


def test_sealing_again_gives_the_same_bytes(folder: RunFolder) -> None:
    before = (folder / "manifest.json").read_bytes()
    folder.seal(inputs="d1", status="predicted")
    assert (folder / "manifest.json").read_bytes() == before
    assert json.loads(before)


def test_an_unfinished_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "abc-s0")
    assert folder.manifest is None
    assert folder.verify() == ["abc-s0: no manifest.json: the run is not finished"]


def test_verify_names_what_differs(folder: RunFolder) -> None:
    path = folder / "predictions.csv"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(bytes(data))
    assert folder.verify() == ["abc-s0/predictions.csv: altered (sha256 differs)"]
    (folder / "deep/weights.bin").unlink()
    (folder / "notes.txt").write_text("x")
    assert folder.verify() == [
        "abc-s0/deep/weights.bin: missing",
        "abc-s0/notes.txt: not in the manifest",
        "abc-s0/predictions.csv: altered (sha256 differs)",
    ]
    data[5] ^= 1
    path.write_bytes(bytes(data))
    (folder / "env.json").write_text("{}")
    assert "abc-s0/env.json: altered (sha256 differs)" in folder.verify()


def test_a_broken_manifest_is_named(folder: RunFolder) -> None:
    (folder / "manifest.json").write_text("{")
    [problem] = folder.verify()
    assert "manifest.json: altered (not readable" in problem
