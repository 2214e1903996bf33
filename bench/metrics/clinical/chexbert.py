"""CheXbert F1: agreement of CheXbert's labels, under one stated default and published presets.

The default counts an uncertain label as present, as f1chexbert, Miura et al. and RGRG do. Each
preset is a metric of its own with its own name and signature: their numbers do not compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench import weights
from bench.metrics.cache import AnswerCache
from bench.metrics.clinical.f1 import CONVENTIONS, ClinicalMetric, Convention
from bench.spec import TREATMENT

if TYPE_CHECKING:
    from bench.metrics.clinical.chexbert_model import Labeler

WEIGHTS, VOCABULARY = "chexbert", "bert-base-uncased-vocab"


@cache
def _labeler(weights_path: str, vocabulary_path: str, device: str) -> Labeler:
    from bench.metrics.clinical.chexbert_model import Labeler

    return Labeler(Path(weights_path), Path(vocabulary_path), device)


@cache
def _answers(digest: str) -> AnswerCache:
    return AnswerCache(f"chexbert-{digest[:16]}")


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


class CheXbert(ClinicalMetric):
    """All averages over 14 and 5 observations, uncertain as present, references in full."""

    name: ClassVar[str] = "chexbert"
    version: ClassVar[int] = 1
    title: ClassVar[str] = "CheXbert"
    weights: ClassVar[tuple[str, ...]] = (WEIGHTS, VOCABULARY)

    def require(self) -> None:
        """MissingError, in one line, when the checkpoint or its vocabulary is not here."""
        for name in self.weights:
            weights.resolve(name)

    def label(self, reports: Sequence[str]) -> np.ndarray:
        """CheXbert's classes; answers are kept by the checkpoint's and the report's digest."""
        self.require()
        found, vocabulary = weights.resolve(WEIGHTS), weights.resolve(VOCABULARY)

        def compute(texts: list[str]) -> list[str]:
            model = _labeler(str(found.path), str(vocabulary.path), _device())
            return ["".join(map(str, row)) for row in model.label(texts)]

        rows = _answers(found.digest).answers(list(reports), compute)
        return np.array([[int(c) for c in row] for row in rows], np.int8).reshape(len(rows), -1)

    def source(self) -> str:
        """The checkpoint's digest."""
        return f"ckpt:{weights.resolve(WEIGHTS).digest[:12]}"


class CheXbertNegative(CheXbert):
    """The default with uncertain as absent."""

    name: ClassVar[str] = "chexbert-uncertain-negative"
    title: ClassVar[str] = "CheXbert-uncertain-negative"
    convention: ClassVar[Convention] = CONVENTIONS["uncertain-negative"]


class CheXbertIgnored(CheXbert):
    """The default with uncertain labels, on either side, not counted."""

    name: ClassVar[str] = "chexbert-uncertain-ignored"
    title: ClassVar[str] = "CheXbert-uncertain-ignored"
    convention: ClassVar[Convention] = CONVENTIONS["uncertain-ignored"]


class CheXbertR2Gen(CheXbert):
    """R2Gen's script: uncertain as absent, references as its tokenizer truncates them."""

    name: ClassVar[str] = "chexbert-r2gen"
    title: ClassVar[str] = "CheXbert-r2gen"
    treatments: ClassVar[tuple[str, ...]] = (TREATMENT,)
    convention: ClassVar[Convention] = CONVENTIONS["r2gen"]


class CheXbertF1(CheXbert):
    """The package f1chexbert 0.0.2, its exact-match accuracy over five labels included."""

    name: ClassVar[str] = "chexbert-f1chexbert"
    title: ClassVar[str] = "CheXbert-f1chexbert"
    convention: ClassVar[Convention] = CONVENTIONS["f1chexbert"]


class CheXbertRGRG(CheXbert):
    """RGRG: micro with uncertain as present, example-based with uncertain as absent."""

    name: ClassVar[str] = "chexbert-rgrg"
    title: ClassVar[str] = "CheXbert-rgrg"
    convention: ClassVar[Convention] = CONVENTIONS["rgrg"]


class CheXbertMiura(CheXbert):
    """Miura et al. 2021: micro over five observations, uncertain as present."""

    name: ClassVar[str] = "chexbert-miura"
    title: ClassVar[str] = "CheXbert-miura"
    convention: ClassVar[Convention] = CONVENTIONS["miura"]
