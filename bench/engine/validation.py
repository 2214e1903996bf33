"""Validation: what a checkpoint is selected by, and when it is looked at.

Needs no scorer and no Java: BLEU-4 and CIDEr come from our own sufficient statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from bench.data.batches import Split
from bench.data.text import Treatment, Vocabulary
from bench.engine.decode import generate
from bench.engine.stages import EPSILON
from bench.metrics.base import Metric
from bench.metrics.bleu import BLEU
from bench.metrics.cider import CIDEr
from bench.model import Batch
from bench.spec import RunSpec

EVALUATION_BATCH = 64
# Reports are decoded in larger batches: beam 3 on 150 studies takes 0.30 s in one batch, 0.35 in
# batches of 64 (BASE of the small preset, one core; greedy, in batches of 64: 0.23).
DECODED_BATCH = 192
WRITTEN: dict[str, type[Metric]] = {"BLEU-4": BLEU, "CIDEr": CIDEr}  # of validation reports


@dataclass
class Validation:
    """The validation split of a run and what `spec.selection` asks of it."""

    spec: RunSpec
    split: Split
    vocabulary: Vocabulary
    treatment: Treatment
    device: str

    def score(self, model: Any) -> float:
        """The selection metric of validation reports, written as the test's are."""
        split, selection, decode = self.split, self.spec.selection, self.spec.training.decode
        seed = self.spec.derived_seed("decode")
        written: list[str] = []
        wanted = min(selection.studies or DECODED_BATCH, DECODED_BATCH)
        for batch in split.batches(wanted, self.device):
            ids = generate(model, batch.images, decode, seed + len(written))
            written += [self.vocabulary.decode(x) for x in ids]
            if selection.studies and len(written) >= selection.studies:
                break
        studies = split.studies[: len(written)]
        references = [self.treatment.reference(s.report, self.vocabulary) for s in studies]
        metric = WRITTEN[selection.metric]()
        return metric.corpus(metric.statistics(written, references))[selection.metric]

    @torch.inference_mode()
    def loss(self, model: Any, weigh: Callable[[dict[str, Tensor]], Tensor]) -> float:
        """Mean over validation studies of the terms that `weigh` adds up."""
        total, count = 0.0, 0
        for batch in self.split.batches(EVALUATION_BATCH, self.device):
            total += float(weigh(model.loss(batch))) * len(batch.lengths)
            count += len(batch.lengths)
        return total / count

    def first_batch(self) -> Batch:
        return next(self.split.batches(EVALUATION_BATCH, self.device))


@dataclass(frozen=True)
class Position:
    """Where a training stands: share of its budget, and examples seen."""

    progress: float
    examples: int


class Looks:
    """When validation runs. Depends on positions alone, so that a resumed training looks alike."""

    def __init__(self, spec: RunSpec, epoch_size: int) -> None:
        count = max(1, spec.selection.evaluations)
        ends = accumulate(stage.share for stage in spec.stages)
        self._shares = {(i + 1) / count for i in range(count)} | {min(end, 1.0) for end in ends}
        self._examples = spec.selection.every_epochs * epoch_size

    def of(self, examples: float) -> list[float]:
        """All looks of a training of so many examples, as shares of its budget; ascending."""
        each = self._examples / examples if examples else 0.0
        times = int(1 / each + EPSILON) if each else 0
        shares = self._shares | {i * each for i in range(1, times + 1)}
        return sorted({round(share, 9) for share in shares})  # as exactly as positions are told

    def due(self, before: Position, now: Position) -> bool:
        """Whether the step between two positions has reached a point."""
        a, b = before.progress + EPSILON, now.progress + EPSILON
        if any(a < share <= b for share in self._shares):
            return True
        each = self._examples
        return bool(each) and now.examples // each > before.examples // each
