"""Datasets by the names of their YAML files."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from bench.config import load_yaml, names
from bench.data.registry import parameters
from bench.targets import resolve


@pytest.mark.parametrize("name", names("dataset"))
def test_a_datasets_own_check_takes_what_its_reader_takes(name: str) -> None:
    entry = load_yaml("dataset", name)
    if target := entry.get("check"):
        inspect.signature(resolve(target)).bind(Path("root"), **parameters(entry))
