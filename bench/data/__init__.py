"""Datasets: readers, manifests, text treatments, image caches. Imports no torch.

A reader is a function `(root: Path, **params) -> Dataset`; a dataset's YAML names it as `_target_`.
"""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from bench.errors import BenchError
from bench.settings import SCALARS, expected, is_a
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
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise BenchError(f"dataset.sample={count}", "give a number of studies, 0 for all")
    hint = "`_target_` must be the path of a function (root, **params) -> Dataset"
    reader = follow(target, "dataset reader", ("dataset",), hint)
    signature = inspect.signature(reader)
    try:
        call = signature.bind(root or data_root(), **params)
    except TypeError as error:
        takes = ", ".join(list(signature.parameters)[1:]) or "no parameters"
        raise BenchError(f"{target}: {error}", f"it takes {takes}") from error
    _refuse_types(target, reader, params)
    dataset = reader(*call.args, **call.kwargs)
    if not count:
        return dataset
    from bench.data.manifest import sample

    return sample(dataset, count)


def _refuse_types(target: str, reader: Any, params: dict[str, Any]) -> None:
    """BenchError for a plain parameter of another type than the reader's signature says."""
    try:
        hints = get_type_hints(reader)
    except (NameError, TypeError):  # names that exist for type checkers alone
        return
    for name, value in params.items():
        kind = hints.get(name)
        if kind in SCALARS and not is_a(value, kind):
            raise expected(f"dataset.{name}", kind, value)
