"""Models of the YAML files built for timing: random weights, random inputs of the right shape."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor

from bench.canonical import from_dict
from bench.config import compose, load_yaml, tokenizer_name
from bench.engine.decode import generate, lay_out
from bench.engine.flops import FlopCounter
from bench.engine.meter import peak_memory_mb
from bench.engine.optimiser import build_optimizer
from bench.model import (
    Batch,
    Extractor,
    ImageSpec,
    Tokenizer,
    build_model,
    image_spec,
)
from bench.runs.training import keep_freed_memory
from bench.spec import DecodeSpec, OptimizerSpec, PartSpec
from bench.targets import resolve

WORDS = 760  # of IU X-ray
LENGTH = 60  # ids a report, likewise
CODES = 8192  # of an image tokenizer that the harness does not train (OpenAI's)


@dataclass
class Built:
    """A model with a batch for training, on the device, and what the configuration says of both."""

    name: str
    model: Any
    batch: Batch
    losses: dict[str, float]
    decode: DecodeSpec
    precision: str
    device: str

    @classmethod
    def of(cls, overrides: Sequence[str], studies: int) -> Built:
        """`studies` in the batch; 0: as many as the budget preset's batches have."""
        config = compose(overrides)
        entry, device = config["model"], "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_num_threads(config["budget"]["threads"] or os.cpu_count() or 1)
        keep_freed_memory()
        torch.manual_seed(0)
        count = studies or config["budget"]["batch"]
        name = tokenizer_name(config)
        tokenizer = _tokenizer(name, overrides) if name else None
        weights = {} if tokenizer else dict.fromkeys(entry.get("weights") or {})
        part = PartSpec(entry["_target_"], entry.get("params") or {})
        model: Any = build_model(part, weights, WORDS + 1, LENGTH, tokenizer)
        stages = entry.get("stages", "plain")
        stage = (load_yaml("stages", stages)["stages"] if isinstance(stages, str) else stages)[-1]
        if stage.get("switches"):
            model.switch(**stage["switches"])
        given = {k: v for k, v in config["decode"].items() if v is not None}
        return cls(
            name=entry["name"],
            model=model.to(device),
            batch=_batch(image_spec(model), tokenizer, count, device),
            losses=stage["losses"],
            decode=from_dict(DecodeSpec, {"max_length": LENGTH, **given}, "decode"),
            precision=config["budget"]["precision"],
            device=device,
        )

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    @property
    def about(self) -> str:
        """The machine as far as timings depend on it."""
        if self.device == "cuda":
            return f"{torch.cuda.get_device_name(0)}, {self.precision}"
        return f"CPU ({platform.machine()}), {torch.get_num_threads()} threads, {self.precision}"


def _tokenizer(name: str, overrides: Sequence[str]) -> Tokenizer | Extractor:
    """What a model needs to know of its image tokenizer; no picture is tokenised."""
    entry = load_yaml("image_tokenizer", name)
    own = [w for w in (entry.get("weights") or {}).values() if w and w.startswith("pretrain:")]
    others = [o for o in overrides if not o.startswith("model")]
    shapes = [compose([f"model={w.removeprefix('pretrain:')}", *others])["model"] for w in own]
    size = shapes[0]["params"]["codebook_size"] if shapes else CODES
    target = resolve(entry["_target_"])
    if hasattr(target, "features"):
        return cast(Extractor, target(**entry["params"]))
    factor = target.factor
    return cast(Tokenizer, SimpleNamespace(codebook_size=size, factor=factor))


def _batch(
    image: ImageSpec, tokenizer: Tokenizer | Extractor | None, count: int, device: str
) -> Batch:
    """Reports of LENGTH ids, the last one an end."""
    tokens = torch.randint(1, WORDS + 1, (count, LENGTH))
    tokens[:, 0] = tokens[:, -1] = 0
    lengths = torch.full((count,), LENGTH)
    images = _images(image, tokenizer, count).to(device)
    return Batch(images, tokens.to(device), lengths.to(device), ["no report"] * count, 0.5)


def _images(image: ImageSpec, tokenizer: Tokenizer | Extractor | None, count: int) -> Tensor:
    if image.kind == "features":
        return torch.rand(count, image.views, *cast(Extractor, tokenizer).feature_shape)
    if image.kind == "codes":
        tokenizer = cast(Tokenizer, tokenizer)
        length = (image.size // tokenizer.factor) ** 2
        return torch.randint(0, tokenizer.codebook_size, (count, image.views, length))
    return torch.randn(count, image.views, image.channels, image.size, image.size)


# --- timing ------------------------------------------------------------------------------------


def medians(
    works: Mapping[str, Callable[[], Any]], repeats: int, wait: Callable[[], None]
) -> dict[str, float]:
    """Median seconds of each; they take turns, so that a busy moment falls on all of them.

    `wait` returns when the device is done. One round before is not counted.
    """
    found: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            wait()
            if turn:
                found[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def measured(overrides: Sequence[str], studies: int, repeats: int) -> dict[str, Any]:
    """A row of `perf models`, and a line about the machine; run in a process of its own."""
    built = Built.of(overrides, 0)
    examples = len(built.batch.lengths)
    once = partial(step, built, optimizer(built))
    with FlopCounter() as counter:
        once()
    flops = counter.total / examples
    rates = {name: matmul_rate(built.device, name, repeats) for name in ("fp32", "bf16")}
    seconds = medians({"train": once}, repeats, built.wait)
    images, model = built.batch.images[:studies], built.model.eval()
    lay_out(model)
    seconds |= medians(
        {"decode": lambda: generate(model, images, built.decode)}, repeats, built.wait
    )
    share = flops * examples / seconds["train"] / rates[built.precision]
    parameters = sum(p.numel() for p in built.model.parameters())
    cells = [
        f"{parameters / 1e6:.2f} M",
        f"{flops / 1e9:.3f} G",
        f"{examples / seconds['train']:.1f}",
        f"{share:.0%}",
        f"{len(images) / seconds['decode']:.1f}",
        f"{peak_memory_mb(built.device):.0f}",
    ]
    matmul = ", ".join(f"{name} {rate / 1e9:,.0f} GFLOP/s" for name, rate in rates.items())
    how = f"batches of {examples}, {len(images)} decoded at once, {built.decode.beam_size} beams"
    return {"cells": cells, "machine": f"{built.about}; matmul: {matmul}; {how}"}


def optimizer(built: Built) -> torch.optim.Optimizer:
    """Any will do: at a rate of zero the weights stay what they are."""
    spec = OptimizerSpec(rates={"rest": 0.0})
    return build_optimizer(built.model.groups(), spec, getattr(built.model, "GROUPS", ()))


def step(built: Built, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=True)
    bf16 = built.precision == "bf16"
    with torch.autocast(built.device, dtype=torch.bfloat16, enabled=bf16):
        terms = built.model.loss(built.batch)
    used = [built.losses[k] * v for k, v in terms.items() if built.losses.get(k)]
    torch.stack(used).sum().backward()
    optimizer.step()


def matmul_rate(device: str, precision: str, repeats: int) -> float:
    """FLOP/s of a square matrix product: the most that a model could reach here."""
    size = 8192 if device == "cuda" else 1024
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    a, b = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    return 2 * size**3 / medians({"": lambda: a @ b}, repeats, wait)[""]
