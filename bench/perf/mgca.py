"""`bench perf mgca`: a pretraining step, the losses' share of it, and aggregation beside a loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.data.leakage import cleaned_reports
from bench.data.synthetic import load
from bench.errors import RunError
from bench.model import Batch, construct, image_spec
from bench.perf.models import Built, medians, optimizer, step
from bench.perf.oracle import aggregate_slowly
from bench.runs.workspace import Workspace
from bench.spec import DecodeSpec
from bench.suites.composer import Composer
from bench.targets import resolve
from bench.terminal import table

AGGREGATE = "mgca.aggregate.aggregate"
REPORTS = 200  # of the embedded dataset: what a BERT from scratch learns its pieces from


def measured(overrides: Sequence[str], repeats: int) -> str:
    """Seconds of each part, their shares, and whether loop and tensors say the same."""
    made = built(overrides)
    tensors, loop = aggregations(made)
    works: dict[str, Callable[[], Any]] = {
        "step": partial(step, made, optimizer(made)),
        "losses": alignments(made),
        "tensors": tensors,
        "loop": loop,
    }
    seconds = medians(works, repeats, made.wait)
    names = {
        "step": "a step: forward, losses, backward, optimiser",
        "losses": "of it, the losses and their gradients",
        "tensors": "of it, aggregation of word pieces",
        "loop": "aggregation by a loop over samples and pieces",
    }
    rows = [
        [names[name], f"{s * 1e3:.2f}", f"{s / seconds['step']:.1%}"] for name, s in seconds.items()
    ]
    pairs = len(made.batch.texts)
    title = f"{made.name}, {made.about}: {pairs} pairs a step, median of {repeats}"
    text = table(title, ["part", "ms", "share of a step"], rows)
    ratio = seconds["loop"] / seconds["tensors"]
    return f"{text}\n{pairs / seconds['step']:.1f} pairs/s; loop / tensors {ratio:.1f}"


def built(overrides: Sequence[str]) -> Built:
    """A pretraining model with its own initial weights, random pixels, and synthetic reports."""
    chosen = [o.partition("=")[2] for o in overrides if o.startswith("model=")]
    name = chosen[-1] if chosen else "mgca"
    work = Workspace()
    others = [o for o in overrides if not o.startswith("model=")]
    spec = Composer(work, None, others).pretraining(name, asked=True)
    torch.set_num_threads(spec.train.threads or os.cpu_count() or 1)
    torch.manual_seed(0)
    model = construct(spec.model, work.paths(spec.model.weights), vocab_size=0, max_length=0)
    count, device = spec.train.batch, work.device
    texts = cleaned_reports(load(train=max(count, REPORTS), val=1, test=1), "train")
    model.prepare(texts)
    image = image_spec(model)
    images = torch.randn(count, image.views, image.channels, image.size, image.size)
    none = torch.zeros(count, 1, dtype=torch.long)
    batch = Batch(images.to(device), none, none[:, 0], texts[:count], 0.5)
    weights, precision = dict(spec.stages[-1].losses), spec.train.precision
    return Built(name, model.to(device).train(), batch, weights, DecodeSpec(), precision, device)


def alignments(made: Built) -> Callable[[], None]:
    """The losses of embeddings that are there already, back to these embeddings."""
    with torch.no_grad():
        pairs = made.model.embed(made.batch.images[:, 0], made.batch.texts)
    leaves = [x.requires_grad_() if _trained(x) else x for x in pairs]

    def work() -> None:
        terms = made.model.align(type(pairs)(*leaves), frozen=False)
        used = [made.losses[k] * v for k, v in terms.items() if made.losses.get(k)]
        torch.stack(used).sum().backward()

    return work


def _trained(value: Tensor | None) -> bool:
    """Embeddings (three or two axes, length 1) are not weights, which sum to 1."""
    return value is not None and value.is_floating_point() and bool((value < 0).any())


def aggregations(made: Built) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """By tensors and by a loop, on the same random vectors; RunError where they differ."""
    encoder, device = made.model.text_encoder, made.device
    ids = encoder.vocabulary.encode(made.batch.texts).to(device)
    hidden = torch.randn(*ids.shape, encoder.width, device=device)
    given = (hidden, torch.rand(ids.shape, device=device), encoder.vocabulary.continues[ids])
    tensors = partial(resolve(AGGREGATE), *given, ids != 0, shifted=False)
    loop = partial(aggregate_slowly, *given, ids != 0)
    words = tensors()
    for sample, (vectors, shares) in enumerate(loop()):
        pairs = [(words.vectors, vectors), (words.attention, shares)]
        for found, expected in pairs:
            if not torch.allclose(found[sample, : len(expected)], expected, atol=1e-5):
                raise RunError("the aggregations disagree", "run pytest tests/test_mgca_losses.py")
    return tensors, loop
