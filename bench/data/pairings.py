"""Whose images a report is held against beside its own: the same studies for every model."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence

import numpy as np

from bench.data.study import Study

OTHERS = 24  # other studies a report; a bound on information is then at most log(25) = 3.22 nats
SEED = 0
ABSENT = -1


def others(studies: Sequence[Study], groups: Sequence[Hashable] | None = None) -> np.ndarray:
    """(n, OTHERS) int64: the rows of other patients' studies, `ABSENT` where there are fewer.

    Drawn without replacement by a hash of the two ids: order and size of the split do not enter
    which of two studies comes first. Never one of the same patient, whose films are no independent
    draw. `groups`: a study's others are of its own group ("same labels").
    """
    n = len(studies)
    codes = np.array([_code(study.id) for study in studies], dtype=np.uint64)
    patients = _numbered([study.patient for study in studies])
    group = _numbered(groups) if groups is not None else np.zeros(n, dtype=np.int64)
    drawn = np.full((n, OTHERS), ABSENT, dtype=np.int64)
    for i in range(n):
        candidates = np.flatnonzero((patients != patients[i]) & (group == group[i]))
        order = np.argsort(_mixed(codes[i], codes[candidates]), kind="stable")[:OTHERS]
        drawn[i, : len(order)] = candidates[order]
    return drawn


def _numbered(names: Sequence[Hashable]) -> np.ndarray:
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return np.array([number[name] for name in names], dtype=np.int64)


def _code(study: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{SEED}|{study}".encode()).digest()[:8], "big")


def _mixed(one: np.uint64, many: np.ndarray) -> np.ndarray:
    """A 64-bit hash of each pair (SplitMix64's finaliser): n draws cost no n calls of sha256."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is meant
        z = many ^ (one * np.uint64(0x9E3779B97F4A7C15))
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))
