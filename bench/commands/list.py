"""List what is known: models, suites, datasets, metrics, papers, budgets, sizes, floors."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap

from bench.config import METRIC, files, folders, load_yaml
from bench.errors import unknown
from bench.terminal import room

GROUPS = {
    "models": "model",
    "suites": "suite",
    "datasets": "dataset",
    "papers": "paper",
    "budgets": "budget",
    "sizes": "size",
    "floors": "floor",
    "tokenizers": "image_tokenizer",
    "encoders": "encoder",
}
KINDS = (*GROUPS, "metrics")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", nargs="?", default="", help=f"one of {', '.join(KINDS)}")


def run(arguments: argparse.Namespace) -> int:
    if arguments.kind and arguments.kind not in KINDS:
        raise unknown("kind", arguments.kind, KINDS)
    for kind in [arguments.kind] if arguments.kind else KINDS:
        print(f"{kind}:")
        for line in _lines(kind):
            print(line)
    return 0


def _lines(kind: str) -> Iterator[str]:
    """A name and what it is, within the terminal."""
    if kind == "metrics":
        from bench.metrics import registry

        own = files(METRIC)
        yield from (f"  {n}{_origin(own[n]) if n in own else ''}" for n in registry.names())
        yield from (f"  not here: {name}: {why}" for name, why in registry.NOT_HERE.items())
        return
    group = GROUPS[kind]
    known = files(group)
    width = max(map(len, known), default=0)
    for name in known:
        text = f"{_about(group, name)}{_origin(known[name])}"
        first, *rest = wrap(text, room() - width - 4) or [""]
        yield f"  {name:<{width}}  {first}".rstrip()
        yield from (f"{'':{width + 4}}{line}" for line in rest)


def _about(group: str, name: str) -> str:
    """What a YAML says of itself: its title or source, else its first comment, whole sentences."""
    entry = load_yaml(group, name)
    if text := entry.get("title") or (group == "paper" and entry.get("source")):
        return str(text)
    lines = []
    for line in files(group)[name].read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return _sentence(" ".join(lines)) or str(entry.get("_target_", ""))


def _sentence(text: str) -> str:
    """The first sentence of a comment, without the period."""
    first = text.partition(". ")[0]
    return first.removesuffix(".")


def _origin(path: Path) -> str:
    """Where a file lies that is not the project's own."""
    return "" if path.is_relative_to(folders()[0]) else f"  [{path}]"
