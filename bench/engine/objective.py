"""What is minimised, and its gradients over the micro-batches of a step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.engine.parallel import World
from bench.engine.stages import weighted
from bench.model import Batch
from bench.spec import StageSpec


class Objective(nn.Module):
    """The weighted sum of a model's terms in a stage; and the terms, without gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = cast(Any, model)

    def forward(self, batch: Batch, stage: StageSpec) -> tuple[Tensor, dict[str, Tensor]]:
        terms = self.model.loss(batch)
        loss = weighted(terms, stage)
        return loss, {k: v.detach() for k, v in {**terms, "loss": loss}.items()}


def gradients(
    objective: nn.Module,
    batch: Batch,
    stage: StageSpec,
    count: int,
    world: World,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> dict[str, Tensor]:
    """Accumulated gradients of `objective`; the terms' means over `count` micro-batches, which
    stay on the device."""
    total: dict[str, Tensor] = {}
    for i, part in enumerate(micro_batches(batch, count), start=1):
        with world.holding(objective, last=i == count):
            with autocast():
                loss, terms = objective(part, stage)
            (loss / count).backward()
        for name, value in terms.items():
            zero = torch.zeros((), device=value.device)
            total[name] = total.get(name, zero) + value / count
    return total


def micro_batches(batch: Batch, count: int) -> list[Batch]:
    if count == 1:
        return [batch]
    size = len(batch.lengths) // count
    return [
        replace(
            batch,
            images=batch.images[i : i + size],
            tokens=batch.tokens[i : i + size],
            lengths=batch.lengths[i : i + size],
            texts=batch.texts[i : i + size],
        )
        for i in range(0, size * count, size)
    ]
