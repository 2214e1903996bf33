"""Datasets by the names of their YAML files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from bench.config import load_yaml
from bench.data import load
from bench.data.study import Dataset
from bench.errors import BenchError, unknown

EMBEDDED = "synthetic"
PART = "dataset."
# Keys of a dataset's YAML that are not parameters of its reader.
NOT_PARAMETERS = ("name", "_target_", "image_views", "labels", "folds")


def parameters(entry: dict[str, Any]) -> dict[str, Any]:
    """The reader's own parameters in a dataset's YAML."""
    return {k: v for k, v in entry.items() if k not in NOT_PARAMETERS}


def open_dataset(name: str, **changes: Any) -> Dataset:
    """The dataset of conf/dataset/<name>.yaml, with some of its parameters changed."""
    entry = load_yaml("dataset", name)
    return load(entry["_target_"], **{**parameters(entry), **changes})


def chosen_dataset(settings: dict[str, str], others: Sequence[str] = ()) -> Dataset:
    """The dataset of settings like {"dataset": "iu_xray", "dataset.root": "/data/iu"}.

    `others`: further settings that the caller reads itself; any other name is refused.
    """
    name = settings.get("dataset", EMBEDDED)
    known = [f"{PART}{key}" for key in parameters(load_yaml("dataset", name))]
    for key in settings:
        if key not in ("dataset", *known, *others):
            raise unknown("setting", key, ["dataset", *others, *known])
    given = {k.removeprefix(PART): v for k, v in settings.items() if k.startswith(PART)}
    return open_dataset(name, **{k: yaml.safe_load(v) for k, v in given.items()})


def split_overrides(overrides: Sequence[str]) -> dict[str, str]:
    """["dataset=iu_xray", ...] as a dict; anything without `=` is an error."""
    pairs = {}
    for text in overrides:
        key, sign, value = text.partition("=")
        if not sign:
            raise BenchError(f"{text!r} is no setting", "write key=value")
        pairs[key] = value
    return pairs
