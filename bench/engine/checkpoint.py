"""Checkpoints of a training: tensors in safetensors, everything else as JSON beside them.

Never a pickle: a checkpoint can be opened without running anyone's code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from bench.errors import DataError
from bench.store import write_atomic


def save_weights(path: Path, model: nn.Module, **facts: Any) -> None:
    """The model's state dict as safetensors; `facts` go to the header as JSON."""
    write_atomic(path, _pack(model.state_dict(), facts))


def load_weights(path: Path, model: nn.Module) -> dict[str, Any]:
    """Load strictly into `model`; returns the facts of the header."""
    tensors, facts = _unpack(path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError(
            f"{path} does not fit {type(model).__name__}: {error}", "train the run again"
        ) from error
    return facts


def save_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, facts: dict[str, Any]
) -> None:
    """Model, optimiser and `facts` (meter, curve, best): all that a resumed training needs."""
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors.update({f"optimizer/{index}/{key}": value for key, value in state.items()})
    write_atomic(path, _pack(tensors, facts))


def load_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restore what `save_state` wrote, bit for bit."""
    tensors, facts = _unpack(path)
    weights = {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
    model.load_state_dict(weights)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/")
            state.setdefault(int(index), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return facts


def _pack(tensors: dict[str, Tensor], facts: dict[str, Any]) -> bytes:
    # Keys keep their order: it is that of the columns of curve.csv.
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    return save(plain, metadata={"facts": json.dumps(facts)})


def _unpack(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
            return {key: file.get_tensor(key) for key in file.keys()}, facts  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}", "remove it and run again") from error
