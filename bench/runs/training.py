"""A training before its first step: initial weights, splits, first images."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.canonical import digest, to_dict
from bench.data.leakage import cleaned_reports
from bench.errors import BenchError
from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.store import (
    ENVIRONMENT,
    RUN,
    TRAINING,
    WEIGHTS,
    RunFolder,
    load_spec,
    made_in,
    read_json,
    sealed,
    write_atomic,
    write_json,
)

if TYPE_CHECKING:
    from bench.data.batches import Split, Views
    from bench.engine.parallel import World
    from bench.engine.train import Training
    from bench.model import ImageSpec

MMAP_MAX, TRIM_THRESHOLD = -4, -1  # of glibc's malloc.h
SEEN_STUDIES = 512  # of the train split, by a model that starts from the data
SEEN_BATCH = 64
DONE = "train.json"  # a training's last file
TRAINED = (WEIGHTS, "curve.csv", "losses.csv", "timing.json", DONE)  # all that it leaves


def keep_freed_memory() -> None:
    """Tell glibc to reuse freed memory at once rather than give it back to the system.

    Every step frees and takes the same tens of megabytes; without this the system zeroes them
    anew each time (a tenth of a small step, more of a large one). Changes no number.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return
    for option, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1)):
        mallopt(option, value)


def exact_arithmetic(deterministic: bool) -> None:
    """What a CUDA device may not do to save time: round float32 products to TF32 (a run is fp32, or
    bf16 through autocast); and in a deterministic run, choose kernels by trial or add up in any
    order. Says nothing to a CPU."""
    import torch

    # Read when cuBLAS starts; without it deterministic products are refused.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = not deterministic
    torch.use_deterministic_algorithms(deterministic)


def _cores() -> int:
    """This process's share of the machine's cores."""
    return max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def initial_model(spec: RunSpec, work: Workspace) -> Any:
    """The model before its first step: the same for the same spec and seed."""
    import torch

    from bench.model import build_model

    keep_freed_memory()
    torch.set_num_threads(spec.train.threads or _cores())
    exact_arithmetic(spec.deterministic)
    # Deterministic mode also fills new tensors, which costs a tenth of a step; nothing here
    # reads memory that it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Building the tokenizer may draw random numbers, once a process: before the seed is set.
    opened = work.open(spec)
    tokenizer = opened.tokenizer
    torch.manual_seed(spec.derived_seed("initial"))
    model = build_model(
        spec.model,
        work.paths(spec.model.weights),
        len(opened.vocabulary) + 1,
        spec.data.max_length,
        tokenizer,
    )
    if hasattr(model, "prepare"):  # a model with a text tokenizer of its own
        model.prepare(cleaned_reports(opened.dataset, "train"))
    return model


def rerun(spec: RunSpec, work: Workspace, folder: RunFolder, steps: int) -> list[dict[str, float]]:
    """The rows of losses.csv after the first steps of a training, repeated in another folder."""
    model = initial_model(spec, work)
    return open_training(spec, model, work, folder).first_losses(steps)


def trained_model(spec: RunSpec, work: Workspace, folder: RunFolder) -> Any:
    """The model with its selected weights, in evaluation mode; trained first where it is not."""
    from bench.engine.checkpoint import load_weights
    from bench.engine.parallel import here

    model = initial_model(spec, work)
    if not (folder / DONE).exists() and not _taken_over(spec, work, folder):
        here().told(lambda: to_dict(spec))  # the other processes begin it, too
        open_training(spec, model, work, folder, here()).run()
    model.to(work.device).eval()
    load_weights(sealed(folder / WEIGHTS), model)
    if switches := read_json(folder / DONE)["best"]["switches"]:
        model.switch(**switches)
    return model


def _taken_over(spec: RunSpec, work: Workspace, folder: RunFolder) -> bool:
    """Whether the run's training was done for another run, whose files are this one's now."""
    (folder / ENVIRONMENT).unlink(missing_ok=True)  # of a taking over that was killed
    other = next(_of_same_training(spec, work.out, folder.run_id), None)
    if other is None:
        return False
    source = made_in(other)
    write_json(folder / ENVIRONMENT, {TRAINING: {RUN: other.run_id, **source}})
    for name in TRAINED:
        write_atomic(folder / name, sealed(other / name).read_bytes())
    return True


def _of_same_training(spec: RunSpec, out: Path, own: str) -> Iterator[RunFolder]:
    """Sealed runs whose training is a run's, seed and initial weights included, with weights."""
    wanted = spec.training.run_id
    for name in sorted((p.parent.name for p in out.glob(f"*/{DONE}")), key=lambda x: x != wanted):
        other = RunFolder(out, name)
        try:
            same = name != own and load_spec(other).training == spec.training
        except BenchError:  # a damaged run, which is not ours to repair
            continue
        if same and other.manifest is not None and not other.left_behind:
            yield other


def open_training(
    spec: RunSpec, model: Any, work: Workspace, folder: RunFolder, world: World | None = None
) -> Training:
    """A training in its folder; `world`: of the processes that share it."""
    from bench.engine.parallel import ALONE
    from bench.engine.train import Training
    from bench.engine.validation import Validation
    from bench.model import image_spec

    images = image_spec(model)
    splits = {
        name: open_split(spec, images, work, name, train=name == "train")
        for name in ("train", "val")
    }
    if hasattr(model, "see"):  # a model that starts from the data
        model.see(_first_images(splits["train"]))
    opened = work.open(spec)
    validation = Validation(spec, splits["val"], opened.vocabulary, opened.treatment, work.device)
    device, train = work.device, splits["train"]
    return Training(spec, model, train, validation, folder, device, work.say, world or ALONE)


def _first_images(split: Split) -> Any:
    """Images (N, C, H, W), or features (N, L, c), of the split's first studies, all views."""
    import torch

    batches = islice(split.batches(SEEN_BATCH, "cpu"), -(-SEEN_STUDIES // SEEN_BATCH))
    return torch.cat([batch.images.flatten(0, 1) for batch in batches])


def open_split(spec: RunSpec, images: ImageSpec, work: Workspace, name: str, train: bool) -> Split:
    """A split as the model wants to see it, from the caches."""
    from bench.data.batches import Pixels, Split
    from bench.data.codes import open_codes

    opened = work.open(spec)
    dataset, studies = opened.dataset, opened.dataset.split(name)
    views: Views
    if images.kind != "pixels":
        assert opened.tokenizer is not None
        views = open_codes(
            dataset,
            studies,
            images,
            opened.tokenizer,
            digest(spec.tokenizer),
            spec.train.crops,
            train,
            work.cache,
            work.device,
        )
    else:
        views = Pixels.open(dataset, studies, images, train, work.cache)
    return Split(dataset, studies, opened.vocabulary, spec.data.max_length, views)
