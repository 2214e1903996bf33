"""Datasets by the names of their YAML files."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
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

LATER = {"section": "findings"}  # parameter -> the value that a run had before there was one


def parameters(entry: dict[str, Any]) -> dict[str, Any]:
    """The reader's parameters in a dataset's YAML; a sample only where one is asked for."""
    given = {k: v for k, v in entry.items() if k not in NOT_PARAMETERS}
    return given if given.get(SAMPLE) else {k: v for k, v in given.items() if k != SAMPLE}


def said(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters without those that came later than runs and say what was so before."""
    return {k: v for k, v in params.items() if LATER.get(k) != v}


def open_dataset(name: str, **changes: Any) -> Dataset:
    """The dataset of conf/dataset/<name>.yaml, with some of its parameters changed."""
    entry = load_yaml("dataset", name)
    return load(entry["_target_"], **{**parameters(entry), **changes})


def chosen_dataset(settings: dict[str, str], others: Sequence[str] = ()) -> Dataset:
    """The dataset of settings like {"dataset": "iu_xray", "dataset.root": "/data/iu"}.

    `others`: further settings that the caller reads itself; any other name is refused.
    """
    name = settings.get("dataset", EMBEDDED)
    known = [f"{PART}{key}" for key in (*parameters(load_yaml("dataset", name)), SAMPLE)]
    for key in settings:
        if key not in ("dataset", *known, *others):
            raise unknown("setting", key, ["dataset", *others, *known])
    given = {k.removeprefix(PART): v for k, v in settings.items() if k.startswith(PART)}
    return open_dataset(name, **{k: yaml.safe_load(v) for k, v in given.items()})


def check_dataset(name: str) -> Report:
    """The dataset's own check, a function that takes what its reader takes; else what fits all."""
    entry = load_yaml("dataset", name)
    if target := entry.get("check"):
        found: Report = resolve(target)(data_root(), **parameters(entry))
        return found
    return check(open_dataset(name))


def prepare_dataset(name: str, out: Path, copy: bool) -> Path:
    """What the dataset's own preparation wrote: a function `(root, out, copy) -> Path`.

    One that writes beside the release takes the root alone.
    """
    target = load_yaml("dataset", name).get("prepare")
    if not target:
        raise BenchError(
            f"{name} needs no preparation", f"`bench data check {name}` says whether it is whole"
        )
    function = resolve(target)
    options = {"out": out, "copy": copy}
    taken = {k: v for k, v in options.items() if k in inspect.signature(function).parameters}
    written: Path = function(data_root(), **taken)
    return written


def split_overrides(overrides: Sequence[str]) -> dict[str, str]:
    """["dataset=iu_xray", ...] as a dict; anything without `=` is an error."""
    pairs = {}
    for text in overrides:
        key, sign, value = text.partition("=")
        if not sign:
            raise BenchError(f"{text!r} is not a setting", "write key=value")
        pairs[key] = value
    return pairs
