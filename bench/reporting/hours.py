"""Hours of processor cores and of GPUs that runs have taken: wall clock, with validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.runs.training import DONE
from bench.store import RunFolder, load_spec, made_in, read_json

CPU = "cpu"


def hours(runs: Iterable[str], out: Path) -> Counter[str]:
    """Device -> hours of it (a CPU: of one core); a training that several runs share counts once.

    Runs that are not in the folder have none, nor have floors.
    """
    found: Counter[str] = Counter()
    trainings = set()
    for run_id in dict.fromkeys(runs):
        folder = RunFolder(out, run_id)
        if not (folder / DONE).exists():
            continue
        spec = load_spec(folder)
        if spec.training.run_id in trainings:
            continue
        trainings.add(spec.training.run_id)
        made, timing = made_in(folder), read_json(folder / "timing.json")
        seconds = timing["device_seconds"] + timing.get("evaluation", 0.0)
        threads = made.get("threads") or spec.train.threads or made["cores"]
        found[made["device"]] += seconds * (threads if made["device"] == CPU else 1) / 3600
    return found


def told(found: Mapping[str, float]) -> str:
    """`1.2 core-hours and 0.4 hours of an NVIDIA H200`; "" of none."""
    named = (
        f"{amount:,.2f} " + ("core-hours" if device == CPU else f"hours of an {device}")
        for device, amount in sorted(found.items(), key=lambda x: x[0] != CPU)
    )
    return " and ".join(named)
