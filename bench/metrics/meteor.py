"""METEOR 1.5 (Denkowski and Lavie 2014), English, `-norm`, by the jar that pycocoevalcap ships.

The jar aligns each pair and prints 23 counts; the score of any set of pairs is computed here
from the sum of its counts, exactly as the jar's own aggregate, so that intervals need no Java.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import ClassVar

import numpy as np

from bench.errors import BenchError, RunError
from bench.metrics.base import Metric
from bench.metrics.cache import AnswerCache
from bench.metrics.java import OPTIONS, LineProcess, find_jar, find_java, one_line

JAR = "meteor/meteor-1.5.jar"

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
    scores = ("METEOR",)

    def require(self) -> None:
        find_java()
        find_jar(JAR)

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """(n, 23). Java starts only when a pair is new; empty texts are allowed."""
        if len(hypotheses) != len(references):
            raise BenchError(f"{len(hypotheses)} hypotheses for {len(references)} references")
        lines = [request(h, r) for h, r in zip(hypotheses, references, strict=True)]
        answers = _CACHE.answers(lines, lambda new: process().ask(new))
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
def process() -> LineProcess:
    """The one METEOR process of this Python process; not started yet."""
    jar = find_jar(JAR)
    options = [*OPTIONS, "-Xmx2G"]
    command = [find_java(), *options, "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    table = jar.parent / "data" / "paraphrase-en.gz"
    # Named, because the jar does not find its own table when its path holds a space.
    return LineProcess([*command, "-a", str(table)], "METEOR")
