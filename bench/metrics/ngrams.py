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
    numbers = np.arange(len(corpus.lengths), dtype=np.int32)
    grams, each = corpus.tokens, corpus.lengths  # of the order, and how many a text has
    starts = np.arange(len(grams), dtype=np.int32)
    for n in range(1, order + 1):
        if n > 1:  # extend by one token all (n-1)-grams but the last of each text
            keep = np.ones(len(grams), dtype=bool)
            keep[(np.cumsum(each) - 1)[each > 0]] = False
            starts, each = starts[keep], np.maximum(each - 1, 0)
            # In place: of long corpora every copy is a hundred megabytes.
            grams = grams[keep].astype(np.int64)
            grams *= base
            grams += corpus.tokens[starts + (n - 1)]
            grams = _numbered(grams)
        yield np.repeat(numbers, each), grams


def _numbered(values: np.ndarray) -> np.ndarray:
    """int32: which of the distinct values, in their order, each one is. `values` is used up."""
    order = np.argsort(values)
    values.sort()
    new = np.zeros(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=new[1:])
    ranks = np.empty(len(values), dtype=np.int32)
    ranks[order] = np.cumsum(new, dtype=np.int32)
    return ranks


def counts(texts: np.ndarray, grams: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct (text, n-gram) pairs in sorted order, and how often each occurs."""
    width = int(grams.max(initial=0)) + 1
    keys, times = np.unique(texts.astype(np.int64) * width + grams, return_counts=True)
    return keys // width, keys % width, times
