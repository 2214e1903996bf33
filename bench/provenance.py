"""Where a number comes from: the code that matters, and the machine that ran it."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import io
import os
import platform
import subprocess
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Harness modules whose change can change a training or its predictions.
TRAINING = (
    "bench.train",
    "bench.decode",
    "bench.data.batches",
    "bench.data.codes",
    "bench.data.text",
)
# Likewise of a floor's reports: its texts, its pictures, and how a constant is chosen.
FLOORS = ("bench.data.text", "bench.data.images", "bench.metrics.bleu")
OWN = ("bench", "baselines", "uar", "mgca")
PACKAGES = ("torch", "torchvision", "numpy", "pandas", "transformers", "pycocoevalcap", "radgraph")


def code_digest(*modules: str) -> str:
    """sha256 over the project's source files that `modules` import, directly or not.

    Comments, docstrings and blank lines do not count, so that they can be mended without making
    every published row look like another program's.
    """
    total = hashlib.sha256()
    for name in sorted(_closure(modules)):
        total.update(f"{name}\n".encode())
        total.update(_code_lines(_source(name)).encode())
    return total.hexdigest()


def _closure(modules: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    todo = list(modules)
    while todo:
        name = todo.pop()
        if name in found or not _source(name).exists():
            continue
        found.add(name)
        todo.extend(_imports(name))
    return found


def _source(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _imports(module: str) -> tuple[str, ...]:
    """The project's own modules that a module names in an import statement, at any depth."""
    names: list[str] = []
    for node in ast.walk(ast.parse(_source(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(n for n in names if n.partition(".")[0] in OWN)


@cache
def _code_lines(path: Path) -> str:
    """The source without comments, docstrings and blank lines.

    Cut out of the text, since a dump of the syntax tree is another in each version of Python.
    """
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for first, last in _docstrings(text):
        lines[first - 1 : last] = [""] * (last - first + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _docstrings(text: str) -> Iterator[tuple[int, int]]:
    """First and last line of each docstring."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            yield node.body[0].lineno, node.body[0].end_lineno or node.body[0].lineno


def commit() -> str:
    """The checkout's commit, with "+dirty" when tracked files differ; "" outside a checkout."""
    try:
        head = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "*.py", "*.yaml")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+dirty" if changed else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def environment() -> dict[str, Any]:
    """Machine, packages and commit: goes to env.json, never into an identity."""
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": processor(),
        "cores": os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
        **_accelerator(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's model name."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")


def _accelerator() -> dict[str, Any]:
    import torch

    threads = {"threads": torch.get_num_threads()}
    if not torch.cuda.is_available():
        return {"device": "cpu", **threads}
    return {"device": torch.cuda.get_device_name(0), "cuda": torch.version.cuda, **threads}
