"""Pretrain an image tokenizer (dvae) or an encoder (mgca) on the train split: sealed weights.

Validation and test images are never trained on. The digest of the sealed file enters the identity
of every run that uses it; what pretraining cost is metered and shown beside it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.config import refuse_repeated
from bench.pretraining.appraise import RESULTS, render
from bench.runs.workspace import Workspace, default_cache, default_out
from bench.store import WEIGHTS, RunFolder, file_digest, read_json
from bench.suites.composer import Composer
from bench.suites.work import Job
from bench.terminal import Progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a pretraining model of `bench list models`: dvae, mgca")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. dataset=iu_xray")
    parser.add_argument("--out", type=Path, default=default_out(), help="folder of the runs")
    parser.add_argument("--cache", type=Path, default=default_cache())


def run(arguments: argparse.Namespace) -> int:
    from bench.perf.trial import refuse_unfit

    refuse_repeated(arguments.overrides)
    progress = Progress()
    work = Workspace(arguments.out, arguments.cache, progress.say)
    job = Job(work, progress, metrics=())
    composer = Composer(work, job.pretrain, arguments.overrides)
    spec = composer.pretraining(arguments.model, asked=True)
    refuse_unfit([spec], work)
    job.pretrain(spec, appraised=True)
    folder = RunFolder(work.out, spec.run_id)
    train, timing = read_json(folder / "train.json"), read_json(folder / "timing.json")
    print(f"{arguments.model}: {folder / WEIGHTS}")
    print(f"sha256 {file_digest(folder / WEIGHTS)}")
    print(f"{train['examples']} examples, {timing['device_seconds']:.1f} device-seconds")
    print(f"\n{render(read_json(folder / RESULTS))}")
    for name in folder.files():
        if name.startswith("figures/") or name == RESULTS:
            print(f"see {folder / name}")
    return 0
