"""runs/<run_id>/: whole files, one lock, and a manifest that is written last.

Files are of two kinds. `results` are determined by the spec (same machine, deterministic flag):
predictions, curve, weights, scores. `records` tell about this execution (times, machine, log).
The manifest holds the sha256 of each; a folder without it is unfinished work. Weights may be left
behind when a sealed folder moves: they stay sealed, and what was made of them goes on being used.
"""

from __future__ import annotations

import json
import os
import socket
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from zipfile import BadZipFile

from bench.canonical import digest, from_dict
from bench.errors import BenchError, DataError, some, unknown
from bench.files import file_digest, locked, unwritable, write_atomic
from bench.spec import RunSpec

if TYPE_CHECKING:
    import numpy as np

MANIFEST = "manifest.json"
SEAL = "seal"
LOCK, FAILED = ".lock", ".failed"
WEIGHTS = "weights.safetensors"
ENVIRONMENT = "env.json"
# Its part that says where the run's training was made, if that was for another run, and which.
TRAINING, RUN = "training", "run"
RECORDS = frozenset({ENVIRONMENT, "timing.json", "run.log"})
IGNORED = frozenset({MANIFEST, LOCK})
FACTS = {"run_id": str, "status": str, "results": dict, "records": dict}
PUT_BACK = "put the file back as it was, or remove the folder and run again"


def write_json(path: Path, data: Any) -> None:
    write_atomic(path, _json(data))


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Parsed JSON, out of a sealed run only as it was sealed; anything else is a DataError."""
    try:
        return json.loads(sealed(path).read_bytes().decode("utf-8"), parse_constant=_no_number)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", PUT_BACK) from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, nested too deeply
        raise DataError(f"{path} is not valid JSON: {error}", PUT_BACK) from error


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file, out of a sealed run only as they were sealed; else a DataError.

    Numbers and texts: pickled objects, which numpy would offer to execute, are damage.
    """
    import numpy as np

    try:
        with np.load(sealed(path), allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except OSError as error:
        raise damaged(path, error.strerror or "it ends early or is no such file") from error
    except (AttributeError, *DAMAGE) as error:
        raise damaged(path, "it is not an npz file of numbers and texts") from error


# What readers of npz files raise for one that is none (an array alone has no `files`).
DAMAGE = (EOFError, ValueError, LookupError, TypeError, NotImplementedError, BadZipFile, zlib.error)


def damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path} is damaged: {why}", PUT_BACK)


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


def sealed(path: Path) -> Path:
    """`path`, after a file of a sealed run was compared with its manifest, once a process.

    What lies beside no manifest, or is not in it yet, is passed as it is. DataError for a file
    that is missing or altered.
    """
    manifest = path.with_name(MANIFEST)
    if path.name == MANIFEST or not manifest.is_file():
        return path
    manifest = manifest.resolve()
    known = _digests(manifest, manifest.stat().st_mtime_ns)
    if path.name not in known:
        return path
    try:
        facts = path.stat()
    except FileNotFoundError:
        raise DataError(f"{path} is missing from a sealed run", PUT_BACK) from None
    if _digest(path, facts.st_size, facts.st_mtime_ns) != known[path.name]:
        raise DataError(f"{path} was altered: its sha256 is not the sealed one", PUT_BACK)
    return path


@lru_cache(maxsize=4096)
def _digests(manifest: Path, modified: int) -> Mapping[str, str]:
    content = RunFolder(manifest.parent.parent, manifest.parent.name).manifest or {}
    return {**content["results"], **content["records"]}


@lru_cache(maxsize=65536)
def _digest(path: Path, size: int, modified: int) -> str:
    return file_digest(path)


# --- what can be computed again --------------------------------------------------------------


def keep(path: Path, content: Any) -> None:
    """Keep JSON in a cache, with its digest."""
    write_json(path, {"content": content, "digest": digest(content)})


def kept(path: Path) -> Any:
    """What `keep` kept; None where there is nothing, or something damaged."""
    if not path.is_file():
        return None
    try:
        found = read_json(path)
        return found["content"] if found["digest"] == digest(found["content"]) else None
    except (DataError, LookupError, TypeError, ValueError):
        return None


# --- runs ------------------------------------------------------------------------------------


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

    def begins(self) -> None:
        """Forget why the run was left undone before; only with the lock held."""
        (self.path / FAILED).unlink(missing_ok=True)

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
        """The manifest of a sealed run, None for unfinished work; DataError for an altered one."""
        if not (self.path / MANIFEST).exists():
            return None
        for problem in self.manifest_problems():
            raise DataError(f"{self.path.parent}/{problem}", PUT_BACK)
        return cast(Mapping[str, Any], read_json(self.path / MANIFEST))

    def files(self) -> list[str]:
        """Names relative to the folder, sorted; hidden and temporary files left out."""
        found = (p.relative_to(self.path) for p in self.path.rglob("*") if p.is_file())
        return sorted(
            f.as_posix() for f in found if f.name not in IGNORED and not f.name.startswith(".")
        )

    def seal(self, **facts: Any) -> None:
        """Write the manifest: digests of every file, `facts` (status, digests of inputs), and
        last the digest of all that, so that a changed byte in the manifest is found, too."""
        digests = {name: file_digest(self.path / name) for name in self.files()} | self.left_behind
        results = {k: v for k, v in digests.items() if k not in RECORDS}
        records = {k: v for k, v in digests.items() if k in RECORDS}
        content = {"run_id": self.run_id, **facts, "results": results, "records": records}
        write_json(self.path / MANIFEST, {**content, SEAL: digest(content)})

    @property
    def left_behind(self) -> dict[str, str]:
        """The sealed weights and their sha256 where they are not here; empty where they are."""
        absent = (self / MANIFEST).exists() and not (self / WEIGHTS).exists()
        whole = absent and not self.manifest_problems()
        sealed = read_json(self / MANIFEST)["results"] if whole else {}
        return {WEIGHTS: sealed[WEIGHTS]} if WEIGHTS in sealed else {}

    def verify(self) -> list[str]:
        """What differs from what was sealed, one sentence a file; empty for an intact run."""
        if not (self.path / MANIFEST).exists():
            return [f"{self.run_id}: no {MANIFEST}: the run is not finished"]
        return self.manifest_problems() or list(self._altered().values())

    def refuse_altered(self, *made: str) -> None:
        """DataError where a file of a sealed run is not as sealed; `made`: how the names of those
        begin that are made again now.

        Before the run is sealed again: an altered file must not become a sealed one.
        """
        if self.manifest is None:
            return
        for name, problem in self._altered().items():
            if not name.startswith(made):
                raise DataError(f"{self.path.parent}/{problem}", PUT_BACK)

    def manifest_problems(self) -> list[str]:
        """Why the manifest cannot be believed; it is named as `run_id/manifest.json`."""
        where, path = f"{self.run_id}/{MANIFEST}", self.path / MANIFEST
        try:
            manifest = read_json(path)
        except DataError as error:
            return [f"{where}: altered (not readable: {error.message})"]
        if not isinstance(manifest, dict) or not is_whole(manifest):
            told = isinstance(manifest, dict) and SEAL in manifest
            return [f"{where}: {'altered (its seal does not fit)' if told else 'has no seal'}"]
        if not all(isinstance(manifest.get(k), t) for k, t in FACTS.items()):
            return [f"{where}: is not the manifest of a run"]
        if manifest["run_id"] != self.run_id:
            return [f"{where}: is the manifest of {manifest['run_id']}"]
        if path.read_text(encoding="utf-8") != _json(manifest):
            return [f"{where}: altered (not as it was written)"]
        return []

    def _altered(self) -> dict[str, str]:
        """File -> what is wrong with it."""
        manifest = read_json(self.path / MANIFEST)
        known = {**manifest["results"], **manifest["records"]}
        problems = {}
        for name in sorted({*known, *self.files()} - self.left_behind.keys()):
            path = self.path / name
            if name not in known:
                problems[name] = f"{self.run_id}/{name}: not in the manifest"
            elif not path.exists():
                problems[name] = f"{self.run_id}/{name}: missing"
            elif file_digest(path) != known[name]:
                problems[name] = f"{self.run_id}/{name}: altered (sha256 differs)"
        return problems


def made_in(folder: RunFolder) -> dict[str, Any]:
    """The environment that a run's training was made in."""
    made = cast(dict[str, Any], read_json(folder / ENVIRONMENT))
    return cast(dict[str, Any], made.get(TRAINING, made))


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
    path = folder / "spec.json"
    spec = from_dict(RunSpec, read_json(path), str(path))
    if spec.run_id != folder.run_id:
        raise BenchError(
            f"{folder.path}/spec.json is the spec of {spec.run_id}", "the folder was altered"
        )
    return spec
