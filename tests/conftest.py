"""What all tests share: nothing is fetched, and small tensors are not spread over threads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before anything imports torch or transformers.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Code of the tests' own that specs may name.
os.environ["BENCH_PACKAGES"] = "toy,toys,reading,test_by_fold,test_execute"

from bench import config


@pytest.fixture(scope="module")
def real() -> Path:
    """The folder that holds the real IU X-ray data."""
    root = os.environ.get("BENCH_DATA")
    if not root or not (Path(root) / "iu_xray").is_dir():
        pytest.skip("$BENCH_DATA/iu_xray is not here")
    return Path(root)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What a training of one test asks of torch is not there for the next one, nor are the import
    paths that its overrides gave leave to follow."""
    given = set(config.GIVEN)
    yield
    config.GIVEN.intersection_update(given)
    if "torch" in sys.modules:
        import torch

        torch.use_deterministic_algorithms(False)
        torch.set_default_dtype(torch.float32)
        # Two threads add up in another order than one.
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
