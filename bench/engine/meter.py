"""The meter: what a training has spent, in every unit, and whether its budget is gone.

Only training steps count. Tokenising images, pretraining and evaluation are metered beside it
and shown separately.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from bench.spec import BudgetSpec


@dataclass
class Meter:
    budget: BudgetSpec
    batch: int
    steps: int = 0
    examples: int = 0
    flops: float = 0.0
    device_seconds: float = 0.0  # summed over the processes of the training
    flops_per_step: float = 0.0  # of the last step
    other_seconds: dict[str, float] = field(default_factory=dict)  # evaluation, tokenising, ...

    def add_step(self) -> None:
        """All but its seconds, which are known when the device has done it."""
        self.steps += 1
        self.examples += self.batch
        self.flops += self.flops_per_step

    @property
    def spent(self) -> float:
        """In the budget's unit."""
        return float(getattr(self, self.budget.unit))

    @property
    def progress(self) -> float:
        """Share of the budget spent, 0 to 1."""
        return min(1.0, self.spent / self.budget.amount) if self.budget.amount else 1.0

    @property
    def exhausted(self) -> bool:
        """No further whole step fits; device-seconds end after the step that spends them."""
        if self.budget.unit == "device_seconds":
            return self.spent >= self.budget.amount
        step = {"steps": 1.0, "examples": float(self.batch), "flops": self.flops_per_step}
        return self.spent + step[self.budget.unit] > self.budget.amount * (1 + 1e-9)

    @contextmanager
    def beside(self, name: str) -> Iterator[None]:
        """Time something that the budget does not pay for."""
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = self.other_seconds.get(name, 0.0) + time.perf_counter() - start
            self.other_seconds[name] = seconds

    def state(self) -> dict[str, object]:
        """Plain data for a checkpoint."""
        return {k: v for k, v in asdict(self).items() if k != "budget"}

    def restore(self, state: dict[str, object]) -> None:
        for key, value in state.items():
            setattr(self, key, value)


def peak_memory_mb(device: str) -> float:
    """Peak memory of the process (CPU: resident set) or of the device (CUDA), in MB."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
