"""Files written whole or not at all, and their digests."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import RunError


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
        "free space or give another folder (--out FOLDER); finished work is kept",
    )


def file_digest(path: Path) -> str:
    """sha256 hex of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
