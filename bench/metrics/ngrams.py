"""n-grams of many texts at once, as integer ids in numpy: what BLEU and CIDEr are counted from."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# A text: a string (split on white space) or a sequence of tokens (words or token ids).
Text = str | Sequence[Hashable]
ORDER = 4


@dataclass(frozen=True)
class Corpus:
    """Texts as one flat array of token ids: text i has `lengths[i]` of them."""

    tokens: np.ndarray  # int32: of 150,000 references there are 15 million
    lengths: np.ndarray  # int64

    @property
    def texts(self) -> np.ndarray:
        """int32: the text that each token belongs to."""
        return np.repeat(np.arange(len(self.lengths), dtype=np.int32), self.lengths)


def encode(texts: Sequence[Text]) -> Corpus:
    """Tokens as ids in order of first appearance; equal tokens get equal ids."""
    ids: dict[Hashable, int] = {}
    flat = array("i")
    lengths = np.empty(len(texts), np.int64)
    for i, text in enumerate(texts):
        words = text.split() if isinstance(text, str) else text
        flat.extend([ids.setdefault(word, len(ids)) for word in words])
        lengths[i] = len(words)
    return Corpus(np.array(flat, np.int32), lengths)


def ngrams(corpus: Corpus, order: int = ORDER) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For n = 1..order: the text and the n-gram id of every n-gram, in reading order.

    An id stands for one n-gram over the whole corpus; ids of different n are unrelated.
    """
    base = int(corpus.tokens.max(initial=0)) + 1
    ends = np.cumsum(corpus.lengths).astype(np.int32)
    starts = np.arange(len(corpus.tokens), dtype=np.int32)
    left = np.repeat(ends, corpus.lengths) - starts
    texts, grams = corpus.texts, corpus.tokens
    for n in range(1, order + 1):
        if n > 1:  # extend by one token those (n-1)-grams that do not end their text
            keep = left[starts] >= n
            starts = starts[keep]
            grams = _numbered(grams[keep].astype(np.int64) * base + corpus.tokens[starts + n - 1])
        yield texts[starts], grams


def _numbered(values: np.ndarray) -> np.ndarray:
    """int32: which of the distinct values, in their order, each one is."""
    order = np.argsort(values)
    values = values[order]
    new = np.ones(len(values), dtype=np.int32)
    new[1:] = values[1:] != values[:-1]
    ranks = np.empty(len(values), dtype=np.int32)
    ranks[order] = np.cumsum(new, dtype=np.int32) - 1
    return ranks


def counts(texts: np.ndarray, grams: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct (text, n-gram) pairs in sorted order, and how often each occurs."""
    width = int(grams.max(initial=0)) + 1
    keys, times = np.unique(texts.astype(np.int64) * width + grams, return_counts=True)
    return keys // width, keys % width, times
