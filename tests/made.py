"""Sealed and scored runs of a suite of toys, without training: for reports, boards and claims."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from toy import load

from bench.canonical import to_dict
from bench.metrics import ptb
from bench.metrics.predictions import PREDICTIONS
from bench.runs.reports import write_predictions
from bench.runs.score import assess
from bench.runs.workspace import Workspace
from bench.spec import BudgetSpec, DataSpec, PartSpec, RunSpec
from bench.store import RunFolder, write_json
from bench.suites.plan import Plan, Planned
from bench.suites.suite import Row, Suite, Table

PARAMS = {"train": 12, "val": 2, "test": 50}
DATASET = load(**PARAMS)
DATA = DataSpec("made", "toy.load", DATASET.manifest, PARAMS)
# row -> share of test reports that are the reference itself; a row of two seeds
QUALITY = {"constant": (0.2,), "BASE": (0.3,), "good": (0.93, 0.94), "absent": ()}
SUITE = Suite(
    title="A suite of toys",
    rows=tuple(Row(name, "toy") for name in QUALITY if name != "constant"),
    tables={"t": Table("Toys", ("BASE", "good", "absent"))},
    floors=("constant",),
    baseline="BASE",
)
METRICS = ("BLEU", "CIDEr")
ENVIRONMENT = {
    "commit": "c0ffee", "python": "3.11.0", "system": "Linux", "cpu": "A & B", "cores": 2,
    "threads": 1, "device": "cpu", "packages": {"numpy": "2.0.0", "torch": None},
}  # fmt: skip


def reports(share: float, seed: int) -> list[str]:
    """References, or the reference of another study."""
    truth = [study.report for study in DATASET.split("test")]
    rng = np.random.default_rng(seed)
    keep = rng.random(len(truth)) < share
    return [t if k else truth[i - 7] for i, (t, k) in enumerate(zip(truth, keep, strict=True))]


def seal(planned: Planned, share: float, work: Workspace) -> None:
    """The folder of a run that was trained and scored, without training it."""
    spec, studies = planned.spec, DATASET.split("test")
    folder = RunFolder(work.out, spec.run_id)
    shutil.rmtree(folder.path, ignore_errors=True)  # a run made anew
    write_json(folder / "spec.json", to_dict(spec))
    write_predictions(folder / PREDICTIONS, studies, reports(share, spec.seed))
    write_json(folder / "env.json", ENVIRONMENT)
    if planned.origin == "trained":
        facts = {"steps": 3, "examples": 12, "flops": 6e9, "parameters": 99}
        write_json(folder / "train.json", facts)
        write_json(folder / "timing.json", {"device_seconds": 1.0})
    assess(spec, work, folder, METRICS)


def make(place: Path, quality: Mapping[str, Sequence[float]] = QUALITY) -> tuple[Plan, Workspace]:
    """The plan of the suite, its runs sealed below `place`; of `quality`, a training a share."""
    work = Workspace(place / "runs", place / "cache")
    runs = []
    with pytest.MonkeyPatch.context() as patch:
        # Java would be asked for no more than this.
        patch.setattr(ptb, "tokenize", lambda texts: [t.replace(" .", "") for t in texts])
        for name, shares in quality.items():
            kind = "floor" if name == "constant" else "train"
            part, budget = PartSpec("toy.Toy", {"row": name}), BudgetSpec("steps", 3.0)
            for seed, share in enumerate(shares):
                spec = RunSpec(kind, DATA, part, "", budget=budget, seed=seed)
                origin = "floor" if kind == "floor" else "trained"
                runs.append(Planned(name, origin, "toy", spec))
                seal(runs[-1], share, work)
    return Plan("toys", SUITE, "made", tuple(runs)), work
