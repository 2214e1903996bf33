"""Check a dataset against its manifest, or prepare it from its public release.

check DATASET      counts, hashes, damage, leakage; exit code 3 when something fails
prepare iu_xray    build R2Gen's layout from the public release, verified
prepare mimic_cxr  gather the sections of all reports in one file, so that they open in seconds
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.data import data_root, mimic_cxr
from bench.data.check import Report, check, check_iu_xray, check_mimic_cxr
from bench.data.prepare import prepare_iu_xray
from bench.data.registry import open_dataset
from bench.errors import BenchError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("check", "prepare"))
    parser.add_argument("dataset", help="a dataset of `bench list datasets`")
    parser.add_argument("--out", type=Path, default=Path("prepared"), help="folder of `prepare`")
    parser.add_argument("--copy", action="store_true", help="copy images instead of linking them")


def run(arguments: argparse.Namespace) -> int:
    if arguments.action == "prepare":
        return _prepare(arguments)
    report = _check(arguments.dataset)
    print(report.render())
    return 3 if report.status == "fail" else 0


def _check(name: str) -> Report:
    if name.startswith("iu_xray"):
        return check_iu_xray(data_root(), name)
    if name == "mimic_cxr":
        return check_mimic_cxr(data_root())
    return check(open_dataset(name))


def _prepare(arguments: argparse.Namespace) -> int:
    if arguments.dataset.startswith(mimic_cxr.NAME):
        print(f"wrote {mimic_cxr.prepare(data_root())}")
        return 0
    if not arguments.dataset.startswith("iu_xray"):
        raise BenchError(
            f"{arguments.dataset} needs no preparation",
            "its images are drawn when they are needed",
        )
    folder = prepare_iu_xray(data_root(), arguments.out, arguments.copy)
    print(f"wrote {folder}\nuse it with BENCH_DATA={arguments.out}")
    return 0
