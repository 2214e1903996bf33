"""METEOR's paraphrase table, cut down to the words of the texts at hand.

The jar spends most of its start, and nearly 1 GB, on 5.3 million paraphrases of which a set of
radiology reports can meet a few per cent. A paraphrase applies only if all its words are among
those of the two texts, so that leaving out the others changes no alignment.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from bench.files import file_digest

_RUNS = re.compile("[a-z0-9]+")
_KEPT = b"abcdefghijklmnopqrstuvwxyz0123456789 \n"
_MARKS = bytes(b for b in range(256) if b not in _KEPT)  # what a word is stripped of
_CHUNK = 1 << 20  # as much as stays in a core's cache: larger ones take twice the time
_WIDTH = 8  # bytes of a word that the first sieve looks at
_BITS = 22


def pieces(text: str) -> set[str]:
    """What METEOR's words of `text` can be, down to their ASCII letters and digits.

    Its normaliser lower-cases, splits at white space and at other characters than letters and
    digits, or drops those ("U.S." -> "us"). So a word's letters are those of neighbouring runs.
    """
    found = {""}
    for token in set(text.lower().split()):
        runs = _RUNS.findall(token)
        for i in range(len(runs)):
            # Real words have a few runs; a longer row of them is cut off at ten.
            found |= {"".join(runs[i:j]) for j in range(i + 1, min(len(runs), i + 10) + 1)}
    return found


def all_pieces(texts: Iterable[str]) -> set[str]:
    """The `pieces` of many texts."""
    return set().union(*map(pieces, {token for text in texts for token in text.split()}), {""})


def covering(
    needed: set[str], expected: Callable[[], Iterable[str]], table: Path, folder: Path
) -> tuple[Path, frozenset[str]]:
    """A cut-down table of `folder` that covers the `needed` words, and all words it covers.

    When there is none, one is made for them, the words of the `expected` texts, and what the
    largest so far covers; that takes a third of the time in which the jar loads the whole table.
    """
    largest: frozenset[str] = frozenset()
    for listing in sorted(folder.glob("meteor-*.words")):
        words = _listed(listing)
        if words >= needed:
            return listing.with_suffix(".gz"), words
        largest = max(largest, words, key=len)
    words = frozenset(needed | all_pieces(expected()) | largest)
    text = "\n".join(sorted(words)).encode("ascii")
    target = folder / f"{_name(text)}.gz"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        reduce(table, words, Path(scratch, "table"))
        digest = file_digest(Path(scratch, "table")).encode()
        Path(scratch, "words").write_bytes(digest + b"\n" + text)
        Path(scratch, "table").replace(target)
        # Last: a listing promises that its table is whole.
        Path(scratch, "words").replace(target.with_suffix(".words"))
    return target, words


def _name(words: bytes) -> str:
    return f"meteor-{hashlib.sha256(words).hexdigest()[:16]}"


def _listed(listing: Path) -> frozenset[str]:
    """The words of a cut-down table; none where it, or its listing, is damaged."""
    try:
        digest, _, words = listing.read_bytes().partition(b"\n")
        if (
            listing.stem != _name(words)
            or file_digest(listing.with_suffix(".gz")) != digest.decode()
        ):
            return frozenset()
        return frozenset(words.decode("ascii").split("\n"))
    except (OSError, UnicodeDecodeError):
        return frozenset()


def reduce(table: Path, words: Iterable[str], target: Path) -> int:
    """Write the entries of `table` that are made of `words` (see `pieces`), in their order.

    Both are gzip files of three lines an entry: a number, a phrase, its paraphrase. Returns how
    many there are.
    """
    sieve = _Sieve(words)
    count = 0
    with gzip.open(target, "wb", compresslevel=1) as out:
        for entries in _ahead(_chunks(table), sieve.entries):
            out.write(b"".join(entries))
            count += len(entries)
    return count


def _ahead(chunks: Iterator[bytes], work: Callable[[bytes], list[bytes]]) -> Iterator[list[bytes]]:
    """What `work` makes of each chunk, in order; two are worked on while a third is read."""
    with ThreadPoolExecutor(2) as pool:
        waiting: deque[Future[list[bytes]]] = deque()
        for chunk in chunks:
            waiting.append(pool.submit(work, chunk))
            if len(waiting) > 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _chunks(table: Path) -> Iterator[bytes]:
    """The table in pieces of whole entries."""
    rest = b""
    with gzip.open(table) as file:
        while block := file.read(_CHUNK):
            rest += block
            surplus = rest.count(b"\n") % 3
            end = len(rest)
            for _ in range(surplus + 1):
                end = rest.rfind(b"\n", 0, end)
            if end >= 0:  # else not even one entry is whole yet
                yield rest[: end + 1]
            rest = rest[end + 1 :]


class _Sieve:
    """Finds the entries that are made of known words."""

    def __init__(self, words: Iterable[str]) -> None:
        self._known = frozenset(word.encode() for word in words)
        self._heads = _allowed(word[:_WIDTH] for word in self._known)
        self._tails = _allowed((word[-_WIDTH:] for word in self._known), last=True)

    def entries(self, chunk: bytes) -> list[bytes]:
        """Those of a chunk, whole: number, phrase, paraphrase."""
        known = self._known
        return [
            chunk[start:end]
            for start, first, end in self._candidates(chunk)
            if known.issuperset(chunk[first:end].translate(None, _MARKS).split())
        ]

    def _candidates(self, chunk: bytes) -> Iterable[tuple[int, int, int]]:
        """(start, end of the number, end) of entries whose outer words may be known."""
        windows = _Windows(chunk)
        ends = windows.ends
        rows = np.arange(len(ends))
        for column in (0, 1):
            rows = rows[self._heads[_hash(windows.first_words(ends[rows, column] + 1))]]
            rows = rows[self._tails[_hash(windows.last_words(ends[rows, column + 1]))]]
        starts = np.concatenate([[0], ends[:-1, 2] + 1])[rows]
        return zip(
            starts.tolist(), ends[rows, 0].tolist(), (ends[rows, 2] + 1).tolist(), strict=True
        )


class _Windows:
    """The 8 bytes at any offset of a chunk as one number (little-endian), and where its lines end.

    A word of which the window shows a character other than a letter or digit becomes 0, which
    passes every sieve.
    """

    def __init__(self, chunk: bytes) -> None:
        padding = b"\n" * _WIDTH
        padded = padding + chunk + padding
        size = len(padded) - _WIDTH + 1
        self._text = np.ndarray((size,), "<u8", padded, strides=(1,))
        self._odd = np.ndarray((size,), "<u8", padded.translate(_ODD), strides=(1,))
        data = np.frombuffer(chunk, np.uint8)
        self.ends = np.flatnonzero(data == ord("\n")).reshape(-1, 3)

    def first_words(self, offsets: np.ndarray) -> np.ndarray:
        """Up to 8 bytes from each offset, until a space or line end."""
        text, odd = self._text[offsets + _WIDTH], self._odd[offsets + _WIDTH]
        found = _gaps(text)
        lowest = found & (~found + _ONE)
        kept = lowest - _ONE  # all bits below the first gap; no gap: 0 - 1, all bits
        return np.where(odd & kept, np.uint64(0), text & kept)

    def last_words(self, offsets: np.ndarray) -> np.ndarray:
        """Up to 8 bytes before each offset, back to a space or line end; low bytes are 0."""
        text, odd = self._text[offsets], self._odd[offsets]
        found = _gaps(text)
        for shift in (8, 16, 32):  # spread to all bytes before the last gap
            found |= found >> np.uint64(shift)
        kept = ~(found * np.uint64(0xFF))
        return np.where(odd & kept, np.uint64(0), text & kept)


_ONE = np.uint64(1)
_LOW = np.uint64(0x7F7F7F7F7F7F7F7F)
_ODD = bytes(0 if b in _KEPT else 255 for b in range(256))


def _gaps(text: np.ndarray) -> np.ndarray:
    """1 in each byte that is a space or a line end (exact zero-byte test, Hacker's Delight 6-1)."""
    found = np.zeros_like(text)
    for sign in (b" ", b"\n"):
        rest = text ^ np.uint64(int.from_bytes(sign * _WIDTH, "little"))
        found |= ~(((rest & _LOW) + _LOW) | rest | _LOW)
    return found >> np.uint64(7)


def _hash(keys: np.ndarray) -> np.ndarray:
    return (keys * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - _BITS)


def _allowed(parts: Iterable[bytes], last: bool = False) -> np.ndarray:
    """Boolean table by hash; a few strangers get through, no known word is kept out."""
    padded = [p.rjust(_WIDTH, b"\0") if last else p.ljust(_WIDTH, b"\0") for p in parts]
    allowed = np.zeros(1 << _BITS, bool)
    allowed[_hash(np.frombuffer(b"".join([*padded, b"\0" * _WIDTH]), "<u8"))] = True
    return allowed
