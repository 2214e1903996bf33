"""Validation: what a checkpoint is selected by, and when it is looked at.

Needs no scorer and no Java: BLEU-4 comes from our own sufficient statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bench.data.batches import Split
from bench.data.text import Treatment, Vocabulary
from bench.engine.decode import generate
from bench.metrics.bleu import BLEU
from bench.model import Batch
from bench.spec import DecodeSpec, RunSpec

EVALUATION_BATCH = 64


@dataclass
class Validation:
    """The validation split of a run and what `spec.selection` asks of it."""

    spec: RunSpec
    split: Split
    vocabulary: Vocabulary
    treatment: Treatment
    device: str

    def bleu(self, model: Any) -> float:
        """BLEU-4 of validation reports as `selection` asks for them."""
        split, selection = self.split, self.spec.selection
        decode = replace(
            DecodeSpec(), beam_size=selection.beam_size, max_length=self.spec.decode.max_length
        )
        written: list[str] = []
        for batch in split.batches(EVALUATION_BATCH, self.device):
            ids = generate(model, batch.images, decode)
            written += [self.vocabulary.decode(x) for x in ids]
            if selection.studies and len(written) >= selection.studies:
                break
        studies = split.studies[: len(written)]
        references = [self.treatment.reference(s.report, self.vocabulary) for s in studies]
        metric = BLEU()
        return metric.corpus(metric.statistics(written, references))["BLEU-4"]

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


def evaluation_points(spec: RunSpec) -> list[float]:
    """Shares of the budget after which validation runs: evenly spread, and where a stage ends."""
    count = max(1, spec.selection.evaluations)
    points = {round((i + 1) / count, 9) for i in range(count)}
    end = 0.0
    for stage in spec.stages:
        end += stage.share
        points.add(round(min(end, 1.0), 9))
    return sorted(points)
