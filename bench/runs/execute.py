"""One run: train, predict, represent, score, seal. A stage whose output is known is skipped."""

from __future__ import annotations

from bench.canonical import to_dict
from bench.provenance import environment
from bench.runs.controls import label_groups
from bench.runs.floors import write_floor
from bench.runs.prediction import train_and_predict
from bench.runs.representations import lacking, represent
from bench.runs.together import processes
from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.store import ENVIRONMENT, TRAINING, RunFolder, read_json, write_json


def execute(spec: RunSpec, work: Workspace, folder: RunFolder) -> None:
    """Train and predict (or write a floor); the caller holds the folder's lock.

    Ends with predictions.csv of the test split and status "predicted" (a pretraining:
    "pretrained", a trial: "tried", which write none); scoring comes after, elsewhere if need be.
    """
    folder.sweep()
    write_json(folder / "spec.json", to_dict(spec))
    if spec.kind == "floor":
        write_floor(spec, work, folder)
    else:
        train_and_predict(spec, work, folder, label_groups)
    if lacking(spec, folder):
        represent(spec, work, folder)
    before = read_json(folder / ENVIRONMENT) if (folder / ENVIRONMENT).exists() else {}
    if set(before) <= {TRAINING}:  # a run that lacked a figure of its weights was made before
        write_json(folder / ENVIRONMENT, environment(work.device, processes()) | before)
    _remove_checkpoints(folder)  # before the seal, which would list them
    folder.seal(status={"pretrain": "pretrained", "trial": "tried"}.get(spec.kind, "predicted"))


def _remove_checkpoints(folder: RunFolder) -> None:
    """Drop what only an unfinished training needs; the selected weights stay."""
    checkpoints = folder / "checkpoints"
    for path in checkpoints.glob("*.safetensors"):
        path.unlink()
    if checkpoints.exists():
        checkpoints.rmdir()
