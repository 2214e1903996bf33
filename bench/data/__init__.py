"""Datasets: readers, manifests, text treatments, image caches. Imports no torch.

A reader is a function `(root: Path, **params) -> Dataset`; a dataset's YAML names it as `_target_`.
"""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.targets import follow

if TYPE_CHECKING:
    from bench.data.study import Dataset


def data_root() -> Path:
    """The folder that holds `iu_xray/`, `mimic_cxr/`: $BENCH_DATA, or `data` here."""
    return Path(os.environ.get("BENCH_DATA") or "data")


def load(target: str, root: Path | None = None, **params: Any) -> Dataset:
    """Call the reader `target` (such as "bench.data.iu_xray.load") on `root` or `data_root()`.

    `sample`, which every dataset takes, keeps that many studies of each split, drawn by hash.
    """
    count = params.pop("sample", 0)
    hint = "`_target_` must be the path of a function (root, **params) -> Dataset"
    reader = follow(target, "dataset reader", ("dataset",), hint)
    signature = inspect.signature(reader)
    try:
        call = signature.bind(root or data_root(), **params)
    except TypeError as error:
        takes = ", ".join(list(signature.parameters)[1:]) or "no parameters"
        raise BenchError(f"{target}: {error}", f"it takes {takes}") from error
    dataset = reader(*call.args, **call.kwargs)
    if not count:
        return dataset
    from bench.data.manifest import sample

    return sample(dataset, count)
