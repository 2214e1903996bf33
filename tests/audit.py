"""What a process must not do, and what a disk may do: hooks of Python's audit events.

A hook cannot be taken away again, so each is set once and asks whether it is wanted just now.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FORBIDDEN = (
    "socket.",
    "pickle.find_class",
    "urllib.Request",
    "ftplib.",
    "http.client.",
    "smtplib.",
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGING = (
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.truncate",
    "os.link",
    "os.symlink",
)


@dataclass
class Watch:
    """Events that were forbidden and came; folders that may not be written; where a disk fails."""

    forbidden: bool = False
    seen: list[str] = field(default_factory=list)
    read_only: Path | None = None
    allowed: int = -1  # writes that succeed before the disk is full; -1: all
    error: int = 0


_watch = Watch()


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watch.forbidden and event.startswith(FORBIDDEN):
        _watch.seen.append(f"{event}{arguments!r:.100}")
        raise PermissionError(f"forbidden here: {event}")
    if _watch.read_only is not None and _is_write(event, arguments):
        _refuse_write(str(arguments[0]))


def _is_write(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        _, mode, flags = arguments
        return any(c in (mode or "") for c in "wax+") or bool((flags or 0) & WRITING)
    return event in CHANGING and isinstance(arguments[0], (str, bytes, os.PathLike))


def _refuse_write(name: str) -> None:
    assert _watch.read_only is not None
    if not Path(name).absolute().is_relative_to(_watch.read_only):
        return
    if _watch.allowed > 0:
        _watch.allowed -= 1
    elif _watch.allowed == 0:
        raise OSError(_watch.error, os.strerror(_watch.error), name)


sys.addaudithook(_hook)


@contextmanager
def forbidden() -> Iterator[list[str]]:
    """Sockets, downloads and unpickled classes raise in here, and are noted."""
    _watch.forbidden, _watch.seen = True, []
    try:
        yield _watch.seen
    finally:
        _watch.forbidden = False


@contextmanager
def failing(folder: Path, error: int, after: int = 0) -> Iterator[None]:
    """Whatever writes below `folder` fails with `error`, after so many writes that succeed."""
    _watch.read_only, _watch.error, _watch.allowed = folder.resolve(), error, after
    try:
        yield
    finally:
        _watch.read_only = None
