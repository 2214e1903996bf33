"""Datasets by the names of their YAML files."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.config import load_yaml
from bench.data import data_root, load
from bench.data.check import Report, check
from bench.data.study import Dataset
from bench.errors import BenchError, unknown
from bench.targets import resolve

EMBEDDED = "synthetic"
PART = "dataset."
SAMPLE = "sample"  # studies to keep of each split, which `bench.data.load` takes for every reader
# Keys of a dataset's YAML that are not parameters of its reader.
NOT_PARAMETERS = ("name", "_target_", "image_views", "labels", "check", "prepare", "folds")


def parameters(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The reader's parameters in a dataset's YAML; a sample only where one is asked for."""
    given = {k: v for k, v in entry.items() if k not in NOT_PARAMETERS}
    return given if given.get(SAMPLE) else {k: v for k, v in given.items() if k != SAMPLE}


def open_dataset(name: str, **changes: Any) -> Dataset:
    """The dataset of conf/dataset/<name>.yaml, with some of its parameters changed."""
    entry = load_yaml("dataset", name)
    return load(entry["_target_"], **{**parameters(entry), **changes})


def chosen_dataset(settings: dict[str, str], others: Sequence[str] = ()) -> Dataset:
    """The dataset of settings like {"dataset": "iu_xray", "dataset.root": "/data/iu"}.

    `others`: further settings that the caller reads itself; any other name is refused.
    """
    name = settings.get("dataset", EMBEDDED)
    return open_dataset(name, **_changes(name, settings, ("dataset", *others)))


def _changes(name: str, settings: Mapping[str, str], others: Sequence[str] = ()) -> dict[str, Any]:
    """The reader's parameters among settings like {"dataset.views": "all"}."""
    known = [f"{PART}{key}" for key in (*parameters(load_yaml("dataset", name)), SAMPLE)]
    for key in settings:
        if key not in (*known, *others):
            raise unknown("setting", key, [*others, *known])
    given = {k.removeprefix(PART): v for k, v in settings.items() if k.startswith(PART)}
    return {k: yaml.safe_load(v) for k, v in given.items()}


def check_dataset(name: str, settings: Mapping[str, str] | None = None) -> Report:
    """The dataset's own check, a function that takes what its reader takes; else what fits all.

    A sample is checked as any dataset is: its files are those of the whole.
    """
    entry, changes = load_yaml("dataset", name), _changes(name, settings or {})
    if (target := entry.get("check")) and not changes.get(SAMPLE):
        found: Report = resolve(target)(data_root(), **parameters({**entry, **changes}))
        return found
    return check(open_dataset(name, **changes))


def prepare_dataset(
    name: str, out: Path, copy: bool, settings: Mapping[str, str] | None = None
) -> Path:
    """What the dataset's own preparation wrote: a function `(root, out, copy) -> Path`.

    One that writes beside the release takes the root, and what its reader takes.
    """
    entry, changes = load_yaml("dataset", name), _changes(name, settings or {})
    target = entry.get("prepare")
    if not target:
        raise BenchError(
            f"{name} needs no preparation", f"`bench data check {name}` says whether it is whole"
        )
    function = resolve(target)
    options = {"out": out, "copy": copy, **changes}
    taken = _taken(function, {**parameters(entry), **options})
    if ignored := sorted(set(changes) - set(taken)):
        raise BenchError(
            f"the preparation of {name} has no {', '.join(f'{PART}{k}' for k in ignored)}",
            f"bench data prepare {name}",
        )
    written: Path = function(data_root(), **taken)
    return written


def _taken(function: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that a function takes; all but the command's own by `**`."""
    known = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return {k: v for k, v in options.items() if k in known or k not in ("out", "copy", SAMPLE)}
    return {k: v for k, v in options.items() if k in known}


def split_overrides(overrides: Sequence[str]) -> dict[str, str]:
    """["dataset=iu_xray", ...] as a dict; anything without `=` is an error."""
    pairs = {}
    for text in overrides:
        key, sign, value = text.partition("=")
        if not sign:
            raise BenchError(f"{text!r} is not a setting", "write key=value")
        pairs[key] = value
    return pairs
