"""UAR small, with each part off or exchanged (Tables 2-4), and a batch for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from bench.model import Batch
from uar.model import UAR

D, HEADS, SIZE, WORDS, CODEBOOK = 32, 4, 24, 20, 30

SMALL: dict[str, Any] = {
    "d": D,
    "heads": HEADS,
    "d_ff": 48,
    "layers": 2,
    "backbone": "convnet",
    "backbone_params": {"width": 8},
    "image": {"size": 32, "resize": 36},
}
OFF: dict[str, Any] = {"lsu": False, "integration": False, "align": False, "tir": "off"}
TABLE2: dict[str, dict[str, Any]] = {
    "base": OFF,
    "a": {**OFF, "lsu": True},
    "b": {**OFF, "integration": True},
    "c": {**OFF, "align": True},
    "d": {**OFF, "integration": True, "align": True},
    "e": {"tir": "off"},
    "uar": {},
}
OTHERS: dict[str, dict[str, Any]] = {
    "uniform": {"cra": {"basis": "uniform"}},
    "normal": {"cra": {"basis": "normal", "scale": "unscaled"}},
    "no gate": {"cra": {"fusion": "none"}},
    "addition": {"cra": {"fusion": "addition"}},
    "feature": {"cra": {"gain_bias": "feature", "gated_sum": True, "gate_bias": True}},
    "trained basis": {"cra": {"train_basis": True, "basis": "orthogonal_blocks"}},
    "encoded": {"cra_at": "encoded"},
    "literal": {"tir": "paper_literal", "refiner": {"form": "per_layer"}},
    "focus": {"tir": "focus", "refiner": {"form": "content", "init": "normal", "k": 5.0}},
    "last": {"refiner": {"layers": "last", "init": "normal", "divide": "model"}},
    "cnn": {"lsu": False, "image_positions": "learned"},
    "loss": {"triplet": {"pooling": "max", "negatives": "mean"}, "ce": "sum"},
}
VARIANTS = TABLE2 | OTHERS


def build(options: Mapping[str, Any], seed: int = 0) -> UAR:
    torch.manual_seed(seed)
    merged = {**SMALL, **options}
    if merged.get("integration", True):
        merged["cra"] = {"size": SIZE, **merged.get("cra", {})}
    codes = CODEBOOK if merged.get("lsu", True) else None
    model = UAR(WORDS, 12, codebook_size=codes, **merged)
    for parameter in model.groups().get("mask", []):  # so that the mask matters
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def make_batch(options: Mapping[str, Any], count: int = 4) -> Batch:
    torch.manual_seed(1)
    tokens = torch.zeros(count, 9, dtype=torch.long)
    lengths = torch.tensor([9, 5, 7, 5])[:count]
    for row, length in zip(tokens, lengths.tolist(), strict=True):
        row[1 : length - 1] = torch.randint(1, WORDS, (length - 2,))
    images = torch.randn(count, 2, 3, 32, 32)
    if options.get("lsu", True):
        images = torch.randint(0, CODEBOOK, (count, 2, 16))
    return Batch(images, tokens, lengths)
