"""Word pieces to words: vectors and attention are summed over the pieces of a word.

The released code walks over samples and pieces in Python; here a running count numbers the words
and one `index_add` sums them all.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Words(NamedTuple):
    """A report as words. The separator at its end counts as a word, the class token does not."""

    report: Tensor  # (B, D) the class token's vector
    vectors: Tensor  # (B, T - 1, D), zero where there is no word
    attention: Tensor  # (B, T - 1), zero where there is no word
    padded: Tensor  # (B, T - 1) bool, True where there is no word


def word_index(continues: Tensor, used: Tensor, shifted: bool = True) -> Tensor:
    """Word number (B, T) of each piece, the class token being 0, and T for "none".

    `continues` marks pieces inside a word ("##..."), `used` those up to the separator.
    `shifted`: the released code pairs T pieces with T - 1 attention values and so never reaches
    the last place. When the separator stands there, it is lost together with the last word.
    """
    places = used.shape[1]
    number = (used & ~continues).cumsum(dim=1) - 1
    kept = used
    if shifted:
        cut = used[:, -1:]
        last = number[:, -2:-1]
        kept = used & ~(cut & (number >= last))
    return number.masked_fill(~kept, places)


def aggregate(
    hidden: Tensor, attention: Tensor, continues: Tensor, used: Tensor, shifted: bool = True
) -> Words:
    """Words of pieces `hidden` (B, T, D), and their share of the class token's attention (B, T).

    `shifted` keeps the released code's quirk: each piece is given the attention of the piece
    after it (its list of weights begins behind the class token, its list of pieces does not).
    False gives each piece its own.
    """
    samples, places, width = hidden.shape
    index = word_index(continues, used, shifted)
    if shifted:
        attention = torch.cat([attention[:, 1:], torch.zeros_like(attention[:, :1])], dim=1)
    # One spare row per sample takes the pieces that belong to no word.
    rows = (torch.arange(samples, device=hidden.device)[:, None] * (places + 1) + index).flatten()
    vectors = hidden.new_zeros(samples * (places + 1), width)
    vectors = vectors.index_add(0, rows, hidden.flatten(0, 1)).view(samples, places + 1, width)
    shares = attention.new_zeros(samples * (places + 1))
    shares = shares.index_add(0, rows, attention.flatten()).view(samples, places + 1)
    count = index.masked_fill(index == places, -1).amax(dim=1, keepdim=True)
    padded = torch.arange(1, places, device=hidden.device) > count
    return Words(vectors[:, 0], vectors[:, 1:places], shares[:, 1:places], padded)
