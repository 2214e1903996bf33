"""How far a suite is: each run waiting, running and where, done, or failed and why.

Reads the run folders alone, which are the only truth: it may be called on any machine that sees
them, while any number of processes work on them.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from bench.runs.workspace import Workspace, default_cache, default_out
from bench.spec import RunSpec
from bench.store import RunFolder
from bench.suites.plan import Plan, make_plan
from bench.terminal import table

LENGTH = 8  # bytes before the header of a safetensors file: its length, little-endian


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", help="a suite of `bench list suites`, as given to `bench run`")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as given to `bench run`")
    parser.add_argument("--only", default="", help="rows, separated by commas")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each row")
    parser.add_argument("--smoke", action="store_true", help="of `bench run --smoke`")
    parser.add_argument("--out", type=Path, default=default_out(), help="folder of the runs")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="folder of caches")


def run(arguments: argparse.Namespace) -> int:
    work = Workspace(arguments.out, arguments.cache)
    only = tuple(name for name in arguments.only.split(",") if name)
    plan = make_plan(
        arguments.suite, arguments.overrides, work, None, only, arguments.seeds, arguments.smoke
    )
    print(shown(plan, work.out))
    return 0


def shown(plan: Plan, out: Path) -> str:
    """A line a run, how many are in which state, and the rows that wait for a pretraining."""
    rows, states = [], Counter[str]()
    for planned in plan.distinct():
        state, more = state_of(planned.spec, RunFolder(out, planned.spec.run_id))
        states[state] += 1
        rows.append([planned.label, planned.spec.run_id, state, more])
    counts = ", ".join(f"{count} {state}" for state, count in states.most_common())
    text = table(f"{plan.suite.title}: {counts}", ["row", "run", "state", ""], rows)
    return text + "".join(f"\n{line}" for line in (*plan.left_out, *plan.waiting))


def state_of(spec: RunSpec, folder: RunFolder) -> tuple[str, str]:
    """waiting, running, done, failed or stopped; and how far, where or why."""
    if not folder.path.exists():
        return "waiting", ""
    manifest = folder.manifest
    holder = folder.holder
    if holder is not None:
        return "running", f"on {holder}; {progress(spec, folder)}"
    if manifest is not None:
        return "done", manifest["status"]
    if (why := folder.failure) is not None:
        return "failed", f"{why} ({progress(spec, folder)})"
    done = progress(spec, folder)
    return ("waiting", "") if done == "at its beginning" else ("stopped", done)


def progress(spec: RunSpec, folder: RunFolder) -> str:
    """How much of the budget the last checkpoint has spent."""
    if (folder / "train.json").exists():
        return "trained"
    facts = _facts(folder / "checkpoints" / "last.safetensors")
    if facts is None:
        return "at its beginning"
    meter, budget = facts["meter"], spec.budget
    return f"{meter[budget.unit] / budget.amount:.0%} trained, step {meter['steps']}"


def _facts(path: Path) -> dict[str, Any] | None:
    """The facts in a checkpoint's header, read without its tensors; None where there is none."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(LENGTH), "little")
            header = json.loads(file.read(size))
    except OSError:
        return None
    facts: dict[str, Any] = json.loads(header["__metadata__"]["facts"])
    return facts
