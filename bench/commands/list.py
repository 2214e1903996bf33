"""List what is known: models, suites, datasets, metrics, papers, budgets, sizes, floors."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.config import METRIC, files, folders, load_yaml
from bench.errors import unknown

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
            print(f"  {line}")
    return 0


def _lines(kind: str) -> list[str]:
    if kind == "metrics":
        from bench.metrics import registry

        own = files(METRIC)
        return [f"{n}{_origin(own[n]) if n in own else ''}" for n in registry.names()]
    group = GROUPS[kind]
    known = files(group)
    width = max(map(len, known), default=0)
    return [f"{n:<{width}}  {_about(group, n)}{_origin(known[n])}".rstrip() for n in known]


def _about(group: str, name: str) -> str:
    """What a YAML says of itself: its title or source, else its first comment."""
    entry = load_yaml(group, name)
    if text := entry.get("title") or entry.get("source"):
        return str(text)
    first = files(group)[name].read_text(encoding="utf-8").splitlines()[:1]
    comment = [line.removeprefix("# ") for line in first if line.startswith("# ")]
    return comment[0] if comment else str(entry.get("_target_", ""))


def _origin(path: Path) -> str:
    """Where a file lies that is not the project's own."""
    return "" if path.is_relative_to(folders()[0]) else f"  [{path}]"
