"""Files written whole or not at all, and their digests."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

from bench.errors import BenchError, DataError, RunError

NO_LOCKS = (
    "give a folder on a filesystem with locks (NFS without nolock, Lustre with flock), or start "
    "one process only"
)
PRIVATE_LOCKS = ("nolock", "local_lock=all", "local_lock=flock", "localflock", "noflock")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` when the block ends without an error.

    A reader, or a process that comes after a kill, sees the old file or the new one, never half.
    The path to write to is a new file of a name that nobody can foresee: a link that lies in the
    folder is not written through.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch(exist_ok=False)
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Exclusive between processes, on a file or folder; the system releases what a dead one held.

    A folder that its file system does not lock is not locked.
    """
    is_folder = path.is_dir()
    flags = os.O_RDONLY if is_folder else os.O_WRONLY | os.O_CREAT
    handle = os.open(path, flags, 0o666)
    try:
        with suppress(OSError) if is_folder else nullcontext():
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file whole or not at all; a disk that refuses is a RunError that says so."""
    try:
        with replacing(path) as part:
            part.write_bytes(data.encode() if isinstance(data, str) else data)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> RunError:
    """The error for a file or folder that the system refuses to write."""
    return RunError(
        f"cannot write {path}: {error.strerror}",
        "free space, or give another folder (--out for runs, --cache for caches, --reports for "
        "reports, --board, $BENCH_WEIGHTS); finished work is kept",
    )


def locked(file: IO[str]) -> bool:
    """Lock an open file for this process alone; False where another one has it.

    BenchError where the filesystem has no locks: two processes would train one run.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise BenchError(f"{file.name} cannot be locked: {error.strerror}", NO_LOCKS) from error
    return True


def keeps_locks_to_itself(path: Path, mounts: str | None = None) -> str | None:
    """Why locks below `path` are not seen by other machines; None where nothing says so.

    mounts: text of /proc/mounts. NFS mounted with nolock or local_lock, Lustre with localflock:
    there a lock succeeds on every machine at once.
    """
    table = Path("/proc/mounts")
    if mounts is None:
        mounts = table.read_text(encoding="utf-8") if table.exists() else ""
    rows = [line.split()[1:4] for line in mounts.splitlines()]
    above = [row for row in rows if path.resolve().is_relative_to(row[0])]
    if not above:
        return None
    place, kind, options = max(above, key=lambda row: len(row[0]))
    own = [o for o in options.split(",") if o in PRIVATE_LOCKS]
    return f"{place} ({kind}) is mounted with {own[0]}" if own else None


def refuse_pipe(path: Path) -> None:
    """A DataError for a pipe that nobody may ever write to; `<(command)` is one that is written."""
    given = path.is_relative_to("/dev") or path.is_relative_to("/proc")
    if path.is_fifo() and not given:
        raise DataError(f"{path} is a pipe, not a file", "give the file itself, or <(command)")


def csv_text(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A CSV file as the harness writes it: LF line ends, floats by their repr, "" for None."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def file_digest(path: Path) -> str:
    """sha256 hex of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
