"""Reading a pickled weight file without running what it may hold."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.errors import DataError


def read(path: Path, hint: str, key: str = "") -> dict[str, Tensor]:
    """The state dict of a file, or the one under `key`; DataError for anything that is not one.

    Only tensors and plain containers are unpickled: a file that holds code is refused unrun.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} holds more than tensors, or is damaged: {reason}", hint) from None
    except Exception as error:  # foreign bytes make an unpickler fail in almost any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} is truncated or not a checkpoint: {reason}", hint) from None
    state = content.get(key) if key and isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        problem = f"has no {key!r} of tensors" if key else "is not a state dict"
        raise DataError(f"{path} {problem}", hint)
    return dict(state)
