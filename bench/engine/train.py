"""The only training loop: budget, stages, schedule, selection on validation, exact resume.

Needs no scorer and no Java, so that it can run on a machine that has neither: validation BLEU-4
comes from our own sufficient statistics. A step's dropout noise, order and crops depend on the
seed and the step's number alone, so a resumed training equals one that was never stopped.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.data.batches import Split
from bench.data.text import Treatment, Vocabulary
from bench.engine.checkpoint import load_state, load_weights, save_state, save_weights
from bench.engine.decode import generate
from bench.engine.flops import FlopCounter
from bench.engine.meter import Meter, peak_memory_mb
from bench.engine.optimiser import build_optimizer, clip_gradients, set_rates
from bench.errors import RunError
from bench.metrics.bleu import BLEU
from bench.model import Batch
from bench.spec import DecodeSpec, RunSpec, StageSpec
from bench.store import RunFolder, write_atomic, write_json

EVALUATION_BATCH = 64
FIRST_STEPS = 100  # whose losses are kept one by one, for `bench verify --rerun`
EPSILON = 1e-9
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
        splits: dict[str, Split],
        vocabulary: Vocabulary,
        treatment: Treatment,
        folder: RunFolder,
        device: str,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.spec, self.folder, self.device, self.say = spec, folder, device, say
        self.model = cast(Any, model)
        self.model.to(device)
        self.splits, self.vocabulary, self.treatment = splits, vocabulary, treatment
        self.groups: dict[str, list[nn.Parameter]] = self.model.groups()
        self.parameters = [p for group in self.groups.values() for p in group]
        self.optimizer = build_optimizer(
            self.groups, spec.train.optimizer, getattr(model, "GROUPS", ())
        )
        self.meter = Meter(spec.budget, spec.train.batch)
        self.order_seed = spec.derived_seed("order")
        self.noise_seed = spec.derived_seed("noise")
        self.stage = -1
        self.curve: list[dict[str, Any]] = []
        self.losses: list[dict[str, float]] = []
        self.recent: list[dict[str, float]] = []  # terms since the last evaluation
        self.best = NONE_YET
        self.points = _evaluation_points(spec)
        self.passed = 0  # evaluation points already behind

    # --- the loop -------------------------------------------------------------------------------

    def run(self) -> Trained:
        """Train until the budget is spent; leave the selected weights and the record of it."""
        self._resume()
        while not self.meter.exhausted:
            self._enter_stage()
            self._one_step()
            if self.meter.progress + EPSILON >= self.points[self.passed]:
                self._evaluate_and_save()
        if self.recent or self.best["step"] < 0:  # the budget ended between two points
            self._evaluate_and_save()
        return self._finish()

    def first_losses(self, steps: int) -> list[dict[str, float]]:
        """The rows of losses.csv for the first steps: trained, not evaluated."""
        limit = self.points[0] if len(self.spec.stages) > 1 else 1.0
        while len(self.losses) < min(steps, FIRST_STEPS) and self.meter.progress < limit:
            self._enter_stage()
            self._one_step()
        return self.losses

    def _enter_stage(self) -> None:
        index = self._stage_index()
        if index == self.stage:
            return
        stage = self.spec.stages[index]
        if stage.start == "best" and self.best["step"] >= 0:
            load_weights(self._best_path(self.best["step"]), self.model)
        self.best = NONE_YET  # what is sealed has been through every stage
        _switch(self.model, stage)
        self.stage = index
        self.meter.flops_per_step = 0.0  # counted anew in the stage's first step

    def _stage_index(self) -> int:
        end = 0.0
        for index, stage in enumerate(self.spec.stages):
            end += stage.share
            if self.meter.progress + EPSILON < end:
                return index
        return len(self.spec.stages) - 1

    def _one_step(self) -> None:
        """One optimiser step of `batch` examples, metered."""
        step, spec = self.meter.steps, self.spec.train
        split = self.splits["train"]
        start = time.perf_counter()
        batch = split.training_batch(
            step, spec.batch, self.order_seed, self.meter.progress, self.device
        )
        set_rates(
            self.optimizer, spec.schedule, self.meter.progress, self.meter.examples / len(split)
        )
        torch.manual_seed(self.noise_seed + step)
        self.model.train()
        if self.meter.flops_per_step:
            terms = self._gradients(batch)
        else:
            with FlopCounter() as counter:
                terms = self._gradients(batch)
            self.meter.flops_per_step = float(counter.total)
        clip_gradients(self.parameters, spec.clip)
        self.optimizer.step()
        values = {k: float(v) for k, v in terms.items()}  # waits for the device
        self.meter.add_step(time.perf_counter() - start)
        self._record(values)

    def _gradients(self, batch: Batch) -> dict[str, Tensor]:
        """Accumulated gradients of the weighted sum; the terms' means over micro-batches."""
        self.optimizer.zero_grad(set_to_none=True)
        count = self.spec.train.accumulate
        total: dict[str, Tensor] = {}
        for part in _micro_batches(batch, count):
            with self._autocast():
                terms = self.model.loss(part)
            loss = self._weighted(terms) / count
            loss.backward()
            for name, value in {**terms, "loss": loss * count}.items():
                total[name] = total.get(name, torch.zeros(())) + value.detach().cpu() / count
        return total

    def _weighted(self, terms: dict[str, Tensor]) -> Tensor:
        """Eq. 13 of UAR: the stage's weights times the model's terms (absent weight: 0)."""
        weights = self.spec.stages[self.stage].losses
        missing = [name for name, weight in weights.items() if weight and name not in terms]
        if missing:
            raise RunError(
                f"stage {self.spec.stages[self.stage].name!r} weights the loss {missing[0]!r}, "
                f"but the model gives only {', '.join(sorted(terms))}",
                "fix the stage's `losses`",
            )
        used = [weights[name] * value for name, value in terms.items() if weights.get(name)]
        return torch.stack(used).sum()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device, dtype=torch.bfloat16, enabled=self.spec.train.precision == "bf16"
        )

    def _record(self, values: dict[str, float]) -> None:
        if not all(map(_finite, values.values())):
            raise RunError(
                f"the loss is not finite at step {self.meter.steps}: {values}",
                "lower the learning rate, clip gradients, or use precision=fp32",
            )
        self.recent.append(values)
        if self.meter.steps <= FIRST_STEPS:
            self.losses.append({"step": self.meter.steps, **values})

    # --- evaluation and selection ---------------------------------------------------------------

    def _evaluate_and_save(self) -> None:
        with self.meter.beside("evaluation"):
            row = self._evaluate()
        self.curve.append(row)
        self.recent = []
        # Of equals the later one, as R2Gen's trainer has it.
        better = self.best["score"] is None or row["selection"] >= self.best["score"]
        if better or self.spec.selection.metric == "last":
            self.best = {
                "score": row["selection"],
                "step": self.meter.steps,
                "stage": self.stage,
            }
            save_weights(self._best_path(self.meter.steps), self.model)
        while self.passed < len(self.points) - 1 and (
            self.meter.progress + EPSILON >= self.points[self.passed]
        ):
            self.passed += 1
        self._save()
        self.say(
            f"step {self.meter.steps} · {self.meter.progress:.0%} · loss {row['loss']:.3f} · "
            f"val {self.spec.selection.metric} {abs(row['selection']):.4f}"
        )

    def _evaluate(self) -> dict[str, Any]:
        """A row of the curve; `selection` is what is maximised (a loss enters negated)."""
        row: dict[str, Any] = {
            "step": self.meter.steps,
            "examples": self.meter.examples,
            "stage": self.spec.stages[self.stage].name,
            **_means(self.recent),
        }
        self.model.eval()
        torch.manual_seed(self.noise_seed)
        metric = self.spec.selection.metric
        if metric == "BLEU-4":
            row["selection"] = self.validation_bleu()
        elif metric == "loss":
            row["selection"] = -self.validation_loss()
        else:
            row["selection"] = float(self.meter.steps)
        if hasattr(self.model, "diagnose"):
            row.update(self.model.diagnose(self._first_batch()))
        return row

    def _first_batch(self) -> Batch:
        return next(self.splits["val"].batches(EVALUATION_BATCH, self.device))

    def validation_bleu(self) -> float:
        """BLEU-4 of validation reports as `selection` asks for them."""
        split, selection = self.splits["val"], self.spec.selection
        decode = replace(
            DecodeSpec(), beam_size=selection.beam_size, max_length=self.spec.decode.max_length
        )
        written: list[str] = []
        for batch in split.batches(EVALUATION_BATCH, self.device):
            ids = generate(self.model, batch.images, decode)
            written += [self.vocabulary.decode(x) for x in ids]
            if selection.studies and len(written) >= selection.studies:
                break
        studies = split.studies[: len(written)]
        references = [self.treatment.reference(s.report, self.vocabulary) for s in studies]
        metric = BLEU()
        return metric.corpus(metric.statistics(written, references))["BLEU-4"]

    @torch.inference_mode()
    def validation_loss(self) -> float:
        """Mean weighted loss over validation batches."""
        total, count = 0.0, 0
        for batch in self.splits["val"].batches(EVALUATION_BATCH, self.device):
            total += float(self._weighted(self.model.loss(batch))) * len(batch.lengths)
            count += len(batch.lengths)
        return total / count

    # --- checkpoints ----------------------------------------------------------------------------

    def _best_path(self, step: int) -> Path:
        return self.folder / "checkpoints" / f"best-{step}.safetensors"

    def _save(self) -> None:
        """The best weights are on disk already; then the state that names them; then a tidy."""
        facts = {
            "meter": self.meter.state(),
            "curve": self.curve,
            "losses": self.losses,
            "best": self.best,
            "stage": self.stage,
            "passed": self.passed,
        }
        last = self.folder / "checkpoints" / "last.safetensors"
        save_state(last, self.model, self.optimizer, facts)
        for path in last.parent.glob("best-*.safetensors"):
            if path != self._best_path(self.best["step"]):
                path.unlink()

    def _resume(self) -> None:
        last = self.folder / "checkpoints" / "last.safetensors"
        if not last.exists():
            return
        facts = load_state(last, self.model, self.optimizer)
        self.meter.restore(facts["meter"])
        self.curve, self.losses = facts["curve"], facts["losses"]
        self.best, self.stage, self.passed = facts["best"], facts["stage"], facts["passed"]
        _switch(self.model, self.spec.stages[self.stage])
        self.say(f"resumed at step {self.meter.steps}")

    def _finish(self) -> Trained:
        """Load the selected checkpoint, write it and the records, drop the rest."""
        load_weights(self._best_path(self.best["step"]), self.model)
        stage = self.spec.stages[self.best["stage"]]
        _switch(self.model, stage)
        save_weights(self.folder / "weights.safetensors", self.model)
        write_atomic(self.folder / "curve.csv", _csv(self.curve))
        write_atomic(self.folder / "losses.csv", _csv(self.losses))
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
                "best": {**self.best, "stage": stage.name, "switches": dict(stage.switches)},
                "parameters": sum(p.numel() for p in self.model.parameters()),
                "trainable": sum(p.numel() for p in self.parameters),
            },
        )
        return Trained(self.best["step"], self.best["score"])


def _evaluation_points(spec: RunSpec) -> list[float]:
    """Shares of the budget after which validation runs: evenly spread, and where a stage ends."""
    count = max(1, spec.selection.evaluations)
    points = {round((i + 1) / count, 9) for i in range(count)}
    end = 0.0
    for stage in spec.stages:
        end += stage.share
        points.add(round(min(end, 1.0), 9))
    return sorted(points)


def _switch(model: Any, stage: StageSpec) -> None:
    if stage.switches:
        if not hasattr(model, "switch"):
            raise RunError(
                f"stage {stage.name!r} has switches, but {type(model).__name__} takes none"
            )
        model.switch(**stage.switches)


def _micro_batches(batch: Batch, count: int) -> list[Batch]:
    if count == 1:
        return [batch]
    size = len(batch.lengths) // count
    return [
        replace(
            batch,
            images=batch.images[i : i + size],
            tokens=batch.tokens[i : i + size],
            lengths=batch.lengths[i : i + size],
            texts=batch.texts[i : i + size],
        )
        for i in range(0, size * count, size)
    ]


def _finite(value: float) -> bool:
    return value - value == 0.0


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    names = list(dict.fromkeys(k for row in rows for k in row))
    present = {k: [row[k] for row in rows if k in row] for k in names}
    return {k: sum(v) / len(v) for k, v in present.items()}


def _csv(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV at full precision; columns in order of first appearance."""
    names = list(dict.fromkeys(k for row in rows for k in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
