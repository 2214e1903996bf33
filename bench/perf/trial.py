"""One step of a training before its plan is printed: do its settings fit?

Ranges are checked at composition. What only shows in the model itself (heads that do not divide a
width, a constructor's own rules, shapes that do not go together) shows here; a training would meet
it after minutes of preparation. On the meta device, in tenths of a second and without memory; a
pretraining that reads texts takes its step on the CPU, with the weights that it begins from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from bench.canonical import digest
from bench.config import OWN
from bench.engine.objective import Objective
from bench.engine.optimiser import build_optimizer
from bench.engine.stages import switch
from bench.errors import BenchError, RunError
from bench.model import FAILURES, Batch, build_model, image_spec
from bench.perf.elsewhere import Trace, there
from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.store import RunFolder

STUDIES, WORDS = 2, 6  # of the step: shapes do not depend on more
_FIT: set[str] = set()  # settings that took their step in this process


def refuse_unfit(specs: Iterable[RunSpec], work: Workspace) -> None:
    """BenchError for a training, not begun yet, whose model cannot be built or take a step.

    Of the project's own models: one of somebody else may need more than the meta device has.
    """
    for spec in specs:
        parts = [spec.model, spec.tokenizer, spec.stages, spec.train.optimizer]
        key = digest([*parts, spec.data.max_length])
        if key not in _FIT and _is_own(spec) and RunFolder(work.out, spec.run_id).manifest is None:
            _try(spec, work)
            _FIT.add(key)


def _is_own(spec: RunSpec) -> bool:
    return spec.kind != "floor" and spec.model.target.partition(".")[0] in OWN


def _try(spec: RunSpec, work: Workspace) -> None:
    opened = work.open(spec)
    with named(spec):
        model = built(spec, work, len(opened.vocabulary) + 1, opened.tokenizer)
        build_optimizer(model.groups(), spec.train.optimizer, getattr(model, "GROUPS", ()))
        model.train()
        learns = hasattr(model, "prepare")  # a vocabulary of its own: lost on the meta device
        if learns:
            model.prepare(["no report ."])
        words = min(WORDS, spec.data.max_length)
        batch = shaped(model, STUDIES, words, opened.tokenizer, "cpu" if learns else "meta")
        for stage in spec.stages:
            switch(model, stage)
            with nullcontext() if learns else there(model), nullcontext() if learns else Trace():
                Objective(model)(batch, stage)[0].backward()


@contextmanager
def named(spec: RunSpec) -> Iterator[None]:
    """What a model's code stops at inside is a BenchError that names the model."""
    try:
        yield
    except RunError as error:  # what a training would stop at
        raise BenchError(error.message, error.hint) from error
    except (*FAILURES, AssertionError, AttributeError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise BenchError(
            f"{spec.model.target} takes no training step with these settings: {said}",
            "see `model.params`, `size` and `images`, and the constructor's docstring",
        ) from error


def built(spec: RunSpec, work: Workspace, ids: int, tokenizer: Any) -> Any:
    """The model of a trial: of the project's own a shape without values. A pretraining, whose text
    encoder may be somebody's BERT or learn a vocabulary, is built as it begins."""
    begins = spec.kind == "pretrain"
    is_shape = _is_own(spec) and not begins
    weights = work.paths(spec.model.weights) if begins else dict.fromkeys(spec.model.weights)
    with torch.device("meta") if is_shape else nullcontext():
        return build_model(spec.model, weights, ids, spec.data.max_length, tokenizer)


def shaped(model: Any, studies: int, words: int, tokenizer: Any, device: str = "meta") -> Batch:
    """A training step's batch of zeros."""
    image = image_spec(model)
    tokens = torch.zeros(studies, words, dtype=torch.long, device=device)
    shape: tuple[int, ...] = (image.channels, image.size, image.size)
    kind = torch.long if image.kind == "codes" else torch.float32
    if image.kind == "codes":
        shape = ((image.size // tokenizer.factor) ** 2,)
    elif image.kind == "features":
        shape = tokenizer.feature_shape
    images = torch.zeros(studies, image.views, *shape, dtype=kind, device=device)
    return Batch(images, tokens, tokens[:, 0], ["no report"] * studies, 0.5)
