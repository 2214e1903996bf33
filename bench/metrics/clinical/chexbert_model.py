"""The CheXbert labeler (Smit et al. 2020) from its published checkpoint; loaded without pickle.

The checkpoint is {"model_state_dict": {"module.bert…", "module.linear_heads.0…13"}}: a BERT whose
first token feeds 13 heads of 4 classes (blank, positive, negative, uncertain) and one of 2 ("No
Finding": no, yes). Sizes are read from the tensors, so a small one of the same layout loads too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, BertTokenizerFast

from bench.errors import DataError
from bench.metrics.clinical.observations import NO_FINDING, OBSERVATIONS
from bench.metrics.clinical.tensors import read

MAX_PIECES = 512  # as in the authors' script: cut to 511 pieces and [SEP]
TOKENS = 8192  # padded pieces per batch: 16 reports of full length
HEAD_SIZE = 64  # of BERT; a config.json beside the weights overrides it


def load(path: Path) -> dict[str, Tensor]:
    """The checkpoint's tensors, "module." removed; DataError for anything that is not one.

    Only tensors and plain containers are unpickled: a file that holds code is refused unrun.
    """
    hint = f"replace {path} by the published chexbert.pth"
    state = read(path, hint, key="model_state_dict")
    tensors = {name.removeprefix("module."): value for name, value in state.items()}
    _check_heads(path, tensors, hint)
    return tensors


def _check_heads(path: Path, tensors: Mapping[str, Tensor], hint: str) -> None:
    words = tensors.get("bert.embeddings.word_embeddings.weight")
    if words is None or words.ndim != 2:
        raise DataError(f"{path} does not hold a BERT model", hint)
    for i in range(len(OBSERVATIONS)):
        head = tensors.get(f"linear_heads.{i}.weight")
        wanted = (2 if i == NO_FINDING else 4, words.shape[1])
        if head is None or tuple(head.shape) != wanted:
            found = "missing" if head is None else f"of shape {tuple(head.shape)}"
            raise DataError(f"{path}: head {i} is {found}, not of shape {wanted}", hint)


def config_of(tensors: Mapping[str, Tensor], path: Path) -> BertConfig:
    """BERT's sizes from the tensors; a config.json in the same folder wins (number of heads)."""
    beside = path.parent / "config.json"
    if beside.is_file():
        return BertConfig(**json.loads(beside.read_text(encoding="utf-8")))
    vocabulary, hidden = tensors["bert.embeddings.word_embeddings.weight"].shape
    layers = {name.split(".")[3] for name in tensors if name.startswith("bert.encoder.layer.")}
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=len(layers),
        num_attention_heads=max(1, hidden // HEAD_SIZE),
        intermediate_size=tensors["bert.encoder.layer.0.intermediate.dense.weight"].shape[0],
        max_position_embeddings=tensors["bert.embeddings.position_embeddings.weight"].shape[0],
    )


class Labeler(nn.Module):
    """BERT and the 14 heads, in evaluation mode."""

    def __init__(self, path: Path, vocabulary: Path, device: str = "cpu") -> None:
        super().__init__()
        tensors = load(path)
        config = config_of(tensors, path)
        self.tokenizer = BertTokenizerFast(vocab_file=str(vocabulary), do_lower_case=True)
        if len(self.tokenizer) != config.vocab_size:
            raise DataError(
                f"{vocabulary} has {len(self.tokenizer)} pieces, {path} wants {config.vocab_size}",
                "use the vocabulary that the weights were trained with (bert-base-uncased)",
            )
        self.longest = min(MAX_PIECES, config.max_position_embeddings)
        self.bert = BertModel(config)
        self.linear_heads = nn.ModuleList(
            nn.Linear(config.hidden_size, 2 if i == NO_FINDING else 4)
            for i in range(len(OBSERVATIONS))
        )
        self._fill(tensors, path)
        self.eval().requires_grad_(False).to(device)

    def _fill(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        own = self.state_dict()
        missing = sorted(own.keys() - tensors.keys())
        wrong = sorted(k for k in own.keys() & tensors.keys() if own[k].shape != tensors[k].shape)
        if missing or wrong:
            names = ", ".join([*missing, *wrong][:3])
            raise DataError(f"{path} lacks or distorts {names}", "use the published chexbert.pth")
        self.load_state_dict({name: tensors[name] for name in own})

    def pieces(self, reports: Sequence[str]) -> list[list[int]]:
        """Word pieces with [CLS] and [SEP], cut as the authors' script cuts them."""
        single = [" ".join(text.split()) for text in reports]
        ids: list[list[int]] = self.tokenizer(single, verbose=False)["input_ids"]
        last = int(self.tokenizer.sep_token_id)
        cut = self.longest
        return [row if len(row) <= cut else [*row[: cut - 1], last] for row in ids]

    def forward(self, ids: Tensor, mask: Tensor) -> list[Tensor]:
        """14 tensors of logits (n, 4), the last (n, 2)."""
        first = self.bert(ids, attention_mask=mask).last_hidden_state[:, 0]
        return [head(first) for head in self.linear_heads]

    @torch.inference_mode()
    def label(self, reports: Sequence[str]) -> np.ndarray:
        """Classes (n, 14) int8, in order; reports of like length share a batch."""
        rows = self.pieces(reports)
        found = np.zeros((len(rows), len(OBSERVATIONS)), dtype=np.int8)
        for batch in batches([len(row) for row in rows]):
            ids, mask = self._padded([rows[i] for i in batch])
            logits: Any = self(ids, mask)
            found[batch] = torch.stack([x.argmax(dim=1) for x in logits], dim=1).cpu().numpy()
        return found

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        longest = max(map(len, rows))
        pad = int(self.tokenizer.pad_token_id)
        device = next(self.parameters()).device
        ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows], device=device)
        lengths = torch.tensor([len(row) for row in rows], device=device)
        return ids, torch.arange(longest, device=device)[None] < lengths[:, None]


def batches(lengths: Sequence[int], tokens: int = TOKENS) -> Iterable[list[int]]:
    """Indices sorted by length, in batches of at most `tokens` padded pieces."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[i] > tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
