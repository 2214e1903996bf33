"""What a plan costs, told before: time, memory and disk here, on an H100, and at MIMIC-CXR's size.

FLOPs and saved activations are counted on the meta device, where a step of any size takes
milliseconds. Seconds are FLOPs over a rate: that of runs which are finished in this folder, else a
share of this machine's matrix products. An H100's rate is an assumption, and said to be one.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bench.data.study import Dataset
from bench.engine.decode import generate
from bench.engine.objective import Objective
from bench.engine.stages import can_be_kept, stage_at, switch
from bench.engine.validation import EVALUATION_BATCH, WRITTEN, Looks
from bench.model import Batch
from bench.perf.elsewhere import there
from bench.perf.models import matmul_rate
from bench.perf.shapes import Shapes
from bench.perf.trial import built, named, shaped
from bench.provenance import environment, made_elsewhere
from bench.runs.workspace import Workspace
from bench.spec import DecodeSpec, RunSpec
from bench.store import RunFolder, made_in, read_json
from bench.suites.plan import Plan, Planned
from bench.terminal import table

SHARE = 0.25  # of the matmul rate that a training step reaches, where no finished run says
SHORT = (4, 8)  # words of the reports that are counted
DECODING = 0.2  # of a training step's rate: few rows at a time
# NVIDIA's data sheet (SXM, dense), and the share of it that is assumed.
H100 = {"fp32": 67e12, "bf16": 989e12}
H100_SHARE = {"fp32": 0.3, "bf16": 0.15}
# R2Gen's division of MIMIC-CXR, and the examples of its 30 epochs (of 270,790).
MIMIC = {"images": 377_110, "val": 2_130, "test": 3_858, "examples": 8_123_700, "evaluations": 30}
STATE = 4 * 4  # bytes a parameter: weight, gradient, Adam's two moments
# Seconds that starting an operation of a step takes, and all those of a word. On an H200 with torch
# 2.11: 55e-6 in trainings, whose batches change their width; in `bench perf models`, whose do not,
# 20 to 28e-6, so that its figures are better by half.
START, WORD = 50e-6, 0.005
CUDA_CONTEXT = 0.5e9


@dataclass(frozen=True)
class Cost:
    """Of one run. example, report: FLOPs of an example in training, and of a study's report.
    memory: bytes of a step, beside torch itself; started: its operations. weights: bytes of what is
    kept. reports: decoded in validations and the test, of `words` each at most."""

    example: float
    report: float
    memory: float
    started: int
    weights: float
    examples: float
    reports: float
    batch: int
    words: int
    precision: str

    def seconds(self, rate: float, launching: bool = False) -> float:
        """At a rate (FLOP/s) of training steps; `launching`: and no faster than kernels start."""
        training = self.example * self.examples / rate
        writing = self.report * self.reports / rate / DECODING
        if launching:
            training = max(training, self.examples / self.batch * self.started * START)
            writing = max(writing, self.reports / EVALUATION_BATCH * self.words * WORD)
        return training + writing


def cost_of(spec: RunSpec, work: Workspace) -> Cost:
    """The cost of a training from its spec alone; nothing is computed."""
    opened = work.open(spec)
    with named(spec):
        model = built(spec, work, len(opened.vocabulary) + 1, opened.tokenizer)
    switch(model, spec.stages[-1])
    batch = shaped(model, spec.train.batch, spec.data.max_length, opened.tokenizer)
    parameters = sum(p.numel() for p in model.parameters())
    with there(model), named(spec):
        flops, saved, started = _step(model, batch, spec)
        report = _report(model, batch, spec.decode)
        look = _report(model, batch, spec.training.decode) if spec != spec.training else report
    examples = _examples(spec, flops / spec.train.batch)
    studies = spec.selection.studies or len(opened.dataset.split("val"))
    looks = _decoded(spec, examples, len(opened.dataset.split("train")))
    test = len(opened.dataset.split("test"))
    reports = looks * studies * look / report + test  # at the price of the test's
    memory = parameters * STATE + saved
    each = flops / spec.train.batch
    size, words, precision = spec.train.batch, spec.decode.max_length, spec.train.precision
    kept = 4.0 * parameters
    return Cost(each, report, memory, started, kept, examples, reports, size, words, precision)


def _decoded(spec: RunSpec, examples: float, epoch: int) -> int:
    """Looks whose checkpoint may be sealed, so that validation reports are written."""
    if spec.selection.metric not in WRITTEN:
        return 0
    return sum(
        can_be_kept(spec.stages, stage_at(spec.stages, share), spec.selection, share)
        for share in Looks(spec, epoch).of(examples)
    )


def _examples(spec: RunSpec, flops: float) -> float:
    """Examples that a budget pays for; device-seconds pay for themselves (0)."""
    of = {"examples": 1.0, "steps": float(spec.train.batch), "flops": 1 / flops}
    return spec.budget.amount * of.get(spec.budget.unit, 0.0)


def _step(model: Any, batch: Batch, spec: RunSpec) -> tuple[float, float, int]:
    """FLOPs of a step, bytes that its micro-batches keep for their backward passes, and the
    operations that it starts."""
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        kept[x.untyped_storage()._cdata] = x.untyped_storage().nbytes()
        return x

    model.train()
    with Shapes() as counter:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            loss, _ = Objective(model)(batch, spec.stages[-1])
        loss.backward()
    model.zero_grad(set_to_none=True)
    half = 2 if spec.train.precision == "bf16" else 1
    saved = sum(kept.values()) / spec.train.accumulate / half
    return float(counter.total), saved, counter.started * spec.train.accumulate


def _report(model: Any, batch: Batch, decode: DecodeSpec) -> float:
    """FLOPs of one study's report, of the greatest length: a word more costs what a word costs."""
    model.eval()
    totals: list[int] = []
    # Not in inference mode, where products do not come apart into what is counted.
    with torch.no_grad(), Shapes() as counter:
        watched = _Watched(model, lambda: totals.append(counter.total))
        how = replace(decode, max_length=SHORT[1])
        generate.__wrapped__(watched, batch.images[:2], how)  # type: ignore[attr-defined]
    found = [totals[length - 1] / 2 for length in SHORT]
    word = (found[1] - found[0]) / (SHORT[1] - SHORT[0])
    return found[1] + word * (decode.max_length - SHORT[1])


@dataclass(frozen=True)
class _Watched:
    """A model in decoding; `after` is called with every word."""

    model: Any
    after: Callable[[], None]

    def encode(self, images: Tensor) -> Any:
        return self.model.encode(images)

    def step(self, tokens: Tensor, state: Any) -> Any:
        out = self.model.step(tokens, state)
        self.after()
        return out

    def reorder(self, *given: Any) -> Any:
        return self.model.reorder(*given)


def rate_here(plan: Plan, work: Workspace, precision: str) -> tuple[float, str]:
    """FLOP/s of training steps on this machine, and where that is from."""
    specs = [p.spec for p in plan.distinct() if p.spec.train.precision == precision]
    here = environment(work.device)
    found = [*filter(None, (_rate(RunFolder(work.out, s.run_id), here) for s in specs))]
    if found:
        return statistics.median(found), f"median of {len(found)} runs finished here"
    torch.set_num_threads(plan.threads or torch.get_num_threads())
    rate = matmul_rate(work.device, precision, 3) if work.device == "cuda" else _products()
    return rate * SHARE, f"{SHARE:.0%} of {rate / 1e9:,.0f} GFLOP/s of matrix products"


def _rate(folder: RunFolder, here: Mapping[str, Any]) -> float:
    """FLOP/s of a finished training; 0 of what another kind of machine made, or of no training.

    here: this machine's environment.
    """
    if folder.manifest is None or not (folder / "timing.json").exists():
        return 0.0
    made = made_in(folder)
    alike = {**here, "threads": made.get("threads")}  # as many as its spec gives it
    flops = read_json(folder / "train.json")["flops"]
    seconds = read_json(folder / "timing.json")["device_seconds"]
    return flops / seconds if seconds and not made_elsewhere(made, alike) else 0.0


def _products() -> float:
    """FLOP/s of matrix products on this CPU, by its own clock: whoever else is busy does not
    count."""
    size = 512
    a, b = torch.randn(size, size), torch.randn(size, size)
    a @ b
    start = time.process_time()
    for _ in range(20):
        a @ b
    return 20 * 2 * size**3 * torch.get_num_threads() / (time.process_time() - start)


def disk(plan: Plan, dataset: Dataset, costs: Sequence[Cost]) -> dict[str, float]:
    """Bytes of caches and of the runs' weights, here and at MIMIC-CXR's size; while it runs, a
    training keeps a checkpoint of four times its weights beside them."""
    images = len(dataset.studies) * 2
    each = sum({_pixels(p.spec) for p in plan.distinct() if p.origin == "trained"})
    runs = sum(cost.weights for cost in costs)
    return {"here": images * each + runs, "mimic": MIMIC["images"] * each + runs}


def _pixels(spec: RunSpec) -> int:
    """Bytes of an image's training and evaluation renditions."""
    image = spec.model.params.get("image") or {}
    size, resize = int(image.get("size", 224)), int(image.get("resize", 256))
    return size**2 + resize**2


def told(plan: Plan, work: Workspace) -> str:
    """The estimate in words: a line a model, and the whole plan."""
    trained = [p for p in plan.distinct() if p.origin == "trained"]
    if not trained:
        return ""
    costs = list(_costs(trained, work))
    precision = costs[0].precision
    rate, source = rate_here(plan, work, precision)
    fast = H100[precision] * H100_SHARE[precision]
    rows, shown = [], set()
    for planned, cost in zip(trained, costs, strict=True):
        if planned.name not in shown:
            shown.add(planned.name)
            rows.append(_row(planned.name, cost, rate, fast))
    trainings = len({p.spec.training.run_id for p in trained})
    total = [sum(c.seconds(rate) for c in costs), sum(c.seconds(fast, True) for c in costs)]
    large = sum(_at_mimic(c).seconds(fast, True) for c in costs)
    space = disk(plan, work.open(trained[0].spec).dataset, costs)
    head = ["row", "GFLOP/example", "examples", "memory", "here", "H100", "MIMIC-CXR, H100"]
    return table(f"estimate of a training; here: {source}", head, rows) + (
        f"\nall {trainings} trainings, one at a time: {_time(total[0])} here, {_time(total[1])} "
        f"on an H100, {_time(large)} there on MIMIC-CXR's images for 30 epochs, reports as here\n"
        f"{_held(plan, total[0] / len(costs), len(costs))}"
        f"disk: {space['here'] / 1e9:,.2f} GB here, {space['mimic'] / 1e9:,.0f} GB at that size\n"
        f"H100: {H100_SHARE[precision]:.0%} of {H100[precision] / 1e12:,.0f} TFLOP/s "
        f"({precision}), assumed, and {START * 1e6:.0f} us to start an operation, measured on an "
        "H200; pretraining and scoring are not in it\n"
    )


def _held(plan: Plan, seconds: float, known: int) -> str:
    """What rows that wait will add, if they cost as the others do on average."""
    if not plan.waits:
        return ""
    return (
        f"with the {plan.waits} that wait, at the mean of these: about "
        f"{_time(seconds * (known + plan.waits))} here\n"
    )


def _costs(trained: Sequence[Planned], work: Workspace) -> Iterator[Cost]:
    """Rows whose trainings differ in the seed alone are counted once; one whose training is that of
    a row before it costs its test reports alone."""
    known: dict[str, Cost] = {}
    seen: set[str] = set()
    for planned in trained:
        key, training = planned.spec.spec_id, planned.spec.training.run_id
        if key not in known:
            known[key] = cost_of(planned.spec, work)
        shared = training in seen
        seen.add(training)
        test = len(work.open(planned.spec).dataset.split("test")) if shared else 0
        yield replace(known[key], examples=0.0, reports=test) if shared else known[key]


def _at_mimic(cost: Cost) -> Cost:
    """The same model and lengths of reports on R2Gen's published schedule."""
    if not cost.examples:  # written by the training of another row
        return replace(cost, reports=MIMIC["test"])
    reports = MIMIC["evaluations"] * MIMIC["val"] + MIMIC["test"]
    return replace(cost, examples=MIMIC["examples"], reports=reports)


def _row(name: str, cost: Cost, rate: float, fast: float) -> list[str]:
    return [
        name,
        f"{cost.example / 1e9:,.2f}",
        f"{cost.examples:,.0f}",
        f"{(cost.memory + CUDA_CONTEXT) / 1e9:,.1f} GB",
        _time(cost.seconds(rate)),
        _time(cost.seconds(fast, True)),
        _time(_at_mimic(cost).seconds(fast, True)),
    ]


def _time(seconds: float) -> str:
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s"
