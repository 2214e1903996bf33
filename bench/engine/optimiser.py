"""Optimiser, learning-rate schedule and gradient clipping from their specs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from bench.errors import unknown
from bench.spec import ClipSpec, OptimizerSpec, ScheduleSpec


def build_optimizer(
    groups: Mapping[str, list[nn.Parameter]], spec: OptimizerSpec, possible: Sequence[str] = ()
) -> torch.optim.Optimizer:
    """One parameter group a name, at its own rate; `no_decay` groups get no weight decay.

    `possible`: groups that the model has in some configuration; a name that is none of them is a
    typing error and refused.
    """
    known = {*groups, *possible, "rest"}
    for name in [*spec.rates, *spec.no_decay]:
        if name not in known:
            raise unknown("parameter group", name, known)
    missing = [n for n in groups if n not in spec.rates and "rest" not in spec.rates]
    if missing:
        raise unknown("rate for parameter group", missing[0], spec.rates)
    parameters = [
        {
            "params": list(group),
            "name": name,
            "base": spec.rates.get(name, spec.rates.get("rest", 0.0)),
            "weight_decay": 0.0 if name in spec.no_decay else spec.weight_decay,
        }
        for name, group in groups.items()
        if group
    ]
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[spec.name]
    first, second = spec.betas
    return kind(
        parameters, lr=0.0, betas=(first, second), eps=spec.eps, amsgrad=spec.amsgrad, fused=True
    )


def set_rates(
    optimizer: torch.optim.Optimizer, schedule: ScheduleSpec, progress: float, epoch: float
) -> None:
    factor = rate_factor(schedule, progress, epoch)
    for group in optimizer.param_groups:
        group["lr"] = group["base"] * factor


def rate_factor(spec: ScheduleSpec, progress: float, epoch: float) -> float:
    """Multiplier of every group's rate at a share of the budget and an epoch (both fractional)."""
    if spec.warmup and progress < spec.warmup:
        return max(progress / spec.warmup, 1e-3)  # the first step must not be lost
    if spec.name == "step":
        return spec.factor ** math.floor(epoch / spec.every_epochs) if spec.every_epochs else 1.0
    share = (progress - spec.warmup) / max(1 - spec.warmup, 1e-9)
    if spec.name == "cosine":
        return spec.floor + (1 - spec.floor) * (1 + math.cos(math.pi * share)) / 2
    if spec.name == "linear":
        return spec.floor + (1 - spec.floor) * (1 - share)
    return 1.0


def clip_gradients(parameters: list[nn.Parameter], spec: ClipSpec) -> None:
    """In place: by value (R2Gen) or by global norm."""
    if spec.kind == "value":
        nn.utils.clip_grad_value_(parameters, spec.amount)
    elif spec.kind == "norm":
        nn.utils.clip_grad_norm_(parameters, spec.amount)
