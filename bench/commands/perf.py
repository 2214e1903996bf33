"""Timings of this machine, each kind paired in one run; medians of repeats that take turns.

decode   our decoder against one that recomputes every prefix: same weights, same images
models   every model: training, decoding, memory, FLOPs, share of the measured matmul rate
mgca     a pretraining step, the losses' share of it, aggregation against a loop
pipeline the share of a training step in which the model waits for its batch
score    every metric on so many pairs: cold (its first call), warm (other reports), kept (again)

Models have random weights and see random pixels, or codes; their reports are as long as they may
be. key=value settings are those of `bench run`: size=tiny, budget.batch=8, model=uar.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from bench.config import compose, names
from bench.errors import RunError
from bench.metrics import available, registry
from bench.settings import ranged
from bench.terminal import table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("decode", "mgca", "models", "pipeline", "score"))
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. size=tiny")
    parser.add_argument("--repeats", type=ranged(1, 10_000), default=5, help="of each timing")
    parser.add_argument("--studies", type=ranged(1, 100_000), default=16, help="decoded at once")
    steps = ranged(1, 100_000)
    parser.add_argument("--steps", type=steps, default=30, help="of `perf pipeline`, each way")
    parser.add_argument("--only", default="", help="models or metrics, by commas")
    parser.add_argument(
        "--pairs", type=_sizes, default="600,4000", help="of `perf score`, by commas"
    )


def _sizes(text: str) -> list[int]:
    return [ranged(1, 1_000_000)(size) for size in text.split(",")]


def run(arguments: argparse.Namespace) -> int:
    works = {
        "decode": decode,
        "mgca": mgca,
        "models": models,
        "pipeline": pipeline,
        "score": score,
    }
    print(works[arguments.what](arguments))
    return 0


def decode(arguments: argparse.Namespace) -> str:
    """Seconds and reports/s of both decoders, their ratio, and whether they say the same."""
    from bench.engine.decode import generate, lay_out
    from bench.perf.models import Built, medians
    from bench.perf.oracle import decode_slowly

    built = Built.of(arguments.overrides, arguments.studies)
    model, images, how = built.model.eval(), built.batch.images, built.decode
    lay_out(model)
    written: dict[str, list[list[int]]] = {}

    def keep(name: str, decoder: Callable[..., list[list[int]]]) -> Callable[[], None]:
        return lambda: written.update({name: decoder(model, images, how)})

    works = {"incremental": keep("incremental", generate),
             "recomputing": keep("recomputing", decode_slowly)}  # fmt: skip
    seconds = medians(works, arguments.repeats, built.wait)
    ours, slow = written["incremental"], written["recomputing"]
    equal = sum(a == b for a, b in zip(ours, slow, strict=True))
    words = sum(map(len, ours)) / len(ours)
    title = (
        f"{built.name}, {built.about}: {len(images)} studies, {how.method} {how.beam_size}, "
        f"{words:.0f} words a report, median of {arguments.repeats}"
    )
    rows = [[name, f"{s:.3f}", f"{len(images) / s:.1f}"] for name, s in seconds.items()]
    text = table(title, ["decoder", "seconds", "reports/s"], rows)
    ratio = seconds["recomputing"] / seconds["incremental"]
    text += f"\nratio {ratio:.1f}; equal token for token: {equal} of {len(ours)} reports"
    if equal < len(ours):
        raise RunError(f"{text}\nthe decoders disagree", "run pytest tests/test_decode.py")
    return text


def mgca(arguments: argparse.Namespace) -> str:
    """MGCA's pretraining; model=mgca_vit for its other branch."""
    from bench.perf.mgca import measured

    return measured(arguments.overrides, arguments.repeats)


def pipeline(arguments: argparse.Namespace) -> str:
    """Waiting for batches, before and after they are prepared ahead."""
    from bench.perf.pipeline import measured

    return measured(arguments.overrides, arguments.steps)


def models(arguments: argparse.Namespace) -> str:
    """Each model in a process of its own, so that its peak of memory is its own."""
    from bench.perf.models import measured

    rows, machine = [], ""
    for name in chosen(arguments.only, [n for n in names("model") if writes(n)]):
        overrides = [f"model={name}", *arguments.overrides]
        found = alone(measured, overrides, arguments.studies, arguments.repeats)
        rows.append([name, *found["cells"]])
        machine = machine or found["machine"]
    head = ["model", "parameters", "FLOPs/example", "train ex./s", "share", "reports/s", "peak MB"]
    title = f"{machine}\nmedian of {arguments.repeats}; share: of the matmul rate, in training"
    return table(title, head, rows)


def writes(model: str) -> bool:
    """Whether a model of conf/model writes reports; the others are pretrainings."""
    return bool(compose([f"model={model}"])["model"].get("kind", "train") == "train")


def score(arguments: argparse.Namespace) -> str:
    """Each metric in a fresh process: it starts its programs and knows no answer."""
    sizes = arguments.pairs
    rows = []
    for name in chosen(arguments.only, [n for n in registry.names() if available.reads_text(n)]):
        cells = [name]
        for pairs in sizes:
            cells += alone(score_seconds, name, pairs)
        rows.append(cells)
    head = ["metric", *(f"{when} {n:,}" for n in sizes for when in ("cold", "warm", "kept"))]
    return table("seconds, all text treatments of each metric, by pairs", head, rows)


def score_seconds(name: str, pairs: int) -> list[str]:
    """Seconds of the first call, of one with other reports, and of that one again."""
    from bench.data.synthetic import load
    from bench.data.text import vocabulary
    from bench.errors import MissingError
    from bench.metrics.scoring import score as score_reports

    try:
        registry.load(name).require()
    except MissingError:
        return ["-"] * 3
    dataset = load(train=2 * pairs, val=1, test=pairs)
    words = vocabulary(dataset)
    reports = [study.report for study in dataset.split("train")]
    ids = [study.id for study in dataset.split("test")]
    first, second = (dict(zip(ids, part, strict=True)) for part in (reports[::2], reports[1::2]))
    seconds = []
    for predictions in (first, second, second):
        start = time.perf_counter()
        score_reports(predictions, dataset, "test", [name], words=words)
        seconds.append(f"{time.perf_counter() - start:.2f}")
    return seconds


def alone(work: Callable[..., Any], *given: Any) -> Any:
    """The result of a function in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def chosen(only: str, known: Sequence[str]) -> list[str]:
    """`only`, names by commas, or all that are known."""
    from bench.errors import unknown

    wanted = [name for name in only.split(",") if name]
    for name in wanted:
        if name not in known:
            raise unknown("name", name, known)
    return wanted or list(known)
