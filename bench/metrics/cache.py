"""Answers kept by content, so that the same text never costs a second start of Java.

Always in memory; also on disk when the environment's `BENCH_CACHE` names a folder, or `keep` was
given one (it then holds tokenised report texts: mind where it lies). A file only grows; a line is
the question's sha256, the answer, and a check of the answer, so that one torn by a crash is
passed over.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

_KEY = re.compile("[0-9a-f]{64}")
_folder: Path | None = None


def keep(root: Path | None) -> None:
    """Where caches of this process are kept on disk; None: where `BENCH_CACHE` says, if it does."""
    global _folder
    _folder = root


def folder() -> Path | None:
    """The folder on disk for what metrics keep, if there is to be one."""
    root = _folder or os.environ.get("BENCH_CACHE")
    return Path(root) / "metrics" if root else None


class AnswerCache:
    """Question -> answer, both one-line strings. `name` must change when the answers would."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._known: dict[bytes, str] = {}
        self._loaded: Path | None = None
        self._asking = threading.Lock()

    def answers(
        self, questions: Sequence[str], compute: Callable[[list[str]], Iterable[str]]
    ) -> list[str]:
        """Answers in order; `compute` is given the distinct unknown questions, if there are any.

        Threads take turns, so that none computes what another is computing already.
        """
        with self._asking:
            return self._answers(questions, compute)

    def _answers(
        self, questions: Sequence[str], compute: Callable[[list[str]], Iterable[str]]
    ) -> list[str]:
        path = self._path()
        self._load(path)
        keys = [hashlib.sha256(q.encode("utf-8", "replace")).digest() for q in questions]
        missing = {k: q for k, q in zip(keys, questions, strict=True) if k not in self._known}
        if missing:
            fresh = dict(zip(missing, compute(list(missing.values())), strict=True))
            self._known |= fresh
            if path is not None:
                _append(path, fresh)
        return [self._known[key] for key in keys]

    def clear(self) -> None:
        """Forget what is in memory."""
        self._known, self._loaded = {}, None

    def _path(self) -> Path | None:
        place = folder()
        return place / f"{self.name}.tsv" if place else None

    def _load(self, path: Path | None) -> None:
        if path is None or path == self._loaded:
            return
        self._loaded = path
        if not path.exists():
            return
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            key, *rest = line.split("\t")
            if _KEY.fullmatch(key) and len(rest) == 2 and rest[1] == _check(rest[0]):
                self._known[bytes.fromhex(key)] = rest[0]


def _append(path: Path, fresh: dict[bytes, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The leading line break ends what a crash may have left unended.
    lines = [f"{key.hex()}\t{answer}\t{_check(answer)}\n" for key, answer in fresh.items()]
    with path.open("ab", buffering=0) as file:  # one write: two processes do not interleave
        file.write(("\n" + "".join(lines)).encode())


def _check(answer: str) -> str:
    return hashlib.sha256(answer.encode()).hexdigest()[:8]
