"""CIDEr-D (Vedantam et al. 2015, section 5) with pycocoevalcap's details, vectorised over pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from bench.errors import BenchError
from bench.metrics.base import Metric
from bench.metrics.ngrams import ORDER, Text, counts, encode, ngrams

SIGMA = 6.0
_PAIRS = 16_384  # compared at once


class CIDEr(Metric):
    """Mean of the reports' CIDEr-D (n = 4, sigma 6, times 10).

    An n-gram's idf is log(reports) - log(references that hold it), over the references of the
    set given to `statistics`. So a report's value depends on the set, values of different sets
    cannot be compared, and a set of one report scores 0 (its idf is 0 throughout).
    """

    name: ClassVar[str] = "CIDEr"
    version: ClassVar[int] = 1
    nonnegative: ClassVar[bool] = True
    scores = ("CIDEr",)
    bounds = (0.0, 10.0)
    resampling: ClassVar[str] = "idf fixed at the full scored set"
    context: ClassVar[str] = "idf"

    def statistics(self, hypotheses: Sequence[Text], references: Sequence[Text]) -> np.ndarray:
        n = len(hypotheses)
        if n != len(references):
            raise BenchError(f"{n} hypotheses for {len(references)} references")
        if not n:
            return np.zeros((0, 1))
        corpus = encode([*hypotheses, *references])
        cosines = [_cosine(texts, grams, n) for texts, grams in ngrams(corpus)]
        # pycocoevalcap takes the number of bigrams, not of words, for the length of a text.
        bigrams = np.maximum(corpus.lengths - 1, 0)
        gap = (bigrams[:n] - bigrams[n:]).astype(np.float64)
        values = 10 * np.mean(cosines, axis=0) * np.exp(-(gap**2) / (2 * SIGMA**2))
        return np.asarray(values).reshape(-1, 1)

    def implementation(self) -> str:
        return f"order:{ORDER}|sigma:{SIGMA:g}|impl:bench|as:pycocoevalcap-1.2"


def _cosine(texts: np.ndarray, grams: np.ndarray, n: int) -> np.ndarray:
    """Clipped cosine of the tf-idf vectors of pair i: texts i (hypothesis) and n + i.

    texts ascend. Pairs are compared in blocks, since memory grows with what is compared at once;
    an n-gram's weight is that of all references.
    """
    width = int(grams.max(initial=0)) + 1
    edges = np.append(np.arange(0, n, _PAIRS), n)
    places = np.searchsorted(texts, np.concatenate([edges, n + edges])).reshape(2, -1)
    blocks = [[slice(*side[i : i + 2].tolist()) for side in places] for i in range(len(edges) - 1)]
    holders = np.zeros(width, dtype=np.int64)
    for _, reference in blocks:
        holders += np.bincount(_distinct(texts[reference], grams[reference]), minlength=width)
    idf = np.log(n) - np.log(np.maximum(holders, 1))
    cosines = []
    for first, (own, other) in zip(edges.tolist(), blocks, strict=False):
        count = min(_PAIRS, n - first)
        text = np.concatenate([texts[own] - first, texts[other] - n - first + count])
        cosines.append(_of_pairs(text, np.concatenate([grams[own], grams[other]]), count, idf))
    return np.concatenate(cosines)


def _distinct(texts: np.ndarray, grams: np.ndarray) -> np.ndarray:
    """The n-grams of each text, each once."""
    return counts(texts, grams)[1]


def _of_pairs(texts: np.ndarray, grams: np.ndarray, n: int, idf: np.ndarray) -> np.ndarray:
    text, gram, times = counts(texts, grams)
    width, split = len(idf), int(np.searchsorted(text, n))
    weight = times * idf[gram]
    norms = np.sqrt(np.bincount(text, weights=weight**2, minlength=2 * n))
    key = (text % n) * width + gram
    common, left, right = np.intersect1d(
        key[:split], key[split:], assume_unique=True, return_indices=True
    )
    own, other = weight[:split][left], weight[split:][right]
    dot = np.bincount(common // width, weights=np.minimum(own, other) * other, minlength=n)
    scale = norms[:n] * norms[n:]
    return np.divide(dot, scale, out=np.zeros(n), where=scale != 0)


def best_constant(candidates: Sequence[Text], references: Sequence[Text]) -> tuple[int, float]:
    """Index and CIDEr of the candidate that does best as the report of every reference.

    Ties go to the earliest candidate.
    """
    if not len(candidates) or not len(references):
        raise BenchError("no candidates or no references to choose a constant report from")
    metric, values = CIDEr(), []
    each = max(1, _PAIRS // len(references))  # candidates compared at once
    for start in range(0, len(candidates), each):
        some = candidates[start : start + each]
        hypotheses = [text for text in some for _ in references]
        # References repeated alike have the idf of one set of them.
        table = metric.statistics(hypotheses, [*references] * len(some))
        values += table.reshape(len(some), len(references)).mean(axis=1).tolist()
    best = int(np.argmax(values))
    return best, float(values[best])
