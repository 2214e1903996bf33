"""Reports to word vectors: captions, word pieces, and a BERT with the configured number of layers.

Which BERT is data of the run, never a substitute: weights that are given (Bio_ClinicalBERT is the
published choice; a six-layer sentence encoder installs as a Python package), or one from scratch
whose word pieces are learnt from the train reports.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import BertWordPieceTokenizer, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.trainers import BpeTrainer
from torch import Tensor, nn

from mgca import bert
from mgca.aggregate import Words, aggregate

MAX_PIECES = 112  # class token and separator included
LAYERS = 6  # of Bio_ClinicalBERT's twelve, the published code keeps the first six
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def caption(report: str) -> str:
    """A report as MGCA's text encoder reads it: lower-cased ASCII words, no punctuation.

    Sentences of a single word are left out. The published data set also drops reports of fewer
    than three words; a harness may not drop studies, so a report of nothing but single words
    keeps them all.
    """
    plain = report.lower().encode("ascii", "ignore").decode()
    sentences = [re.findall(r"\w+", part) for part in re.split(r"[0-9]+\.|\.", plain)]
    kept = [words for words in sentences if len(words) > 1] or sentences
    return " ".join(word for words in kept for word in words)


def learn_pieces(reports: Iterable[str], size: int) -> list[str]:
    """At most `size` word pieces of the train reports, special pieces first, [PAD] at 0.

    Byte-pair merges of letters that know whether they begin a word. The library's own word-piece
    trainer numbers "##" letters in the order of a hash map: its vocabulary changes from one call
    to the next. Here they are letters of a private range, numbered by code point.
    """
    learner = Tokenizer(BPE())
    learner.pre_tokenizer = WhitespaceSplit()
    trainer = BpeTrainer(
        vocab_size=size, min_frequency=2, special_tokens=list(SPECIAL), show_progress=False
    )
    learner.train_from_iterator(map(_mark, map(caption, reports)), trainer)
    ids = learner.get_vocab()
    return [_unmark(piece) for piece in sorted(ids, key=ids.__getitem__)]


INSIDE = 0xE000  # first code point of Unicode's private use area


def _mark(words: str) -> str:
    """Words with every letter but the first moved to the private range."""
    inside = (word[0] + "".join(chr(INSIDE + ord(c)) for c in word[1:]) for word in words.split())
    return " ".join(inside)


def _unmark(piece: str) -> str:
    """A learnt piece as BERT writes it: "##" before one that continues a word."""
    if ord(piece[0]) >= INSIDE:
        return "##" + _unmark(chr(ord(piece[0]) - INSIDE) + piece[1:])
    return "".join(chr(ord(c) - INSIDE) if ord(c) >= INSIDE else c for c in piece)


class Vocabulary(nn.Module):
    """Word pieces as part of a model: a checkpoint carries the tokenizer it was trained with.

    `pieces` None leaves the vocabulary open, to be set later or by a loaded state.
    """

    text: Tensor  # uint8, the pieces' UTF-8 bytes, a newline after each, padded with 0
    continues: Tensor  # (size,) bool, True for a piece inside a word

    BYTES_PER_PIECE = 24  # room in the buffer; English pieces take about 8

    def __init__(self, size: int, max_pieces: int, pieces: Sequence[str] | None = None) -> None:
        super().__init__()
        self.size, self.max_pieces = size, max_pieces
        self.register_buffer("text", torch.zeros(size * self.BYTES_PER_PIECE, dtype=torch.uint8))
        self.register_buffer("continues", torch.zeros(size, dtype=torch.bool))
        self._tokenizer: BertWordPieceTokenizer | None = None
        self._ids: dict[str, np.ndarray] = {}
        self.register_load_state_dict_post_hook(lambda module, _: module._forget())
        if pieces is not None:
            self.set(pieces)

    def set(self, pieces: Sequence[str]) -> None:
        """Fix the vocabulary; ids are positions in `pieces`."""
        data = "".join(f"{piece}\n" for piece in pieces).encode()
        if len(pieces) > self.size or len(data) > len(self.text):
            raise ValueError(f"{len(pieces)} word pieces do not fit a vocabulary of {self.size}")
        self.text.zero_()
        self.text[: len(data)] = torch.tensor(list(data), dtype=torch.uint8)
        inside = torch.tensor([piece.startswith("##") for piece in pieces])
        self.continues.zero_()
        self.continues[: len(pieces)] = inside
        self._forget()

    def pieces(self) -> list[str]:
        """Every piece in order of its id; empty while the vocabulary is open."""
        return bytes(self.text.tolist()).rstrip(b"\0").decode().splitlines()

    def _forget(self) -> None:
        self._tokenizer = None
        self._ids.clear()

    def _build(self) -> BertWordPieceTokenizer:
        pieces = self.pieces()
        if not pieces:
            raise ValueError(
                "this text encoder has no vocabulary: "
                "call prepare(train reports) or load a checkpoint"
            )
        tokenizer = BertWordPieceTokenizer(
            vocab={piece: i for i, piece in enumerate(pieces)}, lowercase=True
        )
        tokenizer.enable_truncation(self.max_pieces)
        return tokenizer

    def encode(self, reports: Sequence[str]) -> Tensor:
        """Piece ids (B, max_pieces), 0 behind the separator; each distinct report once."""
        new = list(dict.fromkeys(report for report in reports if report not in self._ids))
        if new:
            self._tokenizer = self._tokenizer or self._build()
            encodings = self._tokenizer.encode_batch([caption(report) for report in new])
            for report, encoding in zip(new, encodings, strict=True):
                row = np.zeros(self.max_pieces, dtype=np.int64)
                row[: len(encoding.ids)] = encoding.ids
                self._ids[report] = row
        return torch.from_numpy(np.stack([self._ids[report] for report in reports]))


class TextEncoder(nn.Module):
    """BERT over word pieces, aggregated to words.

    `source` "pretrained" keeps the first `layers` of the BERT in `weights`; "scratch" makes one
    of `width`, `heads`, `pieces` (vocabulary size) and `dropout`, and refuses weights. (A random
    BERT tells reports apart so faintly that batch norm mostly amplifies dropout's noise: use 0.)
    `shifted`: see `mgca.aggregate`.
    """

    def __init__(
        self,
        source: str,
        weights: Path | None = None,
        *,
        layers: int = LAYERS,
        max_pieces: int = MAX_PIECES,
        shifted: bool = True,
        width: int = 768,
        heads: int = 12,
        pieces: int = 2000,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if source not in ("pretrained", "scratch"):
            raise ValueError(f"unknown text source {source!r}: pretrained or scratch")
        if (source == "pretrained") != (weights is not None):
            raise ValueError(
                f"text source {source!r} with weights {weights}: 'pretrained' needs a BERT's "
                "weights file, 'scratch' takes none"
            )
        self.shifted = shifted
        if weights is not None:
            self.model, learnt = bert.pretrained(weights, layers)
            self.vocabulary = Vocabulary(len(learnt), max_pieces, learnt)
        else:
            self.model = bert.scratch(layers, width, heads, pieces, max_pieces, dropout)
            self.vocabulary = Vocabulary(pieces, max_pieces)
        self.width: int = self.model.config.hidden_size

    def prepare(self, reports: Iterable[str]) -> None:
        """Learn the vocabulary of a BERT from scratch; a pretrained one brings its own."""
        if not self.vocabulary.pieces():
            self.vocabulary.set(learn_pieces(reports, self.vocabulary.size))

    def forward(self, reports: Sequence[str]) -> Words:
        """Words of B reports."""
        return self.words(self.vocabulary.encode(reports).to(self.model.device))

    def words(self, ids: Tensor) -> Words:
        """Words of piece ids (B, T)."""
        used = ids != 0
        output = self.model(ids, attention_mask=used.long(), output_hidden_states=True)
        attention = bert.class_attention(self.model, output.hidden_states[-2], used)
        continues = self.vocabulary.continues[ids]
        return aggregate(output.last_hidden_state, attention, continues, used, self.shifted)
