"""Films drawn by several processes at once, and kept in memory.

A film is some hundred small array operations, which hold Python's lock: threads do not draw any
faster. Children are plain commands (keys in, pixels out), so that a caller's script needs no
guard around its main part.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bench.data.synthetic.keys import film
from bench.errors import BenchError

KEPT = 4096  # films: 64 MiB of the default size
WORTH = 256  # films, below which a child's start (a third of a second) costs more than it saves


class Films:
    """Films by (key, size), drawn once: several image sizes are made of the same ones."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], np.ndarray] = {}

    def __call__(self, key: str, size: int) -> np.ndarray:
        """Grey uint8 (size, size), not to be written to."""
        known = self._known.get((key, size))
        return self._keep(key, size, film(key, size)) if known is None else known

    def ahead(self, keys: Sequence[str], size: int) -> None:
        """Draw the films of `keys` that are not known, on all cores, as far as they can be kept."""
        missing = [k for k in dict.fromkeys(keys) if (k, size) not in self._known][:KEPT]
        count = os.cpu_count() or 1
        if count < 2 or len(missing) < WORTH:
            return
        parts = [missing[i::count] for i in range(count)]
        with ThreadPoolExecutor(count) as pool:
            for part, films in zip(parts, pool.map(lambda p: _drawn(p, size), parts), strict=True):
                for key, pixels in zip(part, films, strict=True):
                    self._keep(key, size, pixels)

    def _keep(self, key: str, size: int, pixels: np.ndarray) -> np.ndarray:
        pixels.flags.writeable = False
        while len(self._known) >= KEPT:
            self._known.pop(next(iter(self._known)), None)  # the oldest
        self._known[key, size] = pixels
        return pixels


def _drawn(keys: Sequence[str], size: int) -> np.ndarray:
    """Films (n, size, size) by a child process."""
    command = [sys.executable, "-m", __name__, str(size)]
    done = subprocess.run(command, input="\n".join(keys).encode(), capture_output=True)
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").strip().split("\n")[-2:])
        raise BenchError(
            f"a process that draws synthetic radiographs ended with {done.returncode}: {said}"
        )
    return np.frombuffer(done.stdout, dtype=np.uint8).reshape(len(keys), size, size)


def main() -> None:
    """Keys of films, a line each, on stdin; their pixels on stdout."""
    size = int(sys.argv[1])
    for key in sys.stdin.read().split():
        sys.stdout.buffer.write(film(key, size).tobytes())


if __name__ == "__main__":
    main()
