"""What a run is, as frozen data: its canonical JSON is its identity.

`spec_id` is the sha256 of everything that determines the numbers (no path, host, date or worker
count); `run_id` adds the seed. Names under which tables show a run are not part of it, so that
the same run serves several tables.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bench.canonical import digest, to_dict
from bench.errors import BenchError, unknown
from bench.settings import RANGE, refuse_odd, within

MOST_THREADS = 1024  # of a training; more crash the libraries that start them
# A field that came later stays out of the canonical form while it has its default, which says what
# was done before there was a choice: the ids of older rows stay what they are.
LATER: Mapping[str, bool] = {"later": True}
SEEDED = "seeded:"  # weights of a pretraining at the run's own seed
PROTOCOL = "v0"  # the board that rows of this version belong to; see leaderboards/PROTOCOL.md
TREATMENT = "r2gen@1"  # the published one: what a score is of where nothing else is said


@dataclass(frozen=True)
class DataSpec:
    """A dataset: its reader, the reader's parameters, and the digest of what was read."""

    name: str
    target: str
    manifest: str
    params: Mapping[str, Any] = field(default_factory=dict)
    text: str = TREATMENT  # treatment that a model's vocabulary and targets are made of
    max_length: int = within(2, 10_000, 60)  # ids a report is cut to, BOS included
    min_count: int = within(1, 10**9, 3)
    cleaning: str = field(default="iu", metadata=LATER)  # variant of R2Gen's, of all its texts


@dataclass(frozen=True)
class PartSpec:
    """Something built from an import path: a model, an image tokenizer, a floor.

    `weights` maps a part's name to the digest of its initial values, or to "random".
    """

    target: str
    params: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizerSpec:
    """Rates are per parameter group of the model; "rest" serves the groups not named."""

    name: str = "adamw"
    rates: Mapping[str, float] = field(default_factory=lambda: {"rest": 5e-4})
    betas: tuple[float, float] = within(0, 1, (0.9, 0.98))
    eps: float = within(0, 1, 1e-9)
    weight_decay: float = within(0, 1e6, 5e-5)
    amsgrad: bool = False
    no_decay: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScheduleSpec:
    """constant; step (x `factor` every `every_epochs`); cosine or linear decay to `floor` x rate.

    `warmup` is a share of the budget, linear from zero, before any of them. `epoch_size`: examples
    of one epoch of `step`; 0: those of the training split.
    """

    name: str = "constant"
    every_epochs: float = within(0, 1e9, 0.0)
    factor: float = within(0, 1e6, 1.0)
    floor: float = within(0, 1, 0.0)
    warmup: float = within(0, 1, 0.0)
    epoch_size: int = within(0, 10**15, 0, LATER)


@dataclass(frozen=True)
class ClipSpec:
    kind: str = "none"  # none, value, norm
    amount: float = within(0, 1e9, 0.0)


@dataclass(frozen=True)
class TrainSpec:
    batch: int = within(1, 10**6, 16)
    accumulate: int = within(1, 10**6, 1)  # micro-batches of `batch / accumulate` examples a step
    precision: str = "fp32"  # or bf16 (autocast)
    threads: int = within(
        0, MOST_THREADS, 0
    )  # of the processor, since rounding may depend on them; 0: all
    crops: int = within(1, 10_000, 4)  # random crops of each training image whose codes are cached
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    schedule: ScheduleSpec = field(default_factory=ScheduleSpec)
    clip: ClipSpec = field(default_factory=ClipSpec)


@dataclass(frozen=True)
class StageSpec:
    """A part of training: its share of the budget, loss weights, and the model's switches.

    `start` "last" goes on from the last step. "best" goes back to the step that did best on
    validation, weights and optimiser both: the steps since then were paid for and are lost.
    """

    name: str = "main"
    share: float = within(0, 1, 1.0)
    losses: Mapping[str, float] = field(default_factory=lambda: {"ce": 1.0})
    switches: Mapping[str, Any] = field(default_factory=dict)
    start: str = "last"


@dataclass(frozen=True)
class BudgetSpec:
    unit: str = "examples"  # examples, steps, flops, device_seconds
    amount: float = within(0, 1e30, 0.0)


@dataclass(frozen=True)
class SelectionSpec:
    """Which checkpoint is sealed: the best on validation.

    Looked at `evaluations` times, evenly over the budget, and, with `every_epochs`, each so many
    epochs of the training split; at the ends of stages in any case. `metric` "BLEU-4" or "CIDEr"
    decodes validation studies (at most `studies` of them; 0: all) as the test is decoded, or with
    a `beam_size` of its own; "loss" takes the validation loss; "last" takes the last step.
    Sealed is what the last `share` of the budget has; looks of before record losses alone.
    """

    metric: str = "BLEU-4"
    evaluations: int = within(1, 10**6, 5)
    studies: int = within(0, 10**9, 0)
    beam_size: int | None = within(1, 1000, None, LATER)
    every_epochs: float = within(0, 1e9, 0.0, LATER)
    share: float = within(0, 1, 1.0, LATER)


@dataclass(frozen=True)
class DecodeSpec:
    """How reports are written; the defaults are the published set-up.

    A hypothesis is ranked by its summed log-probability / length**length_penalty.
    """

    method: str = "beam"  # beam, sample; greedy is a beam of 1
    beam_size: int = within(1, 1000, 3)
    max_length: int = within(1, 10_000, 60)
    length_penalty: float = within(-100, 100, 0.0)
    no_repeat_ngram: int = within(0, 10_000, 0)
    temperature: float = within(1e-6, 1e6, 1.0)
    top_k: int = within(0, 10**9, 0)
    early_stop: bool = True


@dataclass(frozen=True)
class TuningSpec:
    """How a row's settings were chosen: of `trials` trainings on `share` of the budget each, the
    best on validation. `chosen`: what it multiplies or sets; `runs`: the trials' run ids."""

    trials: int = field(metadata={RANGE: (0, 10_000)})
    share: float = field(metadata={RANGE: (0, 1)})
    chosen: Mapping[str, Any]
    runs: tuple[str, ...]


@dataclass(frozen=True)
class RunSpec:
    """One training (or floor, pretraining, trial) with everything that determines its numbers."""

    kind: str  # train, floor, pretrain, trial
    data: DataSpec
    model: PartSpec
    code: str  # digest of the source files that matter
    tokenizer: PartSpec | None = None
    train: TrainSpec = field(default_factory=TrainSpec)
    stages: tuple[StageSpec, ...] = (StageSpec(),)
    budget: BudgetSpec = field(default_factory=BudgetSpec)
    selection: SelectionSpec = field(default_factory=SelectionSpec)
    decode: DecodeSpec = field(default_factory=DecodeSpec)
    deterministic: bool = True
    protocol: str = PROTOCOL
    # What images the rows of its suite see: "common" or "published" (conf/images); "": not stated.
    images: str = field(default="", metadata=LATER)
    tuning: TuningSpec | None = field(default=None, metadata=LATER)
    seed: int = within(0, 2**53, 0)

    @property
    def spec_id(self) -> str:
        """Identity without the seed: sha256 hex of the canonical JSON.

        Weights of a pretraining that follows the seed count by that pretraining's own identity.
        """
        fields = to_dict(self)
        del fields["seed"]
        for part in filter(None, (fields["model"], fields["tokenizer"])):
            part["weights"] = {k: _unseeded(v) for k, v in part["weights"].items()}
        return digest(fields)

    @property
    def run_id(self) -> str:
        return f"{self.spec_id[:16]}-s{self.seed}"

    @property
    def training(self) -> RunSpec:
        """The run whose training is this one's, bit for bit: the run itself, unless its selection
        decodes in a way of its own. Then the run that also writes its test reports in that way, so
        that runs which differ only in how these are written share one training.
        """
        if self.selection.beam_size is None:
            return self
        decode = DecodeSpec(beam_size=self.selection.beam_size, max_length=self.decode.max_length)
        return replace(self, decode=decode, selection=replace(self.selection, beam_size=None))

    def derived_seed(self, purpose: str) -> int:
        """A seed for one purpose ("order", ...), fixed by the training's spec and the run's seed.

        Digests (of code, data, weights) stay out of it: a change that ought not to matter must
        show the same losses as before. So does how the settings were found.
        """
        fields = to_dict(self.training)
        for key in ("code", "seed", "images", "tuning"):
            fields.pop(key, None)
        del fields["data"]["manifest"]
        for part in filter(None, (fields["model"], fields["tokenizer"])):
            del part["weights"]
        text = f"{digest(fields)}/{self.seed}/{purpose}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")

    def __post_init__(self) -> None:
        refuse_odd(self)
        _one_of("kind", self.kind, "train", "floor", "pretrain", "trial")
        _one_of("budget.unit", self.budget.unit, "examples", "steps", "flops", "device_seconds")
        _one_of("train.precision", self.train.precision, "fp32", "bf16")
        _one_of("train.optimizer.name", self.train.optimizer.name, "adam", "adamw")
        _one_of("train.clip.kind", self.train.clip.kind, "none", "value", "norm")
        schedule = self.train.schedule.name
        _one_of("train.schedule.name", schedule, "constant", "step", "cosine", "linear")
        _one_of("selection.metric", self.selection.metric, "BLEU-4", "CIDEr", "loss", "last")
        _one_of("decode.method", self.decode.method, "beam", "sample")
        for stage in self.stages:
            _one_of("stages.start", stage.start, "last", "best")
        if self.kind != "floor":
            self._check_training()

    def _check_training(self) -> None:
        if abs(sum(s.share for s in self.stages) - 1) > 1e-6:
            raise BenchError("the stages' shares of the budget do not add up to 1")
        if self.train.batch % self.train.accumulate:
            raise BenchError(
                f"train.batch={self.train.batch} is not a multiple of "
                f"train.accumulate={self.train.accumulate}"
            )
        step = {"steps": 1, "examples": self.train.batch}.get(self.budget.unit, 0)
        if not step <= self.budget.amount > 0:
            raise BenchError(
                f"a budget of {self.budget.amount:g} {self.budget.unit} is not enough for one step "
                f"of {self.train.batch} examples",
                "raise budget.amount or lower budget.batch",
            )


def _unseeded(reference: str) -> str:
    if not reference.startswith(SEEDED):
        return reference
    return reference.partition("@")[0].rpartition("-s")[0]


def _one_of(key: str, value: str, *valid: str) -> None:
    if value not in valid:
        raise unknown(key, value, valid)
