"""First steps of trainings in as many processes as torchrun started; see test_parallel.py.

    torchrun --nproc-per-node 2 tests/parallel_runs.py OUT STEPS base uar r2gen mgca
    python tests/parallel_runs.py OUT STEPS base uar r2gen mgca
    python tests/parallel_runs.py OUT compare
    torchrun --nproc-per-node 2 tests/parallel_runs.py OUT whole STEPS uar

leaves losses and weights in OUT/<processes>/<model>; `compare` says how far each number of
processes is from one. `whole` leaves a whole training in OUT/<model>, or goes on with one. Small
presets, embedded radiographs, published rates, no dropout anywhere. PRECISION=double in the
environment computes all in float64.

What makes float32's rounding larger than it is has been taken out. Adam divides a gradient that is
zero but for rounding (of a key's bias, which softmax ignores) by its own size: `EPS` is above that.
Torch's batch norm adds up in float32 where images lie channels last, so that one process is 1e-6
from double and several are 1e-7 from it: its inputs are contiguous here.
And a BERT at its first weights gives all reports nearly the same vector, 140 times as long as it
differs, which batch norm takes apart: its maps are `SPREAD` times as large here.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.engine.parallel import ALONE, World, joined
from bench.engine.train import Training
from bench.runs.together import processes
from bench.runs.training import initial_model, open_training
from bench.runs.workspace import Workspace
from bench.spec import BudgetSpec, RunSpec, SelectionSpec
from bench.store import RunFolder
from bench.suites.composer import Composer
from bench.suites.suite import Row

COMMON = ("dataset=synthetic", "dataset.sample=32", "size=tiny", "budget=tiny",
          "budget.precision=fp32", "size.rates=null", "size.schedule=null")  # fmt: skip
EPS = 1e-3
SPREAD = 4.0
MGCA_RATES = {"rest": 2e-5}  # published
ROWS = {
    "base": Row("base", "base"),
    "uar": Row("uar", "uar", ("model.params.lsu=false",)),
    "r2gen": Row("r2gen", "r2gen"),
}


def spec_of(name: str, steps: int, work: Workspace) -> RunSpec:
    composer = Composer(work, None, list(COMMON))
    spec = composer.row(ROWS[name]) if name in ROWS else composer.pretraining(name)
    rates = spec.train.optimizer.rates if name in ROWS else MGCA_RATES
    optimizer = replace(spec.train.optimizer, eps=EPS, rates=rates)
    train = replace(spec.train, batch=8, optimizer=optimizer)
    selection = SelectionSpec("last", evaluations=5)
    budget = BudgetSpec("steps", float(steps))
    return replace(spec, train=train, budget=budget, selection=selection)


def silence(model: nn.Module) -> None:
    """No dropout, nor that which no setting reaches (R2Gen's memory); batch norm's exact sums."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0  # type: ignore[assignment]
        elif isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(lambda _, given: (given[0].contiguous(),))


def spread(model: Any) -> None:
    """Make a BERT's class token tell reports apart from the first step on."""
    for module in model.text_encoder.modules():
        if isinstance(module, nn.Linear):
            module.weight.data *= SPREAD


def opened(name: str, steps: int, path: Path, work: Workspace, world: World) -> Training:
    spec = spec_of(name, steps, work)
    model = initial_model(spec, work)
    silence(model)
    model.to(torch.get_default_dtype())
    path.mkdir(parents=True, exist_ok=True)
    training = open_training(spec, model, work, RunFolder(path.parent, name), world)
    if name == "mgca":
        spread(model)
    return training


def first(training: Training, steps: int) -> None:
    """Leave the losses and weights after so many steps."""
    losses, folder = training.first_losses(steps), training.folder
    if training.world.leads:
        written = {"losses": losses, "flops": training.meter.flops}
        (folder / "losses.json").write_text(json.dumps(written))
        values = {k: v.contiguous() for k, v in training.model.state_dict().items()}
        save_file(values, folder / "weights.safetensors")


def double() -> None:
    """All in float64 from here on, also where a model asks for float32."""
    torch.set_default_dtype(torch.float64)
    Tensor.float = Tensor.double  # type: ignore[method-assign]


def work_off(names: list[str], steps: int, out: Path, world: World, whole: bool = False) -> None:
    work = Workspace(out / "runs", out / "cache")
    for name in names:
        path = out / name if whole else out / str(world.size) / name
        training = opened(name, steps, path, work, world)
        if whole:
            training.run()
        else:
            first(training, steps)


def losses(folder: Path) -> list[dict[str, float]]:
    return json.loads((folder / "losses.json").read_text())["losses"]


def flops(folder: Path) -> float:
    return json.loads((folder / "losses.json").read_text())["flops"]


def distance(one: Path, several: Path) -> float:
    """Largest difference of any term of any step."""
    pairs = zip(losses(one), losses(several), strict=True)
    return max(abs(a[key] - b[key]) for a, b in pairs for key in a)


def apart(one: Path, several: Path) -> dict[str, float]:
    """Largest difference of each tensor of the final weights."""
    first, second = (load_file(f / "weights.safetensors") for f in (one, several))
    return {k: _largest(first[k], second[k]) for k in first}


def _largest(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).abs().max())


def compare(out: Path) -> None:
    for one in sorted((out / "1").iterdir()):
        for folder in sorted(out.glob(f"[2-9]/{one.name}")):
            far = sorted(apart(one, folder).items(), key=lambda item: -item[1])
            steps = len(losses(one))
            same = "equal" if flops(one) == flops(folder) else "differ"
            print(
                f"{one.name}, {folder.parent.name} processes, {steps} steps: losses within "
                f"{distance(one, folder):.1e}; FLOPs {same}; weights within "
                + ", ".join(f"{size:.1e} {name}" for name, size in far[:4])
            )


def main() -> None:
    out = Path(sys.argv[1])
    if sys.argv[2] == "compare":
        compare(out)
        return
    whole = sys.argv[2] == "whole"
    steps, *names = sys.argv[3:] if whole else sys.argv[2:]
    torch.set_num_threads(1)
    if os.environ.get("PRECISION") == "double":
        double()
    if processes() == 1:
        work_off(names, int(steps), out, ALONE, whole)
        return
    with joined("cpu") as world:
        work_off(names, int(steps), out, world, whole)


if __name__ == "__main__":
    main()
