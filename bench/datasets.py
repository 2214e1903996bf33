"""Datasets by the names of their YAML files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.data import load
from bench.data.study import Dataset
from bench.errors import BenchError
from bench.suite import load_yaml

# Keys of a dataset's YAML that are not parameters of its reader.
NOT_PARAMETERS = ("name", "_target_", "image_views", "labels")


def parameters(entry: dict[str, Any]) -> dict[str, Any]:
    """The reader's own parameters in a dataset's YAML."""
    return {k: v for k, v in entry.items() if k not in NOT_PARAMETERS}


def open_dataset(name: str, **changes: Any) -> Dataset:
    """The dataset of conf/dataset/<name>.yaml, with some of its parameters changed."""
    entry = load_yaml("dataset", name)
    return load(entry["_target_"], **{**parameters(entry), **changes})


def split_overrides(overrides: Sequence[str]) -> dict[str, str]:
    """["dataset=iu_xray", ...] as a dict; anything without `=` is an error."""
    pairs = {}
    for text in overrides:
        key, sign, value = text.partition("=")
        if not sign:
            raise BenchError(f"{text!r} is no setting", "write key=value")
        pairs[key] = value
    return pairs
