"""Working off a plan beside other processes: order, locks, and what is done while waiting."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.errors import DataError
from bench.runs.workspace import Workspace
from bench.store import RunFolder, write_json
from bench.suites.work import Job, side_by_side
from bench.terminal import Progress


class Recorded(Job):
    """Notes the runs that it would train."""

    def __init__(self, work: Workspace, parent: int = 0) -> None:
        super().__init__(work, Progress(), (), parent)
        self.done: list[str] = []

    def _train_and_score(self, spec: Any, folder: RunFolder) -> None:
        self.done.append(spec.run_id)
        folder.seal(status="scored")


def plan(*names: str) -> Any:
    """Floors have names of capitals."""
    planned = [
        SimpleNamespace(
            name=n,
            label=n,
            origin="floor" if n.isupper() else "trained",
            spec=SimpleNamespace(run_id=n, seed=0, training=SimpleNamespace(run_id=n)),
        )
        for n in names
    ]
    return SimpleNamespace(distinct=lambda: planned)


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "runs", tmp_path / "cache")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.suites.work.WAIT", 0.01)


def parents(monkeypatch: pytest.MonkeyPatch, pid: int) -> None:
    monkeypatch.setattr("bench.suites.work.os.getppid", lambda: pid)


def test_a_job_goes_from_the_start_and_a_helper_from_the_end(
    work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, helper = Recorded(work), Recorded(work, parent=7)
    parents(monkeypatch, 7)
    helper.help(plan("FLOOR", "a", "b"), True, wait=False, idle=pytest.fail)
    mine.run(plan("FLOOR", "a", "b"), True)
    assert helper.done == ["b", "a"]
    assert mine.done == ["FLOOR", "a", "b"]  # which finds them finished, as a real one would


def test_a_helper_does_not_wait_unless_told(
    work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents(monkeypatch, 7)
    helper = Recorded(work, parent=7)
    with RunFolder(work.out, "a").lock() as held:
        assert held
        helper.help(plan("a", "b"), True, wait=False, idle=pytest.fail)
    assert helper.done == ["b"]


def test_a_helper_leaves_rows_whose_training_another_process_has(
    work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents(monkeypatch, 7)
    job, wanted = Recorded(work, 7), plan("a", "a-greedy", "b")
    wanted.distinct()[1].spec.training.run_id = "a"
    with RunFolder(work.out, "a").lock() as mine:
        assert mine
        job.help(wanted, until_scored=True, wait=False)
    assert job.done == ["b"]
    job.help(wanted, until_scored=True, wait=False)
    assert job.done[1:] == ["b", "a", "a-greedy"]  # what is done is passed over by the task itself


def test_a_helper_stops_when_its_parent_is_gone(
    work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents(monkeypatch, 1)
    helper = Recorded(work, parent=7)
    helper.help(plan("a", "b"), True, wait=True, idle=pytest.fail)
    assert helper.done == []


def test_while_others_hold_the_rest_it_rehearses_once_and_then_goes_on(work: Workspace) -> None:
    mine, calls = Recorded(work), []
    with ExitStack() as held:
        held.enter_context(RunFolder(work.out, "b").lock())
        timer = threading.Timer(0.1, held.pop_all().close)
        timer.start()
        mine.run(plan("a", "b"), True, idle=lambda: calls.append(list(mine.done)))
        timer.join()
    assert calls == [["a"]]
    assert mine.done == ["a", "b"]


def test_a_manifest_without_its_seal_is_no_finished_run(work: Workspace) -> None:
    job, folder = Job(work, Progress(), ()), RunFolder(work.out, "a")
    folder.path.mkdir(parents=True)
    folder.seal(status="predicted")
    spec: Any = SimpleNamespace(run_id="a")
    assert job._is_finished(spec)
    manifest = {k: v for k, v in (folder.manifest or {}).items() if k != "seal"}
    write_json(folder / "manifest.json", manifest)
    with pytest.raises(DataError, match="has no seal"):
        job._is_finished(spec)


@pytest.mark.parametrize(
    ("device", "threads", "count"), [("cpu", 1, 8), ("cpu", 3, 2), ("cpu", 0, 1), ("cuda", 1, 1)]
)
def test_runs_side_by_side(
    monkeypatch: pytest.MonkeyPatch, device: str, threads: int, count: int
) -> None:
    monkeypatch.setattr("bench.suites.work.os.cpu_count", lambda: 8)
    assert side_by_side(SimpleNamespace(threads=threads), SimpleNamespace(device=device)) == count
