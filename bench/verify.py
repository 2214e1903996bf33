"""Verify sealed runs: digests of every file, scores computed again, the first steps trained again.

Without RUN every run of the folder is verified. `--rescore` computes the scores again from the
predictions; `--rerun N` repeats the first N training steps and compares their losses bit for bit.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.errors import BenchError, unknown
from bench.execute import rerun
from bench.metrics.cache import keep
from bench.spec import RunSpec, from_dict
from bench.store import MANIFEST, RunFolder, read_json
from bench.workspace import Workspace, default_cache, default_out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", default="", help="run id, or its beginning")
    parser.add_argument("--rescore", action="store_true", help="compute the scores again")
    parser.add_argument("--rerun", type=int, default=0, metavar="N", help="repeat N steps")
    parser.add_argument("--out", type=Path, default=default_out(), help="folder of the runs")
    parser.add_argument("--cache", type=Path, default=default_cache())


def run(arguments: argparse.Namespace) -> int:
    work = Workspace(arguments.out, arguments.cache)
    keep(work.cache)
    problems: list[str] = []
    folders = find_runs(work.out, arguments.run)
    for folder in folders:
        found = folder.verify()
        if not found and arguments.rescore:
            found += _rescored(folder, work)
        if not found and arguments.rerun:
            found += _rerun(folder, work, arguments.rerun)
        print(f"{'ok  ' if not found else 'FAIL'} {folder.run_id}")
        problems += found
    for problem in problems:
        print(problem)
    print(f"{len(folders)} runs verified, {len(problems)} problems")
    return 3 if problems else 0


def find_runs(out: Path, prefix: str) -> list[RunFolder]:
    """Sealed runs whose id begins so; none is an error."""
    known = sorted(p.parent.name for p in out.glob(f"*/{MANIFEST}"))
    chosen = [name for name in known if name.startswith(prefix)]
    if not chosen:
        if prefix:
            raise unknown("run", prefix, known)
        raise BenchError(f"no sealed run in {out}", "run a suite first, or give --out")
    return [RunFolder(out, name) for name in chosen]


def load_spec(folder: RunFolder) -> RunSpec:
    """The spec of a run; one whose content is not that of the folder's name is refused."""
    spec = from_dict(RunSpec, read_json(folder / "spec.json"), "spec.json")
    if spec.run_id != folder.run_id:
        raise BenchError(
            f"{folder.path}/spec.json is the spec of {spec.run_id}", "the folder was altered"
        )
    return spec


def _rescored(folder: RunFolder, work: Workspace) -> list[str]:
    """Differences between the sealed scores and those computed now."""
    from bench.assess import FEATURES, rows_of

    spec = load_spec(folder)
    if not (folder / "scores.json").exists():
        return []
    sealed = read_json(folder / "scores.json")
    families = list(dict.fromkeys(r["family"] for r in sealed if r["protocol"] != FEATURES))
    now = {_key(row): row.get("value") for row in rows_of(spec, work, folder, families)}
    return [
        f"{folder.run_id}: {' '.join(_key(row))}: sealed {row.get('value')}, now {now[_key(row)]}"
        for row in sealed
        if now.get(_key(row)) != row.get("value")
    ]


def _key(row: dict[str, str]) -> tuple[str, ...]:
    return row["metric"], row["protocol"], row["stratum"], row["control"]


def _rerun(folder: RunFolder, work: Workspace, steps: int) -> list[str]:
    """Differences between the sealed losses of the first steps and those of a repetition."""
    spec = load_spec(folder)
    if spec.kind == "floor":
        return []
    with TemporaryDirectory() as place:
        again = rerun(spec, work, RunFolder(Path(place), folder.run_id), steps)
    with (folder / "losses.csv").open(encoding="utf-8", newline="") as file:
        # A loss that only a later stage has is empty in the first steps.
        sealed = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    return [
        f"{folder.run_id}: losses.csv: sealed {a}, now {b}"
        for a, b in zip(sealed, again, strict=False)
        if a != b
    ]
