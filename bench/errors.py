"""Errors that a user can act on: what happened, and what to do about it."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable


class BenchError(Exception):
    """A user's error: exit code 2, one line of text and one line of advice, no traceback."""

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  fix: {self.hint}" if self.hint else self.message


class DataError(BenchError):
    """A dataset that is absent, incomplete or altered."""


class MissingError(BenchError):
    """Something optional is not here (weights, Java, a package): says why and how to get it."""


class RunError(BenchError):
    """A training, prediction or scoring that failed: exit code 1."""

    exit_code = 1


def unknown(kind: str, name: str, valid: Iterable[str]) -> BenchError:
    """The error for an unknown name: names the nearest valid one, then all of them."""
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=1)
    nearest = f"did you mean {near[0]!r}? " if near else ""
    return BenchError(f"unknown {kind} {name!r}", f"{nearest}known: {', '.join(names) or 'none'}")


def printable(text: str) -> str:
    """Text for a terminal: what would move its cursor, colour or turn what follows is written out.

    Names in errors are other people's. Line breaks stay.
    """
    return "".join(c if c == "\n" or unicodedata.category(c)[0] != "C" else _told(c) for c in text)


def _told(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def some(items: Iterable[str], limit: int = 5) -> str:
    """The first few of many names, and how many are left out: for error messages."""
    names = list(items)
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
