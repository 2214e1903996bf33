"""Hours of processor cores and of GPUs that runs have taken: by the clock, validation with them and
test reports without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.runs.training import DONE
from bench.store import RUN, RunFolder, load_spec, made_in, read_json

CPU = "cpu"


@dataclass(frozen=True)
class Hours:
    """Of cores and of GPUs by name, and how many of the runs are not here, so are not counted."""

    cores: float = 0.0
    gpus: Mapping[str, float] = field(default_factory=dict)
    absent: int = 0

    def __str__(self) -> str:
        """`1.25 core-hours, 0.50 hours of NVIDIA H200`."""
        parts = [f"{self.cores:,.2f} core-hours"] if self.cores or not self.gpus else []
        parts += [f"{amount:,.2f} hours of {name}" for name, amount in self.gpus.items()]
        return ", ".join(parts)


def hours(runs: Iterable[str], out: Path) -> Hours:
    """What trainings took; one that several of the runs were written by counts once."""
    cores, gpus, counted = 0.0, Counter[str](), set()
    absent = 0
    for run_id in dict.fromkeys(runs):
        folder = RunFolder(out, run_id)
        if not (folder / DONE).exists():
            absent += 1
            continue
        made, timing = made_in(folder), read_json(folder / "timing.json")
        if (training := made.get(RUN, run_id)) in counted:
            continue
        counted.add(training)
        amount = (timing["device_seconds"] + timing.get("evaluation", 0.0)) / 3600
        if made["device"] == CPU:
            threads = made.get("threads") or load_spec(folder).train.threads or made["cores"]
            cores += amount * threads
        else:
            gpus[made["device"]] += amount
    return Hours(cores, dict(sorted(gpus.items())), absent)
