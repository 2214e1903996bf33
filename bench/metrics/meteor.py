"""METEOR 1.5 (Denkowski and Lavie 2014), English, `-norm`, by the jar that pycocoevalcap ships.

The jar aligns each pair and prints 23 counts; the score of any set of pairs is computed here
from the sum of its counts, exactly as the jar's own aggregate, so that intervals need no Java.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.errors import BenchError, RunError
from bench.metrics.base import Metric
from bench.metrics.cache import AnswerCache, folder
from bench.metrics.java import OPTIONS, LineProcess, find_jar, find_java, one_line
from bench.metrics.paraphrases import all_pieces, covering

if TYPE_CHECKING:
    from bench.metrics.references import ReferenceSet

JAR = "meteor/meteor-1.5.jar"
TABLE = "meteor/data/paraphrase-en.gz"
GROWTHS = 3  # cut-down tables in a process, before it takes the whole one
# Java's second compiler pays for itself from some 20,000 pairs on; before that it doubles the work.
QUICK = ("-XX:TieredStopAtLevel=1",)
# What the tokenizer makes of brackets, and of words that it takes apart.
PTB_WORDS = {
    "lrb",
    "rrb",
    "lsb",
    "rsb",
    "lcb",
    "rcb",
    "ca",
    "can",
    "n",
    "not",
    "nt",
    "s",
    "t",
    "wo",
}
_TRAIN = 5000  # train reports whose words are expected, at most

# The jar's English ranking task: precision against recall, shape and size of the fragmentation
# penalty, content against function words; weights of exact, stem, synonym, paraphrase matches.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])

# Columns, "hypothesis, reference" in turn: words; function words; per module the matched content
# words and the matched function words; chunks; matched words (again, over all modules).
COLUMNS = 23
_CHUNKS = 20
_CACHE = AnswerCache("meteor-1.5-en-norm")


class METEOR(Metric):
    """METEOR over the summed counts of a set (not the mean of the reports' scores)."""

    name: ClassVar[str] = "METEOR"
    version: ClassVar[int] = 1
    nonnegative: ClassVar[bool] = True
    scores = ("METEOR",)
    bounds = (0.0, 1.0)

    def require(self) -> None:
        find_java()
        find_jar(JAR)
        find_jar(TABLE)

    def given(self, references: ReferenceSet) -> METEOR:
        """The train split's words are the ones that reports will be made of."""
        train = references.dataset.split("train")
        every = len(train) // _TRAIN + 1
        jar().expect(lambda: (study.report for study in train[::every]))
        return self

    def ahead(self, texts: Sequence[str]) -> None:
        """Begin to make the table of these texts' words, where there is none, and start Java."""
        jar().ahead(texts)

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """(n, 23). Java starts only when a pair is new; empty texts are allowed."""
        if len(hypotheses) != len(references):
            raise BenchError(f"{len(hypotheses)} hypotheses for {len(references)} references")
        lines = [request(h, r) for h, r in zip(hypotheses, references, strict=True)]
        answers = _CACHE.answers(lines, lambda new: jar().ask(new))
        rows = [_parse(answer) for answer in answers]
        return np.array(rows, np.float64).reshape(-1, COLUMNS)

    def aggregate(self, sums: np.ndarray, n: np.ndarray | int) -> np.ndarray:
        precision = _share(sums, 0)
        recall = _share(sums, 1)
        matched = sums[..., 21:23].mean(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
            fragmentation = sums[..., _CHUNKS] / matched
            score = mean * (1 - GAMMA * fragmentation**BETA)
        return np.asarray(np.maximum(np.nan_to_num(score, nan=0.0), 0.0)[..., None])

    def implementation(self) -> str:
        return "lang:en|norm:yes|impl:meteor-1.5.jar"


def _share(sums: np.ndarray, side: int) -> np.ndarray:
    """Weighted matched words over weighted words: precision (side 0) or recall (side 1)."""
    words, function = sums[..., side], sums[..., 2 + side]
    content_matches = sums[..., 4 + side : _CHUNKS : 4] @ WEIGHTS
    function_matches = sums[..., 6 + side : _CHUNKS : 4] @ WEIGHTS
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(
            (DELTA * content_matches + (1 - DELTA) * function_matches)
            / (DELTA * (words - function) + (1 - DELTA) * function)
        )


def request(hypothesis: str, reference: str) -> str:
    """The jar's question for one pair.

    `|||` separates fields, so that one in a reference would pass for a second reference. The jar
    reads three single bars as the same three tokens.
    """
    parts = (one_line(text).replace("|||", "| | |") for text in (reference, hypothesis))
    return " ||| ".join(("SCORE", *parts))


def _parse(answer: str) -> list[float]:
    try:
        row = [float(x) for x in answer.split()]
    except ValueError:
        row = []
    if len(row) != COLUMNS:
        raise RunError(f"METEOR answered {answer[:200]!r} where {COLUMNS} numbers were expected")
    # A hypothesis that matches its whole reference in one chunk is not fragmented: the jar
    # leaves its chunk out when it adds reports up.
    if row[_CHUNKS] == 1 and row[0] == row[21] and row[1] == row[22]:
        row[_CHUNKS] = 0.0
    return row


@cache
def jar() -> Jar:
    """The one of this process."""
    return Jar(find_jar(TABLE))


class Jar:
    """The METEOR process of this Python process: started at the first question, then reused.

    It loads a paraphrase table cut down to the words at hand and the expected ones: in a third of
    the time, and a fifth of the memory, of the whole one. Later questions with other words start
    it again with a larger table; after `GROWTHS` tables with the whole one. The tables stay in the
    cache folder (`bench.metrics.cache`), or in one that ends with this process.
    """

    def __init__(self, table: Path) -> None:
        self._whole = self._loaded = table
        self._process: LineProcess | None = None
        self._covered: frozenset[str] | None = frozenset()  # by `_loaded`; None: every word
        self._expected: Callable[[], Iterable[str]] = tuple
        self._scratch: TemporaryDirectory[str] | None = None
        self._tables = 0
        self._lock = threading.RLock()

    def expect(self, texts: Callable[[], Iterable[str]]) -> None:
        """Texts whose words are likely to come; read only if a table has to be made."""
        self._expected = texts

    def ahead(self, texts: Sequence[str]) -> None:
        """Make the table in a thread, and start the process where a new one was needed.

        With a table on disk nothing is started: all answers may be known.
        """
        threading.Thread(target=self._prepare, args=(list(texts),), daemon=True).start()

    def _prepare(self, texts: list[str]) -> None:
        words = {"score", *all_pieces(map(one_line, texts)), *PTB_WORDS}
        # What fails here fails again in `ask`, which is where it is told.
        with self._lock, suppress(Exception):
            if self._covered is None or words <= self._covered:
                return
            known = any(self._place().glob("*.words"))
            self._cover(words)
            if not known:
                self._start().start()

    def ask(self, lines: Sequence[str]) -> list[str]:
        """The counts of each request, as the jar prints them."""
        with self._lock:
            self._cover(all_pieces(lines))
            return (self._process or self._start()).ask(lines)

    def _cover(self, words: set[str]) -> None:
        if self._covered is not None and not words <= self._covered:
            self.close()
            self._choose(words)

    def close(self) -> None:
        """End the process; the next question starts another."""
        if self._process is not None:
            self._process.close()
        self._process = None

    def _choose(self, words: set[str]) -> None:
        """The table for these words."""
        self._tables += 1
        if self._tables > GROWTHS:
            self._loaded, self._covered = self._whole, None
        else:
            self._loaded, self._covered = covering(
                words, self._expected, self._whole, self._place()
            )

    def _start(self) -> LineProcess:
        command = [find_java(), *OPTIONS, *QUICK, "-Xmx2G", "-jar", str(find_jar(JAR))]
        # The table is named: by itself the jar does not find it when its path holds a space.
        task = ["-", "-", "-stdio", "-l", "en", "-norm", "-a", str(self._loaded)]
        self._process = LineProcess([*command, *task], "METEOR")
        return self._process

    def _place(self) -> Path:
        """Where cut-down tables lie."""
        if place := folder():
            return place
        self._scratch = self._scratch or TemporaryDirectory(prefix="meteor-")
        return Path(self._scratch.name)
