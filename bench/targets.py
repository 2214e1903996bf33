"""Which import paths are followed: what a stranger's spec.json names is never imported for it.

An import path is followed when a YAML file of the project or of $BENCH_CONF names it, when an
override on the command line does, or when it is of a package that $BENCH_PACKAGES names.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from bench import config
from bench.errors import BenchError, unknown
from bench.settings import leaves

PACKAGES = "BENCH_PACKAGES"  # names of packages whose code is trusted, by commas
PARTS = ("model", "floor", "image_tokenizer", "encoder")  # groups whose `_target_` is a part
IN_PARAMETERS = (*PARTS, "size", "suite")  # groups whose values may name a part's own parts
OWN = config.OWN
_TARGET = re.compile(rf"\b_target_\s*:\s*[\"']?({config.IMPORT_PATH.pattern})")


def resolve(target: str, kind: str = "target", hint: str = "") -> Any:
    """The object at an import path such as "uar.model.UAR"; BenchError (of `kind`) if none is.

    Follows what it is given: a path out of a run's files goes through `follow`.
    """
    module, _, name = target.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BenchError(
            f"no such {kind}: {target!r} ({error})",
            hint or "`_target_` must be an importable path: package.module.name",
        ) from error


def follow(target: str, kind: str, groups: tuple[str, ...], hint: str = "") -> Any:
    """The object at an import path that may be followed; `groups`: of YAML that may name it."""
    if not _is_given(target):
        known = _targets(config.stamped(*groups))
        if target not in known:
            raise _refused(target, kind, known, hint)
    return resolve(target, kind, hint)


def refuse_strange(params: Any, where: str) -> None:
    """BenchError where parameters name an import path that is not to be followed."""
    known = None
    for text in import_paths(params):
        if _is_given(text) or not _is_importable(text):
            continue
        known = known or _texts(config.stamped(*IN_PARAMETERS))
        if text not in known:
            raise _refused(text, f"part of {where}", known)


def _is_given(target: str) -> bool:
    packages = [name.strip() for name in os.environ.get(PACKAGES, "").split(",")]
    return target in config.GIVEN or target.partition(".")[0] in filter(None, packages)


def _is_importable(target: str) -> bool:
    """Whether anything would be found under its first name; nothing is imported to see."""
    try:
        return importlib.util.find_spec(target.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def _refused(target: str, kind: str, known: frozenset[str], hint: str = "") -> BenchError:
    package = target.partition(".")[0]
    if package in OWN:
        return unknown(kind, target, known)
    if "." not in target or not _is_importable(target):
        return BenchError(
            f"no such {kind}: {target!r}",
            hint or "`_target_` must be an importable path: package.module.name",
        )
    return BenchError(
        f"{kind} {target!r} is neither of the project nor of a package that you named",
        f"nothing of it was imported; if you trust its code, set {PACKAGES}={package} "
        "(several by commas), or BENCH_CONF to the folder of YAML files that name it",
    )


def import_paths(value: Any) -> Iterator[str]:
    """Texts among values that have the form of import paths."""
    for item in leaves(value):
        if isinstance(item, str) and config.IMPORT_PATH.fullmatch(item):
            yield item


Files = tuple[tuple[Path, int], ...]


@lru_cache(maxsize=16)
def _targets(files: Files) -> frozenset[str]:
    """What YAML files have as `_target_`."""
    return frozenset(t for text in _uncommented(files) for t in _TARGET.findall(text))


@lru_cache(maxsize=16)
def _texts(files: Files) -> frozenset[str]:
    """All import paths in YAML files."""
    return frozenset(t for text in _uncommented(files) for t in config.IMPORT_PATH.findall(text))


def _uncommented(files: Files) -> Iterator[str]:
    for path, _ in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        yield "\n".join(re.split(r"(?:^|\s)#", line)[0] for line in text.split("\n"))
