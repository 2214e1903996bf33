"""Downloading weights when a user asks for it: with progress, resumed, and checked."""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

from bench.errors import MissingError, RunError
from bench.weights import Resolved, add, entry, folder, how

CHUNK = 1 << 20
TIMEOUT = 60.0  # seconds without a byte


def fetch(name: str, progress: Callable[[int, int], None] = lambda done, total: None) -> Resolved:
    """Download a name's file into the user's folder, check its digest and record it.

    An interrupted download is continued where it stopped, if the server allows. `progress` gets
    bytes done and bytes in all (0: not known). A file with a wrong digest is deleted.
    """
    found = entry(name)
    if not found.url:
        raise MissingError(f"weights {name!r} have no public download address", how(found))
    # Weights with companions are collected in a folder, where `add` finds these beside them.
    stage = folder() / f"{name}.download" if found.beside else folder()
    stage.mkdir(parents=True, exist_ok=True)
    part = stage / f"{Path(found.file).name}.download"
    try:
        for companion in found.beside:
            (stage / companion).unlink(missing_ok=True)  # small: not worth continuing
            download(f"{found.url.rpartition('/')[0]}/{companion}", stage / companion, progress)
        download(found.url, part, progress)
    except (urllib.error.URLError, OSError) as error:
        raise RunError(
            f"download of {name!r} from {found.url} failed: {error}",
            f"`bench weights fetch {name}` again continues it; or: {how(found)}",
        ) from error
    try:
        return add(name, part)
    finally:
        part.unlink(missing_ok=True)
        if found.beside:
            shutil.rmtree(stage)


def download(url: str, part: Path, progress: Callable[[int, int], None]) -> None:
    """Append to `part` what is missing of `url`; start anew when the server ignores the range."""
    start = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # nothing is left to send
            return
        raise
    with response:
        if response.status != 206:
            start = 0
        length = int(response.headers.get("Content-Length") or 0)
        total = start + length if length else 0
        with _opened(part, "ab" if start else "wb") as file:
            done = start
            while block := response.read(CHUNK):
                file.write(block)
                done += len(block)
                progress(done, total)
    if total and done < total:
        raise OSError(f"the connection ended after {done} of {total} bytes")


def _opened(part: Path, mode: str) -> IO[bytes]:
    """The file itself: what a link of its name points to is not written."""
    return open(part, mode, opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW, 0o666))
