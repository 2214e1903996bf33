"""Datasets by the names of their YAML files."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.config import load_yaml, refuse_repeated
from bench.data import data_root, load
from bench.data.check import Report, check
from bench.data.study import Dataset
from bench.errors import BenchError, unknown
from bench.settings import refuse_other_types
from bench.targets import resolve

EMBEDDED = "synthetic"
PART = "dataset."
SAMPLE = "sample"  # studies to keep of each split, which `bench.data.load` takes for every reader
ROOT = "root"  # of a dataset that is read for a file of reports: instead of $BENCH_DATA
# Keys of a dataset's YAML that are not parameters of its reader.
NOT_PARAMETERS = ("name", "_target_", "image_views", "labels", "check", "prepare", "folds")

LATER = {"section": "findings"}  # parameter -> the value that a run had before there was one


def parameters(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The reader's parameters in a dataset's YAML; a sample only where one is asked for."""
    given = {k: v for k, v in entry.items() if k not in NOT_PARAMETERS}
    return given if given.get(SAMPLE) else {k: v for k, v in given.items() if k != SAMPLE}


def said(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters without those that came later than runs and say what was so before."""
    return {k: v for k, v in params.items() if LATER.get(k) != v}


def open_dataset(name: str, root: Path | None = None, **changes: Any) -> Dataset:
    """The dataset of conf/dataset/<name>.yaml, with some of its parameters changed.

    `root`: the folder that holds the dataset's own; $BENCH_DATA where it is not given.
    """
    entry = load_yaml("dataset", name)
    return load(entry["_target_"], root, **{**parameters(entry), **changes})


def chosen_dataset(settings: dict[str, str], others: Sequence[str] = ()) -> Dataset:
    """The dataset of settings like {"dataset": "iu_xray", "dataset.root": "/data/iu"}.

    `others`: further settings that the caller reads itself; any other name is refused.
    """
    name = settings.get("dataset", EMBEDDED)
    root, changes = _changes(name, settings, ("dataset", *others))
    return open_dataset(name, root, **changes)


def _changes(
    name: str, settings: Mapping[str, str], others: Sequence[str] = ()
) -> tuple[Path | None, dict[str, Any]]:
    """The root, None for $BENCH_DATA, and the reader's parameters among settings like
    {"dataset.views": "all"}."""
    known = [f"{PART}{key}" for key in (*parameters(load_yaml("dataset", name)), SAMPLE, ROOT)]
    for key in settings:
        if key not in (*known, *others):
            raise unknown("setting", key, [*others, *known])
    given = {k.removeprefix(PART): v for k, v in settings.items() if k.startswith(PART)}
    root = Path(given.pop(ROOT)).expanduser() if given.get(ROOT) else None
    read = {k: _value(f"{PART}{k}", v) for k, v in given.items()}
    refuse_other_types(read, {**parameters(load_yaml("dataset", name)), SAMPLE: 0}, PART)
    return root, read


def _value(key: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise BenchError(f"{key}={text}: {' '.join(str(error).split())}", "quote it") from None


def check_dataset(name: str, settings: Mapping[str, str] | None = None) -> Report:
    """The dataset's own check, a function that takes what its reader takes; else what fits all.

    Of a sample: files and what was left out of the whole that it is drawn from, and what a check
    finds of any dataset of the sample itself.
    """
    entry, (root, changes) = load_yaml("dataset", name), _changes(name, settings or {})
    target = entry.get("check")
    if not target:
        return check(open_dataset(name, root, **changes))
    whole = {key: value for key, value in changes.items() if key != SAMPLE}
    found: Report = resolve(target)(root or data_root(), **parameters({**entry, **whole}))
    if found.status == "fail" or not changes.get(SAMPLE):
        return found
    own = check(open_dataset(name, root, **changes))
    names = {finding.name for finding in own.findings}
    return Report(own.dataset, (*(f for f in found.findings if f.name not in names), *own.findings))


def prepare_dataset(
    name: str, out: Path, copy: bool, settings: Mapping[str, str] | None = None
) -> Path:
    """What the dataset's own preparation wrote: a function `(root, out, copy) -> Path`.

    One that writes beside the release takes the root, and what its reader takes.
    """
    entry, (root, changes) = load_yaml("dataset", name), _changes(name, settings or {})
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
    written: Path = function(root or data_root(), **taken)
    return written


def _taken(function: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that a function takes; all but the command's own by `**`."""
    known = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return {k: v for k, v in options.items() if k in known or k not in ("out", "copy", SAMPLE)}
    return {k: v for k, v in options.items() if k in known}


def split_overrides(overrides: Sequence[str]) -> dict[str, str]:
    """["dataset=iu_xray", ...] as a dict; anything without `=` is an error."""
    refuse_repeated(overrides)
    pairs = {}
    for text in overrides:
        key, sign, value = text.partition("=")
        if not sign:
            raise BenchError(f"{text!r} is not a setting", "write key=value")
        pairs[key] = value
    return pairs
