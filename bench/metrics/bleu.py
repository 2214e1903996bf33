"""BLEU (Papineni et al. 2002) from sufficient statistics, equal to pycocoevalcap's corpus score.

Needs numpy only, so that checkpoints can be selected where neither pycocoevalcap nor Java is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from bench.errors import BenchError, unknown
from bench.metrics.base import Metric
from bench.metrics.ngrams import ORDER, Text, counts, encode, ngrams

# pycocoevalcap adds these to numerators and denominators: a corpus without any n-gram match
# scores about 1e-15 at that n instead of 0, and the lower orders are untouched at 12 digits.
TINY = 1e-15
SMALL = 1e-9
_PAIRS = 16_384  # counted at once: pairs do not depend on one another, memory does on their number


class BLEU(Metric):
    """BLEU-1 to BLEU-4 of a corpus, one reference per report, words split on white space.

    Statistics: matches of 1- to 4-grams (clipped), n-grams of the hypothesis, its length, and
    the reference's length (with one reference it is the "closest").
    """

    name: ClassVar[str] = "BLEU"
    version: ClassVar[int] = 1
    nonnegative: ClassVar[bool] = True
    scores = tuple(f"BLEU-{n}" for n in range(1, ORDER + 1))
    bounds = (0.0, 1.0)

    def statistics(self, hypotheses: Sequence[Text], references: Sequence[Text]) -> np.ndarray:
        """(n, 10) of strings or of token sequences (words or ids)."""
        n = len(hypotheses)
        if n != len(references):
            raise BenchError(f"{n} hypotheses for {len(references)} references")
        parts = [
            self._part(hypotheses[i : i + _PAIRS], references[i : i + _PAIRS])
            for i in range(0, max(n, 1), _PAIRS)
        ]
        return np.concatenate(parts)

    def _part(self, hypotheses: Sequence[Text], references: Sequence[Text]) -> np.ndarray:
        n, corpus = len(hypotheses), encode([*hypotheses, *references])
        lengths = corpus.lengths
        columns = [_matches(texts, grams, n) for texts, grams in ngrams(corpus)]
        columns += [np.maximum(lengths[:n] - k, 0) for k in range(ORDER)]
        return np.stack([*columns, lengths[:n], lengths[n:]], axis=1).astype(np.float64)

    def aggregate(self, sums: np.ndarray, n: np.ndarray | int) -> np.ndarray:
        matches, guesses = sums[..., :ORDER], sums[..., ORDER : 2 * ORDER]
        length, reference = sums[..., -2], sums[..., -1]
        precision = np.cumprod((matches + TINY) / (guesses + SMALL), axis=-1)
        means = precision ** (1 / np.arange(1, ORDER + 1))
        ratio = (length + TINY) / (reference + SMALL)
        brevity = np.exp(np.minimum(1 - 1 / ratio, 0))
        return np.asarray(means * brevity[..., None])

    def implementation(self) -> str:
        return "impl:bench|as:pycocoevalcap-1.2"


def _matches(texts: np.ndarray, grams: np.ndarray, n: int) -> np.ndarray:
    """Clipped matches per pair; text i < n is a hypothesis, text n + i its reference."""
    text, gram, times = counts(texts, grams)
    width = int(gram.max(initial=0)) + 1
    keys, split = (text % max(n, 1)) * width + gram, int(np.searchsorted(text, n))
    common, left, right = np.intersect1d(
        keys[:split], keys[split:], assume_unique=True, return_indices=True
    )
    shared = np.minimum(times[:split][left], times[split:][right])
    return np.bincount(common // width, weights=shared, minlength=n)


def constant_statistics(candidates: Sequence[Text], references: Sequence[Text]) -> np.ndarray:
    """Summed statistics (c, 10) of each candidate given as the report of every reference.

    Instead of c x r pairs it counts, for each n-gram g and k, the references that hold g at
    least k times; a candidate's k-th occurrence of g then matches in just that many.
    """
    c, r = len(candidates), len(references)
    corpus = encode([*candidates, *references])
    lengths = corpus.lengths
    columns = []
    for texts, grams in ngrams(corpus):
        key = _occurrences(texts, grams)
        holders = np.bincount(key[texts >= c], minlength=int(key.max(initial=0)) + 1)
        mine = texts < c
        columns.append(np.bincount(texts[mine], weights=holders[key[mine]], minlength=c))
    columns += [r * np.maximum(lengths[:c] - k, 0) for k in range(ORDER)]
    columns += [r * lengths[:c], np.full(c, lengths[c:].sum())]
    return np.stack(columns, axis=1).astype(np.float64)


def _occurrences(texts: np.ndarray, grams: np.ndarray) -> np.ndarray:
    """An id for (n-gram, how many times it has occurred in its text so far)."""
    order = np.lexsort((grams, texts))
    text, gram = texts[order], grams[order].astype(np.int64)
    new = np.ones(len(order), bool)
    new[1:] = (text[1:] != text[:-1]) | (gram[1:] != gram[:-1])
    first = np.flatnonzero(new)
    rank = np.arange(len(order)) - np.repeat(first, np.diff([*first, len(order)]))
    key = np.empty(len(order), np.int64)
    key[order] = gram * (int(rank.max(initial=0)) + 1) + rank
    return key


def best_constant(
    candidates: Sequence[Text], references: Sequence[Text], score: str = "BLEU-4"
) -> tuple[int, float]:
    """Index and score of the candidate that does best as the report of every reference.

    Ties go to the earliest candidate.
    """
    if not len(candidates) or not len(references):
        raise BenchError("no candidates or no references to choose a constant report from")
    metric = BLEU()
    if score not in metric.scores:
        raise unknown("score", score, metric.scores)
    sums = constant_statistics(candidates, references)
    values = metric.aggregate(sums, len(references))[:, metric.scores.index(score)]
    best = int(np.argmax(values))
    return best, float(values[best])
