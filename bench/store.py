"""runs/<run_id>/: whole files, one lock, and a manifest that is written last.

Files are of two kinds. `results` are determined by the spec (same machine, deterministic flag):
predictions, curve, weights, scores. `records` tell about this execution (times, machine, log).
The manifest holds the sha256 of each; a folder without it is unfinished work.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.canonical import digest, from_dict
from bench.errors import BenchError, DataError, some, unknown
from bench.files import file_digest, locked, unwritable, write_atomic
from bench.spec import RunSpec

MANIFEST = "manifest.json"
SEAL = "seal"
LOCK, FAILED = ".lock", ".failed"
RECORDS = frozenset({"env.json", "timing.json", "run.log"})
IGNORED = frozenset({MANIFEST, LOCK})


def write_json(path: Path, data: Any) -> None:
    write_atomic(path, _json(data))


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Parsed JSON; a file that is not JSON is a DataError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is not valid JSON: {error}", "remove the folder and run again"
        ) from error


def is_whole(manifest: Mapping[str, Any]) -> bool:
    """Whether the manifest is the one that was sealed."""
    content = {k: v for k, v in manifest.items() if k != SEAL}
    return bool(manifest.get(SEAL) == digest(content))


class RunFolder:
    """One run's folder under `root`, named by its run_id."""

    def __init__(self, root: Path, run_id: str) -> None:
        if (
            run_id in ("", "..") or run_id != Path(run_id).name
        ):  # such as a/b, or "..": never outside `root`
            raise BenchError(f"{run_id!r} cannot be the id of a run", "see the folder of runs")
        self.run_id = run_id
        self.path = root / run_id

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Yield whether this process has the run; the system frees the lock of a killed one.

        The lock's file says who has it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / LOCK).open("a+")
        except OSError as error:
            raise unwritable(self.path, error) from error
        with file:
            if not locked(file):
                yield False
                return
            file.truncate(0)
            file.write(f"{socket.gethostname()} process {os.getpid()}")
            file.flush()
            yield True

    @property
    def holder(self) -> str | None:
        """The machine and process that work on the run now; None where none does."""
        if not (self.path / LOCK).exists():
            return None
        with (self.path / LOCK).open("r+") as file:
            return None if locked(file) else file.read() or "another process"

    def failed(self, error: BaseException) -> None:
        """Keep why the run was left undone, for `bench status`; hidden from its seal."""
        text = getattr(error, "message", "") or f"{type(error).__name__}: {error}"
        write_atomic(self.path / FAILED, text)

    @property
    def failure(self) -> str | None:
        """Why the run was left undone last time; None where it was not, or is sealed since."""
        path = self.path / FAILED
        if not path.exists() or (self.path / MANIFEST).exists():
            return None
        return path.read_text(encoding="utf-8")

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
        """Write the manifest: digests of every file, `facts` (status, digests of inputs), and
        last the digest of all that, so that a changed byte in the manifest is found, too."""
        digests = {name: file_digest(self.path / name) for name in self.files()}
        results = {k: v for k, v in digests.items() if k not in RECORDS}
        records = {k: v for k, v in digests.items() if k in RECORDS}
        content = {"run_id": self.run_id, **facts, "results": results, "records": records}
        write_json(self.path / MANIFEST, {**content, SEAL: digest(content)})

    def verify(self) -> list[str]:
        """What differs from what was sealed, one sentence a file; empty for an intact run."""
        if not (self.path / MANIFEST).exists():
            return [f"{self.run_id}: no {MANIFEST}: the run is not finished"]
        return self.manifest_problems() or self._altered()

    def manifest_problems(self) -> list[str]:
        """Why the manifest cannot be believed; it is named as `run_id/manifest.json`."""
        where, path = f"{self.run_id}/{MANIFEST}", self.path / MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:  # bytes that are not UTF-8, text that is not JSON
            return [f"{where}: altered (not readable: {error})"]
        if not isinstance(manifest, dict) or not is_whole(manifest):
            told = isinstance(manifest, dict) and SEAL in manifest
            return [f"{where}: {'altered (its seal does not fit)' if told else 'has no seal'}"]
        if manifest["run_id"] != self.run_id:
            return [f"{where}: is the manifest of {manifest['run_id']}"]
        if path.read_text(encoding="utf-8") != _json(manifest):
            return [f"{where}: altered (not as it was written)"]
        return []

    def _altered(self) -> list[str]:
        manifest = read_json(self.path / MANIFEST)
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


def find_runs(
    out: Path, prefix: str, kind: str = "run", others: Iterable[str] = ()
) -> list[RunFolder]:
    """Sealed runs whose id begins with `prefix` ("": all); none is an error.

    `kind` and `others`: what else the caller would have taken, for that error.
    """
    known = sorted(p.parent.name for p in out.glob(f"*/{MANIFEST}"))
    chosen = [name for name in known if name.startswith(prefix)]
    if not chosen:
        if prefix:
            raise unknown(kind, prefix, [*known, *others])
        raise BenchError(f"no sealed run in {out}", "run a suite first, or give --out")
    return [RunFolder(out, name) for name in chosen]


def find_run(out: Path, prefix: str, kind: str = "run", others: Iterable[str] = ()) -> RunFolder:
    """The only sealed run whose id begins with `prefix`; none or several is an error."""
    found = find_runs(out, prefix, kind, others)
    if len(found) > 1:
        ids = some((folder.run_id for folder in found), 3)
        raise BenchError(
            f"{prefix!r} fits the ids of {len(found)} runs",
            f"give more of the id, e.g. one of {ids}",
        )
    return found[0]


def load_spec(folder: RunFolder) -> RunSpec:
    """The spec of a run; one whose content is not that of the folder's name is refused."""
    spec = from_dict(RunSpec, read_json(folder / "spec.json"), "spec.json")
    if spec.run_id != folder.run_id:
        raise BenchError(
            f"{folder.path}/spec.json is the spec of {spec.run_id}", "the folder was altered"
        )
    return spec
