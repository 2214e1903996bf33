"""Helpers elsewhere: started again when lost, refused where locks are not shared; bench status."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.commands.run import _check_launcher
from bench.commands.status import state_of
from bench.errors import BenchError
from bench.files import keeps_locks_to_itself
from bench.spec import BudgetSpec
from bench.store import FAILED, RunFolder
from bench.suites import launch
from bench.suites.work import _failing, is_left


class Processes:
    """An engine of processes of this machine."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []

    def submit(self, command: Sequence[str]) -> Any:
        self.started.append(subprocess.Popen(command))
        return self.started[-1]

    def ended(self, job: subprocess.Popen[bytes]) -> bool | None:
        code = job.poll()
        return None if code is None else code == 0

    def cancel(self, job: subprocess.Popen[bytes]) -> None:
        job.kill()
        job.wait()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "LOOK", 0.02)
    monkeypatch.setattr(launch, "PATIENCE", 0.1)


def counting(folder: Path, dies: int) -> list[str]:
    """A command that leaves one more file each time, and is killed the first `dies` times."""
    code = (
        f"import os, pathlib; p = pathlib.Path({str(folder)!r}); n = len(list(p.iterdir()));"
        f"(p / str(os.getpid())).touch(); n < {dies} and os.kill(os.getpid(), 9)"
    )
    return [sys.executable, "-c", code]


@pytest.mark.parametrize(("dies", "starts"), [(0, 1), (2, 3), (99, 1 + launch.RESTARTS)])
def test_a_lost_helper_is_started_again_a_few_times(tmp_path: Path, dies: int, starts: int) -> None:
    said: list[str] = []
    launch.attend(Processes(), counting(tmp_path, dies), 1, lambda: False, said.append)
    assert len(list(tmp_path.iterdir())) == starts
    assert len(said) == starts - 1


def test_helpers_that_have_not_begun_are_stopped_when_nothing_is_left() -> None:
    engine = Processes()
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    launch.attend(engine, command, 2, lambda: True, print)
    assert [job.returncode for job in engine.started] == [-9, -9]


def test_options_of_an_engine() -> None:
    found = launch.options_of(["slurm_partition=gpu", "timeout_min=60"])
    assert found == {"slurm_partition": "gpu", "timeout_min": 60}
    with pytest.raises(BenchError, match="--launcher-option"):
        launch.options_of(["timeout_min"])


@pytest.mark.parametrize("name", ["submitit", "ray"])
def test_an_engine_that_is_not_installed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BenchError, match=f"{name} is not installed"):
        launch.ENGINES[name](tmp_path, {})


@pytest.mark.parametrize(
    ("launcher", "options", "processes", "said"),
    [("local", ["a=1"], 1, "a=1 without --launcher"), ("ray", [], 2, "ray under torchrun"),
     ("ray", ["a"], 1, "--launcher-option 'a'")],
)  # fmt: skip
def test_what_a_launcher_would_not_look_at_is_refused(
    launcher: str,
    options: list[str],
    processes: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    with pytest.raises(BenchError, match=said):
        _check_launcher(argparse.Namespace(launcher=launcher, launcher_option=options))


# --- locks ---------------------------------------------------------------------------------------

MOUNTS = """/dev/sda1 / ext4 rw,relatime 0 0
server:/a /data nfs rw,vers=3,nolock,addr=10.0.0.1 0 0
server:/b /data/locks nfs4 rw,vers=4.2,local_lock=none 0 0
pool@tcp:/c /scratch lustre rw,localflock 0 0
"""


@pytest.mark.parametrize(
    ("path", "why"),
    [("/home/x", None), ("/data/runs", "nolock"), ("/data/locks/runs", None),
     ("/scratch/runs", "localflock")],
)  # fmt: skip
def test_filesystems_whose_locks_other_machines_do_not_see(path: str, why: str | None) -> None:
    found = keeps_locks_to_itself(Path(path), MOUNTS)
    assert (found is None) == (why is None)
    assert why is None or why in (found or "")


def test_a_helper_that_gets_the_probe_s_lock_stops(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from bench.suites.launch import sees_locks;"
        f"sees_locks(Path({str(tmp_path)!r}))"
    )
    command = [sys.executable, "-c", code]
    with launch.probe(tmp_path):
        assert subprocess.run(command, check=False).returncode == 0
    alone = subprocess.run(command, check=False, capture_output=True, text=True)
    assert "keeps its locks to one machine" in alone.stderr
    with pytest.raises(BenchError, match="not the folder of the command"):
        launch.sees_locks(tmp_path / "other")


# --- status --------------------------------------------------------------------------------------

SPEC: Any = SimpleNamespace(run_id="a", budget=BudgetSpec("steps", 10))


def test_a_second_command_has_the_probe_s_lock_after_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "LOOK", 0.02)
    first, second = launch.probe(tmp_path), launch.probe(tmp_path)
    first.__enter__()
    second.__enter__()
    launch.sees_locks(tmp_path)
    first.__exit__(None, None, None)
    time.sleep(0.2)
    launch.sees_locks(tmp_path)  # the second's helpers are not refused
    second.__exit__(None, None, None)
    with pytest.raises(BenchError, match="is free"):
        launch.sees_locks(tmp_path)


def test_a_helper_has_the_settings_of_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a cluster whose workers were started without them."""
    monkeypatch.setenv("BENCH_DATA", "/data/of/mine")
    given = launch.settings()
    monkeypatch.delenv("BENCH_DATA")
    ask = "import os, sys; sys.exit(os.environ.get('BENCH_DATA') != '/data/of/mine')"
    assert launch.assist([sys.executable, "-c", ask], str(tmp_path), given) == 0
    assert launch.assist([sys.executable, "-c", ask], str(tmp_path), {}) == 1


def test_states_of_a_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "a")
    assert state_of(SPEC, folder) == ("waiting", "")
    with folder.lock():
        state, where = state_of(SPEC, folder)
        assert state == "running"
        assert f"process {os.getpid()}; at its beginning" in where
    assert state_of(SPEC, folder) == ("waiting", "")
    folder.failed(ValueError("no room"))
    assert state_of(SPEC, folder) == ("failed", "ValueError: no room (at its beginning)")
    with folder.lock(), _failing(folder):
        pass  # tried again
    assert state_of(SPEC, folder) == ("waiting", "")
    folder.failed(ValueError("no room"))
    folder.seal(status="predicted")
    assert state_of(SPEC, folder) == ("done", "predicted")
    assert FAILED not in folder.files()


def test_what_is_left_of_a_plan(tmp_path: Path) -> None:
    planned = SimpleNamespace(origin="trained", spec=SPEC)
    plan: Any = SimpleNamespace(distinct=lambda: [planned], waiting=())
    assert is_left(plan, tmp_path, score=False)
    (tmp_path / "a").mkdir()
    RunFolder(tmp_path, "a").seal(status="predicted")
    assert not is_left(plan, tmp_path, score=False)
    assert is_left(plan, tmp_path, score=True)
    waiting: Any = SimpleNamespace(distinct=lambda: [planned], waiting=("UAR: waits",))
    assert is_left(waiting, tmp_path, score=False)


# --- the engines themselves ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["submitit", "ray"])
def test_a_real_engine_runs_and_starts_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(name)
    monkeypatch.setenv("RAY_worker_niceness", "0")
    counts = tmp_path / "counts"
    counts.mkdir()
    engine = launch.ENGINES[name](tmp_path / "logs", {})
    launch.attend(engine, counting(counts, 1), 1, lambda: False, print)
    assert len(list(counts.iterdir())) == 2
