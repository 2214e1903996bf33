"""`bench perf pipeline`: the share of a training step in which the model waits for its batch.

Real steps of the training loop on the dataset's own images, with batches prepared when they are
asked for, and by a thread while the step before runs (pinned and copied without waiting on a GPU).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench.data.batches import Ahead
from bench.engine.train import Training
from bench.model import Batch
from bench.runs.training import initial_model, open_training
from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.store import RunFolder
from bench.suites.composer import Composer
from bench.suites.suite import Row
from bench.terminal import table

HOW = {False: "when the step asks", True: "a step ahead, by a thread"}
WARM = 3  # steps that are not counted: caches, kernels, the count of FLOPs


@dataclass
class Watched:
    """Batches, and the seconds that their receiver waited."""

    ahead: Ahead
    waited: float = 0.0

    def batch(self, step: int, progress: float) -> Batch:
        start = time.perf_counter()
        found = self.ahead.batch(step, progress)
        self.waited += time.perf_counter() - start
        return found


def measured(overrides: Sequence[str], steps: int) -> str:
    """Milliseconds of a step and of its wait, both ways taking turns."""
    chosen = [o.partition("=")[2] for o in overrides if o.startswith("model=")]
    name, work = (chosen or ["base"])[-1], Workspace()
    others = [o for o in overrides if not o.startswith("model=")]
    spec = Composer(work, None, others).row(Row(name, name))
    with TemporaryDirectory() as place:
        trainings = {overlap: _opened(spec, work, Path(place), overlap) for overlap in HOW}
        found = {overlap: [0.0, 0.0] for overlap in HOW}
        for turn in range(WARM + steps):
            for overlap, training in trainings.items():
                seconds, waited = _step(training)
                if turn >= WARM:
                    found[overlap][0] += seconds
                    found[overlap][1] += waited
    rows = [
        [HOW[o], f"{s / steps * 1e3:.1f}", f"{w / steps * 1e3:.2f}", f"{w / s:.1%}"]
        for o, (s, w) in found.items()
    ]
    title = (
        f"{name}, {work.device}, {torch.get_num_threads()} threads: batches of {spec.train.batch}, "
        f"mean of {steps} steps"
    )
    return table(title, ["batches are prepared", "ms a step", "ms waiting", "share"], rows)


def _opened(spec: RunSpec, work: Workspace, place: Path, overlap: bool) -> Training:
    folder = RunFolder(place, str(overlap))
    training = open_training(spec, initial_model(spec, work), work, folder)
    given = training.batches
    ahead = Ahead(given.split, given.size, given.seed, given.device, overlap)
    training.batches = Watched(ahead)  # type: ignore[assignment]
    training._enter_stage()
    return training


def _step(training: Training) -> tuple[float, float]:
    """Seconds of a step with its losses read, and of its wait."""
    watched: Watched = training.batches  # type: ignore[assignment]
    before, start = watched.waited, time.perf_counter()
    training._one_step()
    training._read()
    return time.perf_counter() - start, watched.waited - before
