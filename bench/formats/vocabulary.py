"""The vocabulary that r2gen@1 cuts references to: a list of words, or the annotation it is of."""

from __future__ import annotations

from pathlib import Path

from bench.data.iu_xray import MIN_COUNT as IU_COUNT
from bench.data.mimic_cxr import MIN_COUNT as MIMIC_COUNT
from bench.data.text import Vocabulary, clean
from bench.formats.reports import read_references

COUNTS = {"iu": IU_COUNT, "mimic": MIMIC_COUNT}  # R2Gen's thresholds


def read_vocabulary(path: Path, cleaning: str) -> Vocabulary:
    """Of a file of words, one a line (`<unk>` among them), or of an annotation's train split."""
    if path.suffix.lower() != ".json":
        return Vocabulary.load(path)
    train = read_references(path, split="train").texts
    return Vocabulary.build((clean(text, cleaning) for text in train), COUNTS[cleaning])
