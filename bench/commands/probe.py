"""Transfer of an image encoder: linear probes of its frozen features at 1, 10 and 100 % of labels.

SOURCE is a sealed pretraining (its run id, or the beginning of it), the name of weights that
`bench weights list` knows, or `random`. A pretraining is probed as it was trained, random values
and named weights in the encoder of a pretraining model (model=mgca unless told otherwise); beside
it stand random values of three seeds. With dataset=NAME a pretraining is probed on other data.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import weights
from bench.errors import BenchError
from bench.pretraining.appraise import probed, render, retrieve, takes_part
from bench.runs.workspace import RANDOM, Workspace, default_cache, default_out
from bench.spec import RunSpec
from bench.store import WEIGHTS, RunFolder, find_run, load_spec, write_json
from bench.suites.composer import Composer

MODEL = "mgca"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="run id of a pretraining, name of weights, or random")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. dataset=iu_xray")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--out", type=Path, default=default_out(), help="folder of the runs")
    parser.add_argument("--cache", type=Path, default=default_cache())


def run(arguments: argparse.Namespace) -> int:
    work = Workspace(arguments.out, arguments.cache)
    folder = pretraining(work.out, arguments.source)
    found: dict[str, Any] = {}
    if folder is not None:
        spec = _of_run(folder, work, arguments.overrides)
        found["retrieval"] = retrieve(spec, work, folder)
        found["probe"] = probed(spec, work, folder / WEIGHTS)
    else:
        spec = _of_yaml(work, arguments.overrides)
        name = None if arguments.source == RANDOM else arguments.source
        found["probe"] = probed(spec, work, work.path(work.reference(name)))
    print(render(found))
    if arguments.json:
        write_json(arguments.json, found)
    return 0


def pretraining(out: Path, name: str) -> RunFolder | None:
    """The sealed run whose id begins with `name`; None for `random` and for names of weights."""
    known = weights.entries()
    if name == RANDOM or name in known:
        return None
    return find_run(out, name, "pretraining or weights", [RANDOM, *known])


def _of_run(folder: RunFolder, work: Workspace, overrides: list[str]) -> RunSpec:
    spec = load_spec(folder)
    if spec.kind != "pretrain" or not takes_part(spec):
        raise BenchError(
            f"{folder.run_id} is not a pretraining of an image encoder", "see `bench pretrain mgca`"
        )
    if any(o.startswith("dataset") for o in overrides):
        spec = replace(spec, data=_of_yaml(work, overrides).data)
    return spec


def _of_yaml(work: Workspace, overrides: list[str]) -> RunSpec:
    chosen = [o.partition("=")[2] for o in overrides if o.startswith("model=")]
    others = [o for o in overrides if not o.startswith("model=")]
    return Composer(work, None, others).pretraining(chosen[-1] if chosen else MODEL, asked=True)
