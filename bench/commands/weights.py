"""Pretrained weights: what is known, what is here, adding and verifying files.

list                 every known name and whether its file is here
add NAME FILE        copy a file, and those that must lie beside it, into the weights folder and
                     record its sha256
verify [NAME ...]    hash what is here and compare with lock and record
fetch NAME           download from the lock's public address, with resume and digest check
import KIND FILE [NAME]
                     turn an official checkpoint (r2gen, r2gencmn, openai-dvae, mgca) into
                     safetensors, without running any code that it may hold; its name is
                     KIND-FILE where none is given
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import weights
from bench.errors import BenchError, DataError, unknown
from bench.targets import resolve
from bench.terminal import counting

# kind -> function (kind, source, target) of the package that knows the layout
IMPORTERS = {
    "r2gen": "baselines.checkpoints.import_checkpoint",
    "r2gencmn": "baselines.checkpoints.import_checkpoint",
    "openai-dvae": "uar.openai.import_checkpoint",
    "mgca": "mgca.checkpoints.import_checkpoint",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "add", "verify", "fetch", "import"))
    parser.add_argument("names", nargs="*", metavar="NAME|FILE")


def run(arguments: argparse.Namespace) -> int:
    action = {"list": _list, "add": _add, "verify": _verify, "fetch": _fetch, "import": _import}
    return action[arguments.action](arguments.names)


def _list(given: list[str]) -> int:
    print(weights.render(weights.listing()))
    return 0


def _verify(given: list[str]) -> int:
    rows = weights.verify(given)
    print(weights.render(rows))
    bad = [r for r in rows if r.state not in ("missing", "verified", "here") and r.digest]
    absent = [r for r in rows if r.state == "missing" and given]  # named, and not here
    return 3 if absent or any("no digest" not in r.state for r in bad) else 0


def _add(given: list[str]) -> int:
    name, file = _two(given, "bench weights add NAME FILE")
    _say(name, weights.add(name, Path(file)))
    return 0


def _fetch(given: list[str]) -> int:
    if len(given) != 1:
        raise BenchError("fetch takes one name", "bench weights fetch NAME")
    from bench.weights.fetch import fetch

    with counting(given[0], "MB", 1e6) as progress:
        found = fetch(given[0], progress)
    _say(given[0], found)
    return 0


def _import(given: list[str]) -> int:
    if len(given) not in (2, 3):
        raise BenchError(
            f"expected two or three arguments, got {len(given)}",
            "bench weights import KIND FILE [NAME]",
        )
    kind, source = given[0], Path(given[1])
    if kind not in IMPORTERS:
        raise unknown("kind of checkpoint", kind, IMPORTERS)
    if not source.is_file():
        raise BenchError(f"no file {source}", "give the path of the official checkpoint")
    name = given[2] if len(given) == 3 else f"{kind}-{source.stem}".lower()
    try:
        weights.refuse_name(name)
    except BenchError as error:
        raise BenchError(error.message, f"bench weights import {kind} FILE NAME") from None
    _say(name, _imported(kind, source, name))
    return 0


def _imported(kind: str, source: Path, name: str) -> weights.Resolved:
    """Made aside and then added: a name that is refused leaves no file, and changes none."""
    importer: Any = resolve(IMPORTERS[kind])
    with TemporaryDirectory(prefix=".import-", dir=weights.made_folder()) as place:
        target = Path(place) / f"{name}.safetensors"
        try:
            importer(kind, source, target)
        except ValueError as error:
            raise DataError(str(error), "get the authors' file again, or check the kind") from error
        return weights.add(name, target)


def _two(given: list[str], usage: str) -> tuple[str, str]:
    if len(given) != 2:
        raise BenchError(f"expected two arguments, got {len(given)}", usage)
    return given[0], given[1]


def _say(name: str, found: weights.Resolved) -> None:
    print(f"{name}: {found.path}\nsha256 {found.digest}")
