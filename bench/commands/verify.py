"""Verify sealed runs: digests of every file, scores computed again, the first steps trained again.

Without RUN every run of the folder is verified. `--rescore` computes the scores and intervals
again from the predictions; `--rerun N` repeats the first N training steps and compares their
losses, bit for bit, or to rounding where the run was made on another kind of machine (a floor:
writes its reports again). `--against FOLDER` compares results with
those of the same runs in another folder, or on a board. The image caches of the runs' datasets are
compared with their digests; `--images` reads every image file again and compares it with what
the caches were made of. Exit code 3 names what differs.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.canonical import digest
from bench.data.images import altered
from bench.data.sources import compare_sources
from bench.errors import BenchError
from bench.identity import code_of
from bench.metrics import predictions, registry
from bench.metrics.cache import keep
from bench.metrics.predictions import PREDICTIONS
from bench.metrics.scoring import Scored, read_scores
from bench.provenance import draws_other_noise, environment, made_elsewhere
from bench.runs.floors import floor_reports
from bench.runs.training import initial_model, rerun
from bench.runs.workspace import Workspace, default_cache, default_out
from bench.settings import ranged
from bench.spec import RunSpec
from bench.store import MANIFEST, RunFolder, find_runs, load_spec, made_in, read_json
from bench.terminal import painted

# Of losses on another kind of machine, relative: at the first step, at any. (MGCA's first loss is
# 4e-5 from double precision: docs/many-processes.md.)
ROUNDING, LARGEST = 1e-4, 1e-2
NOTHING = 1e-6  # a loss as small as this is zero but for rounding


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", default="", help="run id, or its beginning")
    parser.add_argument("--rescore", action="store_true", help="compute the scores again")
    parser.add_argument("--rerun", type=ranged(0), default=0, metavar="N", help="repeat N steps")
    parser.add_argument("--images", action="store_true", help="compare image files with caches")
    parser.add_argument("--against", type=Path, help="folder with the same runs, made before")
    parser.add_argument("--out", type=Path, default=default_out(), help="folder of the runs")
    parser.add_argument("--cache", type=Path, default=default_cache())


def run(arguments: argparse.Namespace) -> int:
    work = Workspace(arguments.out, arguments.cache)
    keep(work.cache)
    folders = find_runs(work.out, arguments.run)
    found, intact = 0, []
    for folder in folders:
        problems, said = examine(folder, work, arguments.rescore, arguments.rerun)
        if arguments.against is not None:
            problems += _unlike(folder, RunFolder(arguments.against, folder.run_id), said)
        state = "FAIL" if problems else "ok  "
        print(painted(f"{state} {folder.run_id}: {', '.join(said)}"), flush=True)
        for problem in problems:
            print(f"     {problem}")
        found += len(problems)
        if not problems:
            intact.append(folder)
    for problem in [*_caches(intact, work), *(_sources(intact, work) if arguments.images else [])]:
        print(painted(f"FAIL {problem}"))
        found += 1
    moved = sum(bool(folder.left_behind) for folder in intact)
    without = f", {moved} without their weights" if moved else ""
    print(f"{len(folders)} runs verified, {found} problems{without}")
    return 3 if found else 0


def _caches(folders: Sequence[RunFolder], work: Workspace) -> list[str]:
    """What is wrong with the image caches of the runs' datasets: every image is compared."""
    names = {load_spec(folder).data.name for folder in folders}
    found = (problem for name in sorted(names) for problem in altered(work.cache, name))
    return list(dict.fromkeys(found))


def _sources(folders: Sequence[RunFolder], work: Workspace) -> list[str]:
    """Image files of the runs' datasets that have other pixels than the caches made of them."""
    problems = []
    for data in {digest(spec.data): spec for spec in map(load_spec, folders)}.values():
        try:
            found = compare_sources(work.open(data).dataset, work.cache)
        except BenchError as error:  # such as data that are not here
            problems.append(f"{data.data.name}: {error.message}")
            continue
        print(f"     {data.data.name}: {found.text}")
        if found.status == "fail":
            problems.append(f"{found.text}\n     fix: {found.fix}")
    return problems


def examine(
    folder: RunFolder, work: Workspace, rescore: bool = False, steps: int = 0
) -> tuple[list[str], list[str]]:
    """What is wrong with a run, and what was looked at. What rests on altered files is left out."""
    problems = folder.verify()
    said = [f"{len(folder.files())} files"]
    if problems:
        return problems, said
    if folder.left_behind:
        said.append("its weights are not here")
    try:
        load_spec(folder)
        if rescore:
            problems += _rescored(folder, work, said)
        if steps:
            problems += _rerun(folder, work, steps, said)
    except BenchError as error:  # such as data or weights that are not here
        problems.append(f"{folder.run_id}: {'; '.join(filter(None, (error.message, error.hint)))}")
    return problems, said


def _unlike(folder: RunFolder, other: RunFolder, said: list[str]) -> list[str]:
    """Results that two executions of a run do not share, by the digests of both manifests."""
    if not (other / MANIFEST).exists():
        return [f"{folder.run_id}: no sealed run of this id in {other.path.parent}"]
    if folder.manifest_problems():
        return []  # which `examine` has named
    if bad := other.manifest_problems():
        return [f"{problem}, in {other.path.parent}" for problem in bad]
    mine, theirs = read_json(folder / MANIFEST), read_json(other / MANIFEST)
    names = sorted({*mine["results"], *theirs["results"]})
    differ = [n for n in names if mine["results"].get(n) != theirs["results"].get(n)]
    said.append(f"{len(names) - len(differ)} of {len(names)} results as in {other.path.parent}")
    return [f"{folder.run_id}/{name}: not as in {other.path.parent}" for name in differ]


def _rescored(folder: RunFolder, work: Workspace, said: list[str]) -> list[str]:
    """Differences between the sealed scores and those computed now."""
    from bench.metrics.available import absence
    from bench.runs.features import FEATURES
    from bench.runs.score import assessed

    if not (folder / "scores.json").exists():
        said.append("not scored")
        return []
    sealed = {_key(row): row for row in read_scores(folder / "scores.json")}
    # What comes from a model's features is in no file of reports.
    families = registry.families(r["family"] for r in sealed.values() if r["treatment"] != FEATURES)
    absent = [f for f in families if absence(f)]
    if absent:
        said.append(f"not scored again because weights are missing: {', '.join(absent)}")
        sealed = {key: row for key, row in sealed.items() if row["family"] not in absent}
    rows, tables = assessed(
        load_spec(folder), work, folder, [f for f in families if f not in absent]
    )
    now = {_key(row): row for row in rows}
    said.append(f"{len(sealed)} scores")
    return [
        f"{folder.run_id}/scores.json: {' '.join(filter(None, key))}: "
        f"sealed {_figures(sealed.get(key))}, now {_figures(now.get(key))}"
        for key in dict.fromkeys([*sealed, *now])
        if _figures(sealed.get(key)) != _figures(now.get(key))
    ] + [problem for name, scored in tables.items() for problem in _others(folder, name, scored)]


def _others(folder: RunFolder, name: str, now: Scored) -> Iterator[str]:
    """Statistics in a sealed file, of which comparisons are made, that are not those of now."""
    before = Scored.load(folder / name)
    for key, table in now.statistics.items():
        sealed = before.statistics.get(key)
        if before.ids != now.ids or sealed is None or not np.array_equal(sealed, table, True):
            yield f"{folder.run_id}/{name}: {' '.join(key)}: other statistics than now"


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return row["metric"], row["treatment"], row["stratum"], row["control"]


def _figures(row: dict[str, Any] | None) -> str:
    """Value, interval and signature of a score, or why there is none."""
    if row is None:
        return "no such score"
    if "value" not in row:
        return str(row["unavailable"])
    ends = f" [{row['ci_low']!r}, {row['ci_high']!r}]" if "ci_low" in row else ""
    return f"{row['value']!r}{ends} ({row['signature']})"


def _rerun(folder: RunFolder, work: Workspace, steps: int, said: list[str]) -> list[str]:
    """Differences between what the run did first and a repetition of that."""
    spec = load_spec(folder)
    if spec.kind == "floor":
        return _rewritten(folder, spec, work, said)
    made, here = made_in(folder), environment(work.device)
    if draws_other_noise(made, here) and _drops(initial_model(spec, work)):
        said.append(
            "losses not compared: the dropout of a GPU, of a CPU and of several processes are "
            f"different draws ({made_elsewhere(made, here)})"
        )
        return []
    with TemporaryDirectory() as place:
        again = rerun(spec, work, RunFolder(Path(place), folder.run_id), steps)
    with (folder / "losses.csv").open(encoding="utf-8", newline="") as file:
        # A loss that only a later stage has is empty in the first steps.
        sealed = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    count = min(len(sealed), len(again))
    elsewhere = made_elsewhere(made, environment(work.device))  # with the run's own threads
    how = f"to rounding, since {elsewhere}" if elsewhere else "bit for bit"
    said.append(f"losses of {count} steps compared {how}")
    differ = [i for i in range(count) if not _repeats(sealed[i], again[i], i, bool(elsewhere))]
    if not differ:
        return []
    i = differ[0]
    names = [k for k in sealed[i] if sealed[i][k] != again[i].get(k)]
    found = ", ".join(f"{k} sealed {sealed[i][k]!r}, now {again[i].get(k)!r}" for k in names)
    return [
        f"{folder.run_id}/losses.csv, step {i + 1}: {found}; {len(differ)} of {count} steps differ"
        + _other_code(spec)
    ]


def _repeats(sealed: dict[str, float], now: dict[str, float], step: int, elsewhere: bool) -> bool:
    """Whether a step's losses are the sealed ones; of another kind of machine, to a rounding that
    may double with every step, as it does in R2Gen (docs/many-processes.md)."""
    if not elsewhere:
        return sealed == now
    allowed = min(ROUNDING * 2.0**step, LARGEST)
    near = (math.isclose(sealed[k], now[k], rel_tol=allowed, abs_tol=NOTHING) for k in sealed)
    return sealed.keys() == now.keys() and all(near)


def _drops(model: Any) -> bool:
    """Whether a model has dropout that is not 0."""
    from torch import nn

    return any(isinstance(part, nn.Dropout) and part.p > 0 for part in model.modules())


def _other_code(spec: RunSpec) -> str:
    """What to say of a difference when the run was made by other code than is here."""
    now = code_of(spec)
    if now == spec.code:
        return ""
    return f" (the code has changed since: digest {spec.code[:12]}, now {now[:12]})"


def _rewritten(folder: RunFolder, spec: RunSpec, work: Workspace, said: list[str]) -> list[str]:
    """Studies for which a floor writes another report now."""
    sealed = predictions.read(folder / PREDICTIONS)
    said.append(f"{len(sealed)} reports written again")
    return [
        f"{folder.run_id}/{PREDICTIONS}: study {study} has another report now{_other_code(spec)}"
        for (study, a), b in zip(sealed.items(), floor_reports(spec, work), strict=True)
        if a != b
    ]
