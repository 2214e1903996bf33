"""Check a dataset against its manifest, or prepare it from its public release.

check DATASET      counts, hashes, damage, leakage; exit code 3 when something fails; `--images`
                   also reads every image file again and compares it with the image caches
prepare DATASET    iu_xray: build R2Gen's layout from the public release, verified
                   mimic_cxr: gather the sections of all reports in one file, to open in seconds

What is done for a dataset its YAML names as `check` and `prepare`; `dataset.KEY=value` changes a
parameter of its reader, as `bench run` takes it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.data.check import Report
from bench.data.registry import check_dataset, chosen_dataset, prepare_dataset, split_overrides
from bench.data.sources import compare_sources
from bench.runs.workspace import default_cache
from bench.terminal import painted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("check", "prepare"))
    parser.add_argument("dataset", help="a dataset of `bench list datasets`")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="e.g. dataset.subset=present"
    )
    parser.add_argument("--out", type=Path, default=Path("prepared"), help="folder of `prepare`")
    parser.add_argument("--images", action="store_true", help="of `check`: files against caches")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="for --images")
    parser.add_argument("--copy", action="store_true", help="copy images instead of linking them")


def run(arguments: argparse.Namespace) -> int:
    settings = split_overrides(arguments.settings)
    if arguments.action == "prepare":
        written = prepare_dataset(arguments.dataset, arguments.out, arguments.copy, settings)
        print(f"wrote {written}")
        if written.is_relative_to(arguments.out):
            print(f"use it with BENCH_DATA={arguments.out}")
        return 0
    report = check_dataset(arguments.dataset, settings)
    if arguments.images and report.status != "fail":
        data = chosen_dataset({"dataset": arguments.dataset, **settings})
        report = Report(report.dataset, (*report.findings, compare_sources(data, arguments.cache)))
    print("\n".join(map(painted, report.render().splitlines())))
    return 3 if report.status == "fail" else 0
