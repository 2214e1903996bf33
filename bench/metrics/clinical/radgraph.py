"""RadGraph F1 through the `radgraph` package, with given weights and kept annotations.

The package is slow (one report at a time) and case-sensitive: texts are lower-cased before they
are annotated, and an annotation is kept by weights and text. The model type is part of the name:
v1 and XL scores differ.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bench import weights
from bench.errors import DataError, MissingError
from bench.metrics.base import Metric
from bench.metrics.cache import AnswerCache
from bench.metrics.clinical.radgraph_rewards import LEVELS, Annotation, rewards

PACKAGE = "radgraph-0.1.18"
EMPTY: Annotation = {"entities": {}}
HINT = "add the published tar.gz again: bench weights list"


def require_local(folder: Path) -> None:
    """MissingError when the encoder that config.json names is neither a folder nor cached.

    DataError when the folder is not an unpacked RadGraph archive.
    """
    path = folder / "config.json"
    if not path.is_file() or not (folder / "weights.th").is_file():
        raise DataError(f"{folder} does not hold a RadGraph model", HINT)
    for name in encoders(path):
        if Path(name).is_dir():
            continue
        from huggingface_hub import try_to_load_from_cache

        if not isinstance(try_to_load_from_cache(name, "config.json"), str):
            raise MissingError(
                f"RadGraph's encoder {name!r} is not on this machine",
                f"put its config and tokenizer files into a folder and name that in {path}",
            )


def encoders(path: Path) -> set[str]:
    """The encoder names of a RadGraph config.json (reader and embedder)."""
    try:
        config: Any = json.loads(path.read_text(encoding="utf-8"))
        reader = config["dataset_reader"]["token_indexers"]["bert"]["model_name"]
        embedder = config["model"]["embedder"]["token_embedders"]["bert"]["model_name"]
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(f"{path} is not a RadGraph configuration: {error!r}", HINT) from None
    return {str(reader), str(embedder)}


@cache
def _model(folder: str) -> Any:
    """The package's model of an unpacked folder `<digest>/<model type>`.

    The package unpickles weights.th in its own way: it is given the file only when torch's
    restricted unpickler, which runs no code, has read it and found nothing but tensors.
    """
    from bench.metrics.clinical.tensors import read

    read(Path(folder, "weights.th"), HINT)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a missing encoder would hang for minutes
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its device
        from radgraph import RadGraph

        try:
            return RadGraph(model_type=Path(folder).name, model_cache_dir=str(Path(folder).parent))
        except (RuntimeError, TypeError, OSError, LookupError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(
                f"{folder} does not fit the radgraph package: {reason}", HINT
            ) from error


@cache
def _answers(name: str, digest: str) -> AnswerCache:
    return AnswerCache(f"{name}-{digest[:16]}")


class RadGraphF1(Metric):
    """Mean per-report F1 of the graphs that RadGraph (v1) reads: simple, partial, complete."""

    name: ClassVar[str] = "radgraph"
    version: ClassVar[int] = 1
    treatments: ClassVar[tuple[str, ...]] = ("raw",)
    model: ClassVar[str] = "radgraph"  # name of the weights, and the package's model type
    bounds = (0.0, 1.0)
    title: ClassVar[str] = "RadGraph"

    def __init__(self) -> None:
        self.weights = (self.model,)
        self.scores = tuple(f"{self.title}-F1-{level}" for level in LEVELS)

    def require(self) -> None:
        """MissingError, in one line, when weights or the encoder's files are not here."""
        weights.resolve(self.model)
        require_local(weights.unpacked(self.model))

    def annotate(self, reports: Sequence[str]) -> list[Annotation]:
        """One annotation per report, in order; an empty report has no entity."""
        self.require()
        texts = [" ".join(report.lower().split()) for report in reports]
        resolved = weights.resolve(self.model)
        lines = _answers(self.model, resolved.digest).answers(texts, self._compute)
        return [json.loads(line) for line in lines]

    def _compute(self, texts: list[str]) -> list[str]:
        model = _model(str(weights.unpacked(self.model)))
        spoken = [text for text in texts if text]
        answers = model(spoken) if spoken else {}
        if len(answers) != len(spoken):  # the package prints a failure and leaves the report out
            raise DataError(f"RadGraph failed on {len(spoken) - len(answers)} reports", "")
        known = {text: answers[str(i)] for i, text in enumerate(spoken)}
        return [
            json.dumps({"entities": known[t]["entities"]} if t else EMPTY, sort_keys=True)
            for t in texts
        ]

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """The three rewards of each pair (n, 3)."""
        graphs = self.annotate([*hypotheses, *references])
        pairs = zip(graphs[: len(hypotheses)], graphs[len(hypotheses) :], strict=True)
        rows = [rewards(hypothesis, reference) for hypothesis, reference in pairs]
        return np.array(rows, dtype=float).reshape(len(hypotheses), len(LEVELS))

    def implementation(self) -> str:
        """Package, model type and weights."""
        digest = weights.resolve(self.model).digest[:12]
        return f"impl:{PACKAGE}|model:{self.model}|case:lower|ckpt:{digest}"


class RadGraphXLF1(RadGraphF1):
    """The same with radgraph-xl."""

    name: ClassVar[str] = "radgraph-xl"
    model: ClassVar[str] = "radgraph-xl"
    title: ClassVar[str] = "RadGraph-XL"


class ModernRadGraphXLF1(RadGraphF1):
    """The same with modern-radgraph-xl."""

    name: ClassVar[str] = "modern-radgraph-xl"
    model: ClassVar[str] = "modern-radgraph-xl"
    title: ClassVar[str] = "Modern-RadGraph-XL"
