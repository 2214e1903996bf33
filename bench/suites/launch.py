"""Helpers of `bench run` on other machines: Slurm through submitit, or a Ray cluster.

A helper is the same command on the same folder: the runs' locks and seals say what is left. One
that is lost loses what its run did since the last checkpoint; another goes on from there.

Both engines are optional packages.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from bench.errors import BenchError, MissingError
from bench.files import NO_LOCKS, keeps_locks_to_itself, locked

LOOK = 2.0  # seconds between looks at helpers
PATIENCE = 30.0  # seconds that helpers have to end once nothing is left
RESTARTS = 3  # of all helpers of a command that end before their work does
SETTINGS = ("BENCH_", "HF_", "OMP_", "PYTHONPATH")
PROBE = ".launcher"  # locked while a command has helpers: who can lock it, too, shares no locks


class Engine(Protocol):
    """Where helpers run; `options`: the engine's own, as `--launcher-option` gives them."""

    def submit(self, command: Sequence[str]) -> Any:
        """Start a command somewhere, in this folder and environment."""

    def ended(self, job: Any) -> bool | None:
        """None while it waits or runs; then whether it came to its end without an error."""

    def cancel(self, job: Any) -> None:
        """Stop it, if it has not ended."""


class Submitit:
    """Slurm where there is one, else processes of this machine (submitit's local executor)."""

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        try:
            import submitit
        except ImportError as error:
            raise MissingError("submitit is not installed", "pip install submitit") from error
        self._command = submitit.helpers.CommandFunction
        self._executor = submitit.AutoExecutor(folder=folder)
        self._executor.update_parameters(name="bench", **{"timeout_min": 24 * 60, **options})

    def submit(self, command: Sequence[str]) -> Any:
        return self._executor.submit(self._command(list(command), verbose=False))

    def ended(self, job: Any) -> bool | None:
        return job.exception() is None if job.done() else None

    def cancel(self, job: Any) -> None:
        if not job.done():
            job.cancel()


class Ray:
    """The cluster of $RAY_ADDRESS, else one of this machine. options: of a task, as `num_gpus`."""

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingError("ray is not installed", "pip install ray") from error
        self._ray = ray
        own = {} if "RAY_ADDRESS" in os.environ else {"include_dashboard": False}
        if not ray.is_initialized():
            ray.init(log_to_driver=False, configure_logging=False, **own)
        self._task = ray.remote(assist).options(max_retries=0, **options)

    def submit(self, command: Sequence[str]) -> Any:
        return self._task.remote(list(command), str(Path.cwd()), settings())

    def ended(self, job: Any) -> bool | None:
        if not self._ray.wait([job], timeout=0)[0]:
            return None
        try:
            return bool(self._ray.get(job) == 0)
        except self._ray.exceptions.RayError:  # its worker or its machine is gone
            return False

    def cancel(self, job: Any) -> None:
        self._ray.cancel(job, force=True)


ENGINES: Mapping[str, Callable[[Path, Mapping[str, Any]], Engine]] = {
    "submitit": Submitit,
    "ray": Ray,
}


def settings() -> dict[str, str]:
    """Environment variables that a helper needs as this command has them: a worker of a cluster
    that was there before has its own."""
    return {k: v for k, v in os.environ.items() if k.startswith(SETTINGS)}


def assist(command: Sequence[str], folder: str, given: Mapping[str, str]) -> int:
    """A helper's exit code; stopped together with the task that it runs in."""
    environment = {**os.environ, **given}
    child = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    try:
        return child.wait()
    finally:
        child.terminate()


def options_of(given: Sequence[str]) -> dict[str, Any]:
    """key=value settings of an engine; whole numbers as such."""
    pairs = [text.partition("=") for text in given]
    for key, equals, _ in pairs:
        if not key or not equals:
            raise BenchError(
                f"--launcher-option {key!r}", "give key=value, e.g. slurm_partition=gpu"
            )
    return {key: int(value) if value.isdigit() else value for key, _, value in pairs}


@contextmanager
def probe(out: Path) -> Iterator[None]:
    """Hold the lock by which helpers see whether they share locks with this machine."""
    if why := keeps_locks_to_itself(out):
        raise BenchError(f"locks in {out} are not seen by other machines: {why}", NO_LOCKS)
    out.mkdir(parents=True, exist_ok=True)
    with (out / PROBE).open("a") as file:
        over = threading.Event()
        # A second command of this folder leaves the lock to the first, and has it after that one.
        holder = threading.Thread(target=_hold, args=(file, over), daemon=True)
        if not locked(file):
            holder.start()
        try:
            yield
        finally:
            over.set()
            if holder.ident:
                holder.join()


def _hold(file: IO[str], over: threading.Event) -> None:
    """Wait for a file's lock until it is had, or all is over."""
    while not over.wait(LOOK / 4) and not locked(file):
        pass


def sees_locks(out: Path) -> None:
    """Called by a helper: BenchError where it can lock what the command that started it holds."""
    path = out / PROBE
    if not path.exists():
        raise BenchError(
            f"{out} is not the folder of the command that started this helper",
            "give --out a folder that all machines share",
        )
    with path.open("r+") as file:
        if locked(file):
            raise BenchError(
                f"the lock of {path} is free: either the command that started this helper has "
                "ended, or this filesystem keeps its locks to one machine",
                f"start the command again; {NO_LOCKS}",
            )


def attend(
    engine: Engine,
    command: Sequence[str],
    count: int,
    finished: Callable[[], bool],
    say: Callable[[str], None],
) -> None:
    """Start `count` helpers and wait until the work is `finished` or all have ended.

    A helper that ends with an error is started again, a few times in all.
    """
    jobs, left, over = [engine.submit(command) for _ in range(count)], RESTARTS, 0.0
    try:
        while jobs and over < PATIENCE:  # those that have begun end by themselves
            over += LOOK if finished() else 0.0
            for job in [*jobs]:
                ended = engine.ended(job)
                if ended is None:
                    continue
                jobs.remove(job)
                if not ended and left:
                    left -= 1
                    say(f"a helper was lost; another one starts ({left} more may)")
                    jobs.append(engine.submit(command))
            time.sleep(LOOK)
    finally:
        for job in jobs:
            engine.cancel(job)


def helper_command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "bench", *arguments]


def log_folder(out: Path) -> Path:
    """Where an engine writes its own logs: beside the runs, hidden from them."""
    return (out / ".helpers" / str(os.getpid())).absolute()
