"""Execute one run from its spec.json: train, predict, score, seal under the run's own id."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.canonical import from_dict
from bench.errors import BenchError
from bench.metrics import available
from bench.runs.workspace import Workspace, default_cache, default_out
from bench.spec import RunSpec
from bench.store import read_json
from bench.suites.work import Job
from bench.terminal import Progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", type=Path, help="spec.json of a run")
    parser.add_argument("--until", choices=("train", "score"), default="score")
    parser.add_argument("--out", type=Path, default=default_out(), help="folder of the runs")
    parser.add_argument("--cache", type=Path, default=default_cache())


def run(arguments: argparse.Namespace) -> int:
    from bench.perf.trial import refuse_unfit

    if not arguments.spec.is_file():
        raise BenchError(f"no file {arguments.spec}", "give the spec.json of a run's folder")
    spec = from_dict(RunSpec, read_json(arguments.spec), str(arguments.spec))
    progress = Progress()
    work = Workspace(arguments.out, arguments.cache, progress.say)
    refuse_unfit([spec], work)
    job = Job(work, progress, available.unasked())
    job.one(spec, arguments.until == "score" and spec.kind != "pretrain")
    print(f"sealed {arguments.out / spec.run_id}")
    return 0
