"""What a terminal shows: plain tables, and one line of progress."""

from __future__ import annotations

import math
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

NARROWEST, WIDTH, WIDEST = 60, 80, 200  # columns that are used; WIDTH where there is no terminal
GAP = "  "  # between columns
STATES = {  # words that begin a line or a cell, and the number of their colour
    "ok": 32, "confirmed": 32, "findings": 32,
    "FAIL": 31, "fail": 31, "error:": 31, "reversed": 31,
    "missing": 33, "warn": 33, "wording": 33,
}  # fmt: skip
_STATE = re.compile(rf"( *)({'|'.join(STATES)})(?!\w)")
CLEAR = "\r\x1b[2K"  # to the beginning of the line, and empty it


def room() -> int:
    """Columns of the terminal; `WIDTH` where the output goes elsewhere."""
    return min(max(shutil.get_terminal_size((WIDTH, 24)).columns, NARROWEST), WIDEST)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns under a title; numbers need no further markup."""
    cells = [list(map(str, head)), *(list(map(str, row)) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [GAP.join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    rule = GAP.join("-" * w for w in widths)
    return "\n".join([title, "", lines[0].rstrip(), rule, *(x.rstrip() for x in lines[1:]), ""])


def coloured(stream: TextIO) -> bool:
    """Whether colour is wanted: NO_COLOR and FORCE_COLOR decide, else a terminal that has it."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def painted(text: str, stream: TextIO | None = None) -> str:
    """The text with a state that it begins with in its colour, where `stream` (stdout) has any."""
    found = _STATE.match(text)
    if found is None or not coloured(stream or sys.stdout):
        return text
    return f"{found[1]}\x1b[{STATES[found[2]]}m{found[2]}\x1b[0m{text[found.end() :]}"


class Progress:
    """`[3/12] UAR  step 200 ...` on stderr: rewritten in a terminal, one line a run elsewhere."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self.total = self.done = 0
        self.name = ""
        self.since = time.perf_counter()

    def start(self, total: int) -> None:
        self.total, self.done = total, 0

    def begin(self, name: str) -> None:
        self.done += 1
        self.name, self.since = name, time.perf_counter()

    def say(self, text: str) -> None:
        """The state of the present run; shown only where it can be overwritten."""
        if self.live:
            _overwrite(f"{self._head()} {text}")

    def end(self, text: str) -> None:
        seconds = time.perf_counter() - self.since
        clear = CLEAR if self.live else ""
        print(f"{clear}{self._head()} {text} ({seconds:.1f} s)", file=sys.stderr, flush=True)

    def _head(self) -> str:
        return f"[{self.done}/{self.total}] {self.name}:"


@contextmanager
def counting(name: str, unit: str, scale: float = 1) -> Iterator[Callable[[int, int], None]]:
    """A function of (done, all) that shows `name: 1,200 of 7,470 images` while the block runs.

    Counts are divided by `scale`. Shown in a terminal only, and gone when the block ends; `all` is
    0 where it is not known.
    """
    live = sys.stderr.isatty()

    def show(done: int, total: int) -> None:
        if live:
            known = f" of {total / scale:,.0f}" if total else ""
            _overwrite(f"{name}: {done / scale:,.0f}{known} {unit}")

    yield show
    if live:
        _overwrite("")


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Shows in a terminal what the block works on, for as long as it does."""
    live = sys.stderr.isatty()
    if live:
        _overwrite(text)
    try:
        yield
    finally:
        if live:
            _overwrite("")


def _overwrite(text: str) -> None:
    print(f"{CLEAR}{text}"[:160], end="", file=sys.stderr, flush=True)


def number(value: float, digits: int = 3) -> str:
    """A score without its leading zero: .021, -.012, 1.234; an en dash for what is not there."""
    if not math.isfinite(value):
        return "–"
    text = f"{abs(value):.{digits}f}"
    sign = "-" if value < 0 and float(text) else ""
    return sign + text.removeprefix("0")


def interval(low: float, high: float, digits: int = 3) -> str:
    """[.004, .038]"""
    return f"[{number(low, digits)}, {number(high, digits)}]"


def p_value(p: float) -> str:
    """p = .012, p = .61, p < .001, p > .99"""
    if p < 0.001:
        return "p < .001"
    if p > 0.99:
        return "p > .99"
    return f"p = {number(p, 3 if p < 0.1 else 2)}"


def percent(share: float) -> str:
    """95 %"""
    return f"{100 * share:g} %"
