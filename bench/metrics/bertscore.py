"""BERTScore (Zhang et al. 2020) through the package bert-score, with given weights, offline.

Its number depends on the model, the layer and the rescaling, so each choice is a family of its own;
the package computes it, and finds no model by itself. An answer is kept by weights and texts.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bench import weights
from bench.errors import BenchError, DataError, MissingError
from bench.metrics.base import Metric
from bench.metrics.cache import AnswerCache
from bench.metrics.references import RAW

PACKAGE, VERSION = "bert_score", "0.3.13"
PARTS = ("P", "R", "F1")


@cache
def _scorer(folder: str, layers: int, baseline: str) -> Any:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from bert_score import BERTScorer

    try:
        return BERTScorer(
            model_type=folder, num_layers=layers, lang="en", device="cpu",
            rescale_with_baseline=bool(baseline), baseline_path=baseline or None,
        )  # fmt: skip
    except (OSError, ValueError, LookupError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{folder} is not a model that bert-score can read: {reason}",
            "put its config.json and tokenizer files beside the weights: bench weights list",
        ) from error


@cache
def _answers(name: str, digest: str) -> AnswerCache:
    return AnswerCache(f"{name}-{digest[:16]}")


class BERTScore(Metric):
    """distilroberta-base, layer 5, rescaled by the package's baseline, no idf: means over reports.

    The choice of CXR-Report-Metric, whose composite scores are built on it.
    """

    name: ClassVar[str] = "bertscore"
    version: ClassVar[int] = 1
    bounds = (-np.inf, 1.0)  # rescaling goes below 0
    treatments: ClassVar[tuple[str, ...]] = (RAW,)
    title: ClassVar[str] = "BERTScore"
    model: ClassVar[str] = "distilroberta-base"
    layers: ClassVar[int] = 5
    rescaled: ClassVar[bool] = True

    def __init__(self) -> None:
        self.weights = (f"bertscore-{self.model}",)
        self.scores = tuple(f"{self.title}-{part}" for part in PARTS)

    def require(self) -> None:
        """MissingError, in one line, when the package or the weights are not here."""
        if importlib.util.find_spec(PACKAGE) is None:
            raise MissingError(
                f"{self.name} needs the package bert-score", f"pip install bert-score=={VERSION}"
            )
        weights.resolve(self.weights[0])

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """Precision, recall and F1 of each pair (n, 3)."""
        if len(hypotheses) != len(references):
            raise BenchError(f"{len(hypotheses)} hypotheses for {len(references)} references")
        self.require()
        pairs = zip(hypotheses, references, strict=True)
        questions = [json.dumps(pair, ensure_ascii=True) for pair in pairs]
        kept = _answers(self.name, weights.resolve(self.weights[0]).digest)
        rows = [json.loads(line) for line in kept.answers(questions, self._compute)]
        return np.array(rows, np.float64).reshape(-1, len(PARTS))

    def _compute(self, questions: list[str]) -> list[str]:
        hypotheses, references = zip(*map(json.loads, questions), strict=True)
        folder = weights.resolve(self.weights[0]).path.parent
        scorer = _scorer(str(folder), self.layers, self._baseline() if self.rescaled else "")
        with contextlib.redirect_stderr(io.StringIO()):  # it warns of each empty report
            found = scorer.score(list(hypotheses), list(references))
        rows = zip(*(part.tolist() for part in found), strict=True)
        return [json.dumps(row) for row in rows]

    def _baseline(self) -> str:
        spec = importlib.util.find_spec(PACKAGE)
        folders = (spec.submodule_search_locations if spec else None) or [""]
        return str(Path(folders[0], "rescale_baseline", "en", f"{self.model}.tsv"))

    def implementation(self) -> str:
        digest = weights.resolve(self.weights[0]).digest[:12]
        rescaled = "yes" if self.rescaled else "no"
        return (
            f"impl:{PACKAGE}-{VERSION}|model:{self.model}|layer:{self.layers}"
            f"|idf:no|rescaled:{rescaled}|ckpt:{digest}"
        )


class BERTScoreLarge(BERTScore):
    """roberta-large, layer 17, not rescaled: what the package does for English unasked."""

    name: ClassVar[str] = "bertscore-roberta-large"
    title: ClassVar[str] = "BERTScore-roberta-large"
    model: ClassVar[str] = "roberta-large"
    layers: ClassVar[int] = 17
    rescaled: ClassVar[bool] = False
