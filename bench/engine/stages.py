"""Stages of a training: which one it is in, its loss weights, and the model's switches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bench.errors import RunError
from bench.spec import SelectionSpec, StageSpec

EPSILON = 1e-9  # of a share of the budget


def stage_at(stages: Sequence[StageSpec], progress: float) -> int:
    """Index of the stage that a share of the budget lies in."""
    end = 0.0
    for index, stage in enumerate(stages):
        end += stage.share
        if progress + EPSILON < end:
            return index
    return len(stages) - 1


def first_return(stages: Sequence[StageSpec]) -> float:
    """Share of the budget at which a stage first goes back to an earlier step; 1 if none does."""
    for index, stage in enumerate(stages):
        if index and stage.start == "best":
            return sum(s.share for s in stages[:index])
    return 1.0


def can_be_kept(
    stages: Sequence[StageSpec], index: int, selection: SelectionSpec, progress: float
) -> bool:
    """Whether a checkpoint of a stage can be sealed, or be what the next stage starts from."""
    if following := stages[index + 1 :]:
        return following[0].start == "best"
    return progress + EPSILON >= 1 - selection.share


def weighted(terms: dict[str, Tensor], stage: StageSpec) -> Tensor:
    """Eq. 13 of UAR: the stage's weights times the model's terms (absent weight: 0)."""
    missing = [name for name, weight in stage.losses.items() if weight and name not in terms]
    if missing:
        raise RunError(
            f"stage {stage.name!r} weights the loss {missing[0]!r}, "
            f"but the model gives only {', '.join(sorted(terms))}",
            "fix the stage's `losses`",
        )
    used = [stage.losses[name] * value for name, value in terms.items() if stage.losses.get(name)]
    return torch.stack(used).sum()


def switch(model: Any, stage: StageSpec) -> None:
    """Set the model as the stage wants it."""
    if stage.switches:
        if not hasattr(model, "switch"):
            raise RunError(
                f"stage {stage.name!r} has switches, but {type(model).__name__} takes none"
            )
        model.switch(**stage.switches)
