"""What is resampled, and the random draws: the same for every system that is scored on it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from bench.errors import BenchError, some

RESAMPLES = 10_000
# Weights are made and multiplied this many at a time. Smaller blocks stay in the cache, but a
# threaded BLAS on a busy machine then spends its time waiting for its threads, ten times over.
BLOCK = 2**20
# Weights of a plan that are worth keeping in memory, in bytes: 10,000 resamples of 6,700 studies.
KEPT = 2**26


@dataclass(frozen=True)
class Plan:
    """What is drawn: studies, or patients where one has several studies.

    The draws follow from `ids`, `patients` and `resamples` alone. They use the bit generator's
    raw output, which numpy keeps stable across versions (NEP 19), not `Generator`'s methods.
    """

    ids: tuple[str, ...]
    patients: tuple[str, ...] = ()
    resamples: int = RESAMPLES

    def __post_init__(self) -> None:
        if self.patients and len(self.patients) != len(self.ids):
            raise BenchError(f"{len(self.patients)} patients for {len(self.ids)} studies")
        twice = [i for i, times in Counter(self.ids).items() if times > 1]
        if twice:
            raise BenchError(f"study ids that occur twice: {some(twice)}")
        if self.units < 2:
            raise BenchError(
                f"{self.units} {self.unit} cannot be resampled", "score at least two of them"
            )

    @cached_property
    def unit(self) -> str:
        """What is resampled: "studies" or "patients"."""
        return "patients" if len(set(self.patients)) < len(self.patients) else "studies"

    @cached_property
    def _index(self) -> np.ndarray:
        """(n,) which unit each study belongs to, units numbered in order of appearance."""
        if self.unit == "studies":
            return np.arange(len(self.ids))
        number = {p: i for i, p in enumerate(dict.fromkeys(self.patients))}
        return np.array([number[p] for p in self.patients])

    @cached_property
    def units(self) -> int:
        return len(set(self.patients)) if self.unit == "patients" else len(self.ids)

    def per_unit(self, runs: np.ndarray) -> np.ndarray:
        """(S, n, k) -> (units, S, k + 1): sums within each unit; the last column counts reports."""
        S, n, _ = runs.shape
        rows = np.concatenate([runs, np.ones((S, n, 1))], axis=2).transpose(1, 0, 2)
        if self.unit == "studies":
            return rows
        sums = np.zeros((self.units, *rows.shape[1:]))
        np.add.at(sums, self._index, rows)
        return sums

    def bootstrap(self, columns: np.ndarray) -> np.ndarray:
        """(units, k) -> (resamples, k): sums over `units` units drawn with replacement."""
        return self._products("bootstrap", columns)

    def counts(self) -> np.ndarray:
        """(resamples, n): how often each bootstrap resample draws each study."""
        return self.bootstrap(np.eye(self.units))[:, self._index]

    def swap(self, columns: np.ndarray) -> np.ndarray:
        """(units, k) -> (resamples, k): sums over a random half of the units (fair coins)."""
        return self._products("swap", columns)

    def _products(self, name: str, columns: np.ndarray) -> np.ndarray:
        small = self.resamples * self.units <= KEPT
        blocks = _kept(self, name) if small else self._draws(name)
        return np.concatenate([block.astype(float) @ columns for block in blocks])

    def _draws(self, name: str) -> Iterator[np.ndarray]:
        """Blocks of uint8 weights (rows, units), `resamples` rows in all."""
        content = "\n".join([name, *self.ids, *self.patients])
        bits = np.random.PCG64(int(hashlib.sha256(content.encode()).hexdigest(), 16))
        weights = {"bootstrap": _counts, "swap": _coins}[name]
        # Multiples of 64 rows use up every random word: the draws do not depend on BLOCK.
        step = max(64, BLOCK // self.units // 64 * 64)
        for start in range(0, self.resamples, step):
            yield weights(bits, min(step, self.resamples - start), self.units)


@lru_cache(maxsize=4)
def _kept(plan: Plan, name: str) -> tuple[np.ndarray, ...]:
    """The plan's draws: a table asks for the same ones for each of its rows and columns."""
    return tuple(plan._draws(name))


def _counts(bits: np.random.PCG64, rows: int, units: int) -> np.ndarray:
    """How often each unit is drawn; every row sums to `units`."""
    cells = rows * units
    raw = bits.random_raw((cells + 1) // 2).astype("<u8", copy=False).view("<u4")[:cells]
    # 32 random bits times units, shifted: uniform up to units / 2**32.
    drawn = np.multiply(raw, units, dtype=np.int64) >> 32
    drawn = drawn.reshape(rows, units) + np.arange(rows)[:, None] * units
    return np.bincount(drawn.ravel(), minlength=cells).reshape(rows, units).astype(np.uint8)


def _coins(bits: np.random.PCG64, rows: int, units: int) -> np.ndarray:
    """Zeros and ones with equal chance."""
    cells = rows * units
    raw = bits.random_raw((cells + 63) // 64).astype("<u8", copy=False).view("u1")
    return np.unpackbits(raw, count=cells).reshape(rows, units)
