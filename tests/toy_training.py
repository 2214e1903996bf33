"""Trainings of the toy model in folders of a test's own."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from toy import Toy, load

from bench.data.batches import Pixels, Split
from bench.data.study import Dataset
from bench.data.text import treatment, vocabulary
from bench.engine.train import Training
from bench.engine.validation import Validation
from bench.model import image_spec
from bench.spec import (
    BudgetSpec,
    ClipSpec,
    DataSpec,
    DecodeSpec,
    OptimizerSpec,
    PartSpec,
    RunSpec,
    SelectionSpec,
    StageSpec,
    TrainSpec,
)
from bench.store import RunFolder

Prepare = Callable[..., Training]


RESULTS = ("weights.safetensors", "curve.csv", "losses.csv", "train.json")
TWO_STAGES = (
    StageSpec("coarse", 0.5, {"ce": 1.0}, {"extra": False}),
    StageSpec("fine", 0.5, {"ce": 1.0, "extra": 0.5}, {"extra": True}),
)
BACK = (TWO_STAGES[0], replace(TWO_STAGES[1], start="best"))
SPEC = RunSpec(
    kind="train",
    data=DataSpec("made", "toy.load", "made"),
    model=PartSpec("toy.Toy"),
    code="",
    train=TrainSpec(
        batch=4,
        optimizer=OptimizerSpec(rates={"rest": 0.02}, weight_decay=0.01),
        clip=ClipSpec("norm", 1.0),
    ),
    budget=BudgetSpec("steps", 12),
    selection=SelectionSpec(evaluations=4),
    decode=DecodeSpec(max_length=12),
)
DATASET = load()


def preparing(tmp_path: Path) -> Iterator[Prepare]:
    """prepare(name, spec): a training in its own folder; the same name is the same folder."""

    def make(
        name: str,
        spec: RunSpec = SPEC,
        initial: int = 0,
        say: Callable[[str], None] = lambda line: None,
        dataset: Dataset = DATASET,
        model: type[Toy] = Toy,
        **options: Any,
    ) -> Training:
        torch.manual_seed(initial)
        words = vocabulary(dataset)
        built = model(len(words) + 1, **{"dropout": 0.3, **options})
        splits = {}
        for part in ("train", "val"):
            studies = dataset.split(part)
            views = Pixels.open(
                dataset, studies, image_spec(built), part == "train", tmp_path / "cache"
            )
            splits[part] = Split(dataset, studies, words, dataset.max_length, views)
        rule, folder = treatment("r2gen@1", dataset), RunFolder(tmp_path, name)
        validation = Validation(spec, splits["val"], words, rule, "cpu")
        training = Training(spec, built, splits["train"], validation, folder, "cpu", say)
        # Specs that differ draw other noise; here they are to differ in nothing else.
        training.batches.seed, training.noise_seed = 10 + spec.seed, 20 + spec.seed
        return training

    torch.use_deterministic_algorithms(True)
    yield make
    torch.use_deterministic_algorithms(False)


def results(training: Training) -> dict[str, bytes]:
    return {name: (training.folder / name).read_bytes() for name in RESULTS}


def curve(training: Training) -> list[dict[str, str]]:
    with (training.folder / "curve.csv").open() as file:
        return list(csv.DictReader(file))


def facts(training: Training) -> dict[str, Any]:
    return json.loads((training.folder / "train.json").read_text())


def weights(training: Training) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in training.model.state_dict().items()}


def whole(training: Training) -> dict[str, Tensor]:
    """Weights, and the optimiser's moments and counts."""
    state = training.optimizer.state_dict()["state"]
    moments = {f"{i}/{k}": v.clone() for i, each in state.items() for k, v in each.items()}
    return {**weights(training), **moments}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[k], b[k]) for k in a)


class Snapshots:
    """Weights and optimiser before and after each step, by the steps done then, and scripted
    validation scores."""

    def __init__(self, training: Training, scores: list[float] | None = None) -> None:
        self.before: dict[int, dict[str, Tensor]] = {}
        self.after: dict[int, dict[str, Tensor]] = {}
        self._training, self._step = training, training._one_step
        training._one_step = self._watched  # type: ignore[method-assign]
        if scores is not None:
            script = iter(scores)
            training.validation.score = lambda model: next(script)  # type: ignore[method-assign]

    def _watched(self) -> None:
        self.before[self._training.meter.steps] = whole(self._training)
        self._step()
        self.after[self._training.meter.steps] = whole(self._training)


class DeathError(Exception):
    """Stands for a process that ends."""
