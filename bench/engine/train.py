"""The only training loop: budget, stages, schedule, selection on validation, exact resume.

Needs no scorer and no Java, so that it can run on a machine that has neither. A step's dropout
noise, order and crops depend on the seed and the step's number alone, so a resumed training equals
one that was never stopped. Several processes train as one does (`bench.engine.parallel`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.data.batches import Ahead, Split
from bench.engine.checkpoint import load_state, load_weights, save_state, save_weights
from bench.engine.flops import FlopCounter
from bench.engine.meter import Meter, peak_memory_mb
from bench.engine.objective import Objective, gradients
from bench.engine.optimiser import build_optimizer, clip_gradients, set_rates
from bench.engine.parallel import ALONE, World, alone, share_statistics
from bench.engine.records import as_csv, finite, means
from bench.engine.stages import can_be_kept, first_return, stage_at, switch, weighted
from bench.engine.validation import WRITTEN, Looks, Position, Validation
from bench.errors import RunError
from bench.model import Batch
from bench.spec import RunSpec
from bench.store import WEIGHTS, RunFolder, write_atomic, write_json

FIRST_STEPS = 100  # whose losses are kept one by one, for `bench verify --rerun`
UNREAD = 50  # steps whose losses stay on a GPU before they are read
NONE_YET: dict[str, Any] = {"score": None, "step": -1, "stage": 0}


@dataclass(frozen=True)
class Trained:
    """What `train` leaves in the folder: weights.safetensors, curve.csv, losses.csv, train.json."""

    step: int
    score: float


class Training:
    """One training in progress. `say` gets one short line of text now and then."""

    def __init__(
        self,
        spec: RunSpec,
        model: nn.Module,
        split: Split,
        validation: Validation,
        folder: RunFolder,
        device: str,
        say: Callable[[str], None] = lambda line: None,
        world: World = ALONE,
    ) -> None:
        self.spec, self.folder, self.device, self.say = spec, folder, device, say
        self.world = world
        self.model = cast(Any, model)
        self.model.to(device)
        if world.several:
            share_statistics(model, world.size)
        self.split, self.validation = split, validation
        self.groups: dict[str, list[nn.Parameter]] = self.model.groups()
        self.parameters = [p for group in self.groups.values() for p in group]
        self.optimizer = build_optimizer(
            self.groups, spec.train.optimizer, getattr(model, "GROUPS", ())
        )
        self.meter = Meter(spec.budget, spec.train.batch)
        self.noise_seed = spec.derived_seed("noise")
        overlap = device == "cuda"
        rows = world.rows(spec.train.batch, spec.train.accumulate)
        order = spec.derived_seed("order")
        self.batches = Ahead(split, spec.train.batch, order, device, overlap, rows)
        self.objective = world.ready(Objective(self.model))
        self.unread: list[dict[str, Tensor]] = []  # terms of steps, on the device
        # Reading waits for the device: seldom, but where the meter must know each step's seconds.
        self.reads_each = device != "cuda" or spec.budget.unit == "device_seconds"
        self.since = 0.0  # when the first step of those began
        self.stage = -1
        self.counted: dict[int, float] = {}  # FLOPs of this stage's steps, by their words
        self.curve: list[dict[str, Any]] = []
        self.losses: list[dict[str, float]] = []
        self.recent: list[dict[str, float]] = []  # terms since the last evaluation
        self.best = NONE_YET
        self.looks = Looks(spec, len(split))
        self.discarded = 0  # steps that a stage's start from the best one threw away

    # --- the loop -------------------------------------------------------------------------------

    def run(self) -> Trained:
        """Train until the budget is spent; leave the selected weights and the record of it."""
        self._resume()
        while not self.meter.exhausted:
            self._enter_stage()
            before = self._position
            self._one_step()
            if self.looks.due(before, self._position):
                self._evaluate_and_save()
        self._read()
        if self.recent or self.best["step"] < 0:  # the budget ended between two points
            self._evaluate_and_save()
        return self._finish()

    def first_losses(self, steps: int) -> list[dict[str, float]]:
        """The rows of losses.csv for the first steps: trained, not evaluated."""
        limit = first_return(self.spec.stages)
        while len(self.losses) < min(steps, FIRST_STEPS) and self.meter.progress < limit:
            self._enter_stage()
            self._one_step()
        return self.losses

    def _enter_stage(self) -> None:
        index = stage_at(self.spec.stages, self.meter.progress)
        if index == self.stage:
            return
        stage = self.spec.stages[index]
        if stage.start == "best" and self.best["step"] >= 0:
            load_state(self._best_path(self.best["step"]), self.model, self.optimizer)
            self.discarded += self.meter.steps - self.best["step"]
        self.best = NONE_YET  # what is sealed has been through every stage
        switch(self.model, stage)
        self.stage = index
        self.counted = {}

    @property
    def _position(self) -> Position:
        return Position(self.meter.progress, self.meter.examples)

    def _one_step(self) -> None:
        """One optimiser step of `batch` examples, metered."""
        step, spec = self.meter.steps, self.spec.train
        if not self.unread:
            self.since = time.perf_counter()
        batch = self._part(self.batches.batch(step, self.meter.progress))
        epoch = self.meter.examples / (spec.schedule.epoch_size or len(self.split))
        set_rates(self.optimizer, spec.schedule, self.meter.progress, epoch)
        self.model.train()
        width = batch.tokens.shape[1]  # the whole batch's, in a part of it, too
        if self.world.several and width not in self.counted:
            self.counted[width] = self._count_whole(step)
        torch.manual_seed(self.world.noise(self.noise_seed + step))
        if width in self.counted:
            terms = self._gradients(batch)
        else:
            with FlopCounter() as counter:
                terms = self._gradients(batch)
            self.counted[width] = float(counter.total)
        self.meter.flops_per_step = self.counted[width]
        clip_gradients(self.parameters, spec.clip)
        self.optimizer.step()
        self.unread.append(terms)
        self.meter.add_step()
        if self.reads_each or step < FIRST_STEPS or len(self.unread) == UNREAD:
            self._read()

    def _part(self, batch: Batch) -> Batch:
        return replace(batch, whole=self.world) if self.world.several else batch

    def _count_whole(self, step: int) -> float:
        """FLOPs of a step as one process takes it: no budget depends on their number."""
        batch = self.batches.whole(step, self.meter.progress)
        with alone(self.model), FlopCounter() as counter:
            self._gradients(batch, Objective(self.model))
        return float(counter.total)

    def _gradients(self, batch: Batch, objective: nn.Module | None = None) -> dict[str, Tensor]:
        """Accumulated gradients of the weighted sum; the terms' means over micro-batches."""
        self.optimizer.zero_grad(set_to_none=True)
        stage, count = self.spec.stages[self.stage], self.spec.train.accumulate
        given = objective or self.objective
        return gradients(given, batch, stage, count, self.world, self._autocast)

    def _read(self) -> None:
        """Losses and seconds of the steps since the last time: waits for the device.

        Device-seconds are summed over processes, and terms are averaged.
        """
        if not self.unread:
            return
        first = self.meter.steps - len(self.unread) + 1
        names = [list(terms) for terms in self.unread]
        values = torch.stack([v.double() for terms in self.unread for v in terms.values()])
        sums = self.world.sums(values)
        seconds = torch.tensor([time.perf_counter() - self.since], dtype=torch.float64)
        self.meter.device_seconds += float(self.world.sums(seconds))
        each = iter((sums / self.world.size).tolist())
        self.unread = []
        for step, row in enumerate(names, start=first):
            self._record(step, {name: next(each) for name in row})

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device, dtype=torch.bfloat16, enabled=self.spec.train.precision == "bf16"
        )

    def _record(self, step: int, values: dict[str, float]) -> None:
        if not all(map(finite, values.values())):
            raise RunError(
                f"the loss is not finite at step {step}: {values}",
                "lower the learning rate, clip gradients, or use precision=fp32",
            )
        self.recent.append(values)
        if step <= FIRST_STEPS:
            self.losses.append({"step": step, **values})

    # --- evaluation and selection ---------------------------------------------------------------

    def _evaluate_and_save(self) -> None:
        self._read()
        with self.meter.beside("evaluation"):
            row = self.world.told(self._evaluate)
        self.curve.append(row)
        self.recent = []
        # Of equals the later one, as R2Gen's trainer has it.
        if "selection" in row and (
            self.best["score"] is None
            or row["selection"] >= self.best["score"]
            or self.spec.selection.metric == "last"
        ):
            self.best = {
                "score": row["selection"],
                "step": self.meter.steps,
                "stage": self.stage,
            }
            if self.world.leads:
                self._save_best()
        if self.world.leads:
            self._save()
        self.world.wait()  # what comes next may read these files
        line = f"step {self.meter.steps} · {self.meter.progress:.0%} · loss {row['loss']:.3f}"
        if "selection" in row:
            line += f" · val {self.spec.selection.metric} {abs(row['selection']):.4f}"
        self.say(line)

    def _evaluate(self) -> dict[str, Any]:
        """A row of the curve; `selection` is what is maximised (a loss enters negated).

        It is left out where this checkpoint cannot be kept: validation reports are not decoded for
        nothing.
        """
        row: dict[str, Any] = {
            "step": self.meter.steps,
            "examples": self.meter.examples,
            "stage": self.spec.stages[self.stage].name,
            **means(self.recent),
        }
        self.model.eval()
        torch.manual_seed(self.noise_seed)
        if can_be_kept(self.spec.stages, self.stage, self.spec.selection, self.meter.progress):
            row["selection"] = self._selection()
        if hasattr(self.model, "diagnose"):
            row.update(self.model.diagnose(self.validation.first_batch()))
        return row

    def _selection(self) -> float:
        """What is maximised over checkpoints."""
        metric = self.spec.selection.metric
        if metric in WRITTEN:
            return self.validation.score(self.model)
        if metric == "loss":
            weigh = partial(weighted, stage=self.spec.stages[self.stage])
            return -self.validation.loss(self.model, weigh)
        return float(self.meter.steps)

    # --- checkpoints ----------------------------------------------------------------------------

    def _best_path(self, step: int) -> Path:
        return self.folder / "checkpoints" / f"best-{step}.safetensors"

    def _save_best(self) -> None:
        """The weights; with the optimiser's state where the next stage comes back to them."""
        path = self._best_path(self.meter.steps)
        if self.stage + 1 < len(self.spec.stages):
            save_state(path, self.model, self.optimizer, {})
        else:
            save_weights(path, self.model)

    def _save(self) -> None:
        """The best weights are on disk already; then the state that names them; then a tidy."""
        facts = {
            "meter": self.meter.state(),
            "curve": self.curve,
            "losses": self.losses,
            "best": self.best,
            "stage": self.stage,
            "discarded": self.discarded,
        }
        last = self.folder / "checkpoints" / "last.safetensors"
        save_state(last, self.model, self.optimizer, facts)
        for path in last.parent.glob("best-*.safetensors"):
            if path != self._best_path(self.best["step"]):
                path.unlink()

    def _resume(self) -> None:
        last = self.folder / "checkpoints" / "last.safetensors"
        if not self.world.told(last.exists):
            return
        facts = load_state(last, self.model, self.optimizer)
        self.meter.restore(facts["meter"])
        self.curve, self.losses = facts["curve"], facts["losses"]
        self.best, self.stage, self.discarded = (facts[k] for k in ("best", "stage", "discarded"))
        switch(self.model, self.spec.stages[self.stage])
        self.say(f"resumed at step {self.meter.steps}")

    def _finish(self) -> Trained:
        """Load the selected checkpoint, write it and the records, drop the rest."""
        if not self.world.leads:
            return Trained(self.best["step"], self.best["score"])
        load_weights(self._best_path(self.best["step"]), self.model)
        stage = self.spec.stages[self.best["stage"]]
        switch(self.model, stage)
        save_weights(self.folder / WEIGHTS, self.model)
        write_atomic(self.folder / "curve.csv", as_csv(self.curve))
        write_atomic(self.folder / "losses.csv", as_csv(self.losses))
        meter = self.meter
        write_json(
            self.folder / "timing.json",
            {
                "device_seconds": meter.device_seconds,
                "peak_memory_mb": peak_memory_mb(self.device),
                **meter.other_seconds,
            },
        )
        write_json(  # last: its presence says that training is done
            self.folder / "train.json",
            {
                "steps": meter.steps,
                "examples": meter.examples,
                "flops": meter.flops,
                "discarded": self.discarded,
                "best": {**self.best, "stage": stage.name, "switches": dict(stage.switches)},
                "parameters": sum(p.numel() for p in self.model.parameters()),
                "trainable": sum(p.numel() for p in self.parameters),
            },
        )
        return Trained(self.best["step"], self.best["score"])
