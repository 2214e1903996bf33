"""A device's self-test, of about a minute: does it compute what the CPU computes, and twice alike?

Small models of every kind with random weights on random images: losses, their gradients and greedy
reports beside the CPU's, two trainings from one seed, bf16 beside fp32, memory, speed.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from bench.engine.decode import generate
from bench.engine.flops import FlopCounter
from bench.engine.meter import peak_memory_mb
from bench.errors import BenchError, RunError
from bench.perf.models import Built, matmul_rate, medians, optimizer, step
from bench.runs.training import exact_arithmetic
from bench.spec import DecodeSpec

MODELS = {
    "base": ("model=base",),
    "uar": ("model=uar",),
    "r2gen": ("model=r2gen",),
    "r2gencmn": ("model=r2gencmn",),
    "topdown": ("model=topdown",),
}
SMALL = ("budget=small", "budget.precision=fp32", "budget.threads=0",
         "size.dropout=0.1", "size.visual_dropout=0.5")  # fmt: skip
SPEED = ("model=base", "budget=medium", "budget.precision=fp32")
STUDIES = 16
STEPS = 5  # of each of two trainings
LOSS, GRADIENT = 1e-4, 1e-3  # relative differences in fp32 from the CPU; gradients all together
HALF = 0.1  # of half of all gradients in bf16; R2Gen's memory makes chaos of a few
REPORTS = 0.9  # share of greedy reports equal word for word: random weights have near ties


@dataclass(frozen=True)
class Check:
    name: str
    passed: bool
    text: str


def present(device: str) -> str:
    """What the device is; a BenchError where there is none."""
    if device == "cpu":
        return f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = f"torch {torch.__version__} is built for CUDA {built}" if built else (
            f"torch {torch.__version__} is built without CUDA"
        )  # fmt: skip
        raise BenchError(
            f"no CUDA device to test: {why}, and finds no working driver or no GPU",
            "run it where `nvidia-smi` lists a GPU; `--device cpu` shows what the test does",
        )
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    name = torch.cuda.get_device_name(0)
    return f"{name}, {memory:.0f} GiB, CUDA {torch.version.cuda}, torch {torch.__version__}"


def selftest(device: str) -> Iterator[Check]:
    """One check after the other; an operation that is refused fails its check and no other."""
    exact_arithmetic(deterministic=True)
    for name, overrides in MODELS.items():
        built = Built.of([*overrides, *SMALL], STUDIES)
        for what, work in (("parity", parity), ("determinism", twice), ("bf16", half)):
            yield _attempt(f"{name} {what}", partial(work, built, device))
    yield _attempt("memory, speed", partial(speed, device))


def _attempt(name: str, work: Callable[[], tuple[bool, str]]) -> Check:
    try:
        return Check(name, *work())
    except (RuntimeError, BenchError) as error:  # "does not have a deterministic implementation"
        return Check(name, False, str(error).splitlines()[0])


def on(built: Built, device: str) -> Built:
    """A copy of a model and its batch on a device."""
    batch = built.batch
    moved = replace(
        batch,
        images=batch.images.to(device),
        tokens=batch.tokens.to(device),
        lengths=batch.lengths.to(device),
    )
    return replace(built, model=copy.deepcopy(built.model).to(device), batch=moved, device=device)


def parity(built: Built, device: str) -> tuple[bool, str]:
    """Losses without dropout, their gradients, and greedy reports, beside the CPU's."""
    both = on(built, "cpu"), on(built, device)
    losses, reports = [_losses(b) for b in both], [_greedy(b) for b in both]
    far = max(abs(a - b) / max(abs(a), 1e-6) for a, b in zip(*losses, strict=True))
    here, there = (torch.cat([g.flatten() for g in _gradients(b)]) for b in both)
    apart = float((there - here).norm() / here.norm())
    equal = sum(a == b for a, b in zip(*reports, strict=True))
    text = (
        f"losses within {far:.1e} of the CPU's, gradients {apart:.1e}, "
        f"{equal} of {STUDIES} greedy reports equal"
    )
    return far <= LOSS and apart <= GRADIENT and equal >= REPORTS * STUDIES, text


def _gradients(built: Built, half: bool = False) -> list[Tensor]:
    """Of the sum of the losses, without dropout, as doubles; `half`: under bf16 autocast."""
    built.model.eval()
    built.model.zero_grad()
    with torch.autocast(built.device, dtype=torch.bfloat16, enabled=half):
        losses = built.model.loss(built.batch)
    torch.stack([v.float() for v in losses.values()]).sum().backward()
    return [p.grad.cpu().double() for p in built.model.parameters() if p.grad is not None]


def _losses(built: Built) -> list[float]:
    built.model.eval()
    with torch.no_grad():
        return [float(v) for v in built.model.loss(built.batch).values()]


def _greedy(built: Built) -> list[list[int]]:
    built.model.eval()
    return generate(built.model, built.batch.images, DecodeSpec(beam_size=1, max_length=30))


def twice(built: Built, device: str) -> tuple[bool, str]:
    """Two trainings from one seed come to the same bits."""
    first, second = (_trained(on(built, device)) for _ in range(2))
    other = [name for name in first if not torch.equal(first[name], second[name])]
    if other:
        return False, f"{len(other)} of {len(first)} tensors differ, the first {other[0]}"
    return True, f"{STEPS} steps twice: {len(first)} tensors equal bit for bit"


def _trained(built: Built) -> dict[str, Tensor]:
    work = optimizer(built)
    for group in work.param_groups:
        group["lr"] = 1e-3
    built.model.train()
    torch.manual_seed(0)
    for _ in range(STEPS):
        step(built, work)
    return {k: v.detach().cpu() for k, v in built.model.state_dict().items()}


def half(built: Built, device: str) -> tuple[bool, str]:
    """Gradients under bf16 autocast beside those in fp32: at first weights losses are nearly the
    logarithm of the vocabulary, whatever is wrong."""
    there = on(built, device)
    full, low = _gradients(there), _gradients(there, half=True)
    each = [float((b - a).norm() / a.norm()) for a, b in zip(full, low, strict=True) if a.any()]
    far = statistics.median(each)
    return far <= HALF, f"half of all gradients in bf16 within {far:.1e} of fp32"


def speed(device: str) -> tuple[bool, str]:
    """A training step of the medium preset's BASE: seconds, memory, share of the matmul rate."""
    built = on(Built.of(SPEED, STUDIES), device)
    once = partial(step, built, optimizer(built))
    with FlopCounter() as counter:
        once()
    seconds = medians({"": once}, 3, built.wait)[""]
    rate = matmul_rate(device, "fp32", 3)
    share = counter.total / seconds / rate
    return True, (
        f"{STUDIES / seconds:.1f} examples/s in fp32, {share:.0%} of the matmul rate "
        f"({rate / 1e9:,.0f} GFLOP/s), peak {peak_memory_mb(device):,.0f} MB"
    )


def told(device: str) -> int:
    """Print the self-test of a device as it goes; 0 where every check passed, else RunError."""
    print(f"self-test of {present(device)}")
    failed = []
    for check in selftest(device):
        print(
            f"{'ok     ' if check.passed else 'FAIL   '} {check.name:<20} {check.text}", flush=True
        )
        failed += [] if check.passed else [check.name]
    if failed:
        raise RunError(
            f"{len(failed)} checks failed on this device: {', '.join(failed)}",
            "its numbers would not be those of other machines: report this with the lines above",
        )
    return 0
