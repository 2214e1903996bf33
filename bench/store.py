"""runs/<run_id>/: atomic writes, one lock, and a manifest that is written last.

Files are of two kinds. `results` are determined by the spec (same machine, deterministic flag):
predictions, curve, weights, scores. `records` tell about this execution (times, machine, log).
The manifest holds the sha256 of each; a folder without it is unfinished work.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import DataError, RunError

MANIFEST = "manifest.json"
RECORDS = frozenset({"env.json", "timing.json", "run.log"})
IGNORED = frozenset({MANIFEST, ".lock"})


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write so that a reader, or a process that comes after a kill, sees old or new, never half."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if part.exists():
            part.unlink()
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(
        f"cannot write {path}: {error.strerror}",
        "free space or give another folder (--out FOLDER); finished work is kept",
    )


def write_json(path: Path, data: Any) -> None:
    write_atomic(path, json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Parsed JSON; a file that is not JSON is a DataError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is not valid JSON: {error}", "remove the folder and run again"
        ) from error


def file_digest(path: Path) -> str:
    """sha256 hex of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class RunFolder:
    """One run's folder under `root`, named by its run_id."""

    def __init__(self, root: Path, run_id: str) -> None:
        self.run_id = run_id
        self.path = root / run_id

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Yield whether this process has the run; the system frees the lock of a killed one."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / ".lock").open("w")
        except OSError as error:
            raise _unwritable(self.path, error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def sweep(self) -> None:
        """Remove halves of files that a killed process left; only with the lock held."""
        for part in self.path.rglob(".*.part"):
            part.unlink(missing_ok=True)

    # --- seal -----------------------------------------------------------------------------------

    @property
    def manifest(self) -> Mapping[str, Any] | None:
        """The manifest of a sealed run, None for unfinished work."""
        path = self.path / MANIFEST
        return read_json(path) if path.exists() else None

    def files(self) -> list[str]:
        """Names relative to the folder, sorted; hidden and temporary files left out."""
        found = (p.relative_to(self.path) for p in self.path.rglob("*") if p.is_file())
        return sorted(
            f.as_posix() for f in found if f.name not in IGNORED and not f.name.startswith(".")
        )

    def seal(self, **facts: Any) -> None:
        """Write the manifest: digests of every file, and `facts` (status, digests of inputs)."""
        digests = {name: file_digest(self.path / name) for name in self.files()}
        results = {k: v for k, v in digests.items() if k not in RECORDS}
        records = {k: v for k, v in digests.items() if k in RECORDS}
        content = {"run_id": self.run_id, **facts, "results": results, "records": records}
        write_json(self.path / MANIFEST, content)

    def verify(self) -> list[str]:
        """What differs from the manifest, one sentence a file; empty for an intact run."""
        manifest = self.manifest
        if manifest is None:
            return [f"{self.run_id}: no {MANIFEST}: the run is not finished"]
        known = {**manifest["results"], **manifest["records"]}
        problems = []
        for name in sorted({*known, *self.files()}):
            path = self.path / name
            if name not in known:
                problems.append(f"{self.run_id}/{name}: not in the manifest")
            elif not path.exists():
                problems.append(f"{self.run_id}/{name}: missing")
            elif file_digest(path) != known[name]:
                problems.append(f"{self.run_id}/{name}: altered (sha256 differs)")
        return problems
