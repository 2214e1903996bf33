"""n-grams of many texts at once, as integer ids in numpy: what BLEU and CIDEr are counted from."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# A text: a string (split on white space) or a sequence of tokens (words or token ids).
Text = str | Sequence[Hashable]
ORDER = 4


@dataclass(frozen=True)
class Corpus:
    """Texts as one flat array of token ids: text i has `lengths[i]` of them."""

    tokens: np.ndarray  # int64
    lengths: np.ndarray  # int64

    @property
    def texts(self) -> np.ndarray:
        """The text that each token belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)


def encode(texts: Sequence[Text]) -> Corpus:
    """Tokens as ids in order of first appearance; equal tokens get equal ids."""
    ids: dict[Hashable, int] = {}
    flat: list[int] = []
    lengths = np.empty(len(texts), np.int64)
    for i, text in enumerate(texts):
        words = text.split() if isinstance(text, str) else text
        flat += [ids.setdefault(word, len(ids)) for word in words]
        lengths[i] = len(words)
    return Corpus(np.array(flat, np.int64), lengths)


def ngrams(corpus: Corpus, order: int = ORDER) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For n = 1..order: the text and the n-gram id of every n-gram, in reading order.

    An id stands for one n-gram over the whole corpus; ids of different n are unrelated.
    """
    base = int(corpus.tokens.max(initial=0)) + 1
    left = np.repeat(np.cumsum(corpus.lengths), corpus.lengths) - np.arange(len(corpus.tokens))
    texts, grams = corpus.texts, corpus.tokens
    starts = np.arange(len(grams))
    for n in range(1, order + 1):
        if n > 1:  # extend by one token those (n-1)-grams that do not end their text
            keep = left[starts] >= n
            starts = starts[keep]
            pairs = grams[keep] * base + corpus.tokens[starts + n - 1]
            grams = np.unique(pairs, return_inverse=True)[1].astype(np.int64)
        yield texts[starts], grams


def counts(texts: np.ndarray, grams: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct (text, n-gram) pairs in sorted order, and how often each occurs."""
    width = int(grams.max(initial=0)) + 1
    keys, times = np.unique(texts * width + grams, return_counts=True)
    return keys // width, keys % width, times
