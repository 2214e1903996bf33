"""`dataset.fold=all`: a suite over the folds of a dataset."""

from __future__ import annotations

from collections.abc import Sequence

from bench.config import load_yaml
from bench.data.registry import EMBEDDED
from bench.errors import BenchError

DATASET, FOLD, ALL = "dataset", "dataset.fold", "all"


def by_fold(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of each fold that is asked for: `all`, or several by commas (0,1,2).

    One list, the overrides as they are, where none or a single one is named.
    """
    given = [o.partition("=")[2] for o in overrides if o.partition("=")[0] == FOLD]
    if not given or given[-1].isdigit():
        return [list(overrides)]
    rest = [o for o in overrides if o.partition("=")[0] != FOLD]
    return [[*rest, f"{FOLD}={fold}"] for fold in _asked(given[-1], folds_of(rest))]


def folds_of(overrides: Sequence[str]) -> int:
    """How many folds the dataset of these overrides has; BenchError where it has none."""
    chosen = [o.partition("=")[2] for o in overrides if o.partition("=")[0] == DATASET]
    name = chosen[-1] if chosen else EMBEDDED
    count = load_yaml("dataset", name).get("folds", 0)
    if not count:
        raise BenchError(f"{name} has no folds", "see `bench list datasets`")
    return int(count)


def _asked(text: str, count: int) -> list[int]:
    folds = [str(f) for f in range(count)]
    asked = folds if text == ALL else text.split(",")
    for fold in asked:
        if fold not in folds or asked.count(fold) > 1:
            raise BenchError(
                f"{FOLD}={text}", f"give one of {', '.join(folds)}, several by commas, or {ALL}"
            )
    return [int(fold) for fold in asked]
