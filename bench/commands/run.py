"""Run a suite: plan, pretraining, training, prediction, scores, tables.

Interrupt it at any moment and give the same command again: it goes on, and nothing that is
finished is done twice. Several processes may work on one output folder.

`dataset.fold=all` (or 0,1,...) runs every row in each fold of a dataset that has folds, such as
iu_xray_folds: --seeds trainings a fold.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.boards.rows import suite_rows
from bench.metrics import available, registry
from bench.reporting.selection import REPORTS, Selection
from bench.runs.renditions import gather
from bench.runs.workspace import Workspace, default_cache, default_out
from bench.spec import RunSpec
from bench.store import RunFolder
from bench.suites.plan import Plan, make_plan
from bench.suites.work import Job, workers
from bench.terminal import Progress, table

Planner = Callable[..., Plan]  # of `pretrain` as `make_plan` takes it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", help="a suite of `bench list suites`, e.g. ablations")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. dataset=iu_xray")
    parser.add_argument("--only", default="", help="rows to run, separated by commas")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each row")
    parser.add_argument(
        "--jobs",
        type=int,
        default=0,
        help="processes that work on the plan (default: cores / threads of a run)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("--smoke", action="store_true", help="two steps of each training")
    parser.add_argument(
        "--until",
        choices=("train", "score", "tables"),
        default="tables",
        help="stop after predictions (train), scores, or tables",
    )
    parser.add_argument(
        "--metrics",
        default="",
        help=f"families, by commas (default: {','.join(registry.scored(registry.ALWAYS))}, and "
        "those of CheXbert and RadGraph whose weights are here)",
    )
    parser.add_argument("--out", type=Path, default=default_out(), help="folder of the runs")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="folder of caches")
    parser.add_argument(
        "--reports", type=Path, help="folder of reports (default: reports beside the runs)"
    )
    # A process that `--jobs` starts: parent's id, or 0. Works from the plan's end, prints nothing.
    parser.add_argument("--worker", type=int, default=0, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    progress = Progress()
    work = Workspace(arguments.out, arguments.cache, progress.say)
    # A wrong name is refused before hours of training; a score stands for its family.
    names = registry.listed(arguments.metrics) or available.unasked()
    metrics = registry.families(names)
    job = Job(work, progress, metrics, arguments.worker)
    planner = partial(
        make_plan,
        arguments.suite,
        arguments.overrides,
        work,
        only=_only(arguments),
        seeds=arguments.seeds,
        smoke=arguments.smoke,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that children end with it
    if arguments.worker:
        _help(job, planner, arguments.until)
        return 0
    ready = planner(pretrain=None)
    if arguments.dry_run:
        print(describe(ready, work))
        return 0
    specs = [planned.spec for planned in ready.distinct()]
    gather([s for s in specs if RunFolder(work.out, s.run_id).manifest is None], work)
    with workers(_command(arguments), arguments.jobs, ready, work):
        plan = planner(pretrain=job.pretrain)
        print(describe(plan, work))
        job.run(plan, arguments.until != "train", _rehearsal(plan, work, arguments.until))
    if arguments.until == "tables":
        selection = _selection(plan, arguments)
        reports = arguments.reports or work.out / REPORTS
        for path in report(plan, work, selection.folder(reports), selection):
            print(f"wrote {path}")
    return 0


def report(
    plan: Plan, work: Workspace, folder: Path, selection: Selection | None = None
) -> list[Path]:
    """Tables and figures of the runs that are scored; the files to open first."""
    from bench.reporting.folder import write_suite
    from bench.reporting.summary import Summary

    return write_suite(Summary.of(plan, work), suite_rows(plan, work), folder, selection)


def _selection(plan: Plan, arguments: argparse.Namespace) -> Selection:
    return Selection(
        plan.name,
        plan.dataset,
        tuple(arguments.overrides),
        _only(arguments),
        arguments.seeds,
        arguments.smoke,
    )


def _only(arguments: argparse.Namespace) -> tuple[str, ...]:
    return tuple(name for name in arguments.only.split(",") if name)


def _help(job: Job, planner: Planner, until: str) -> None:
    """First the rows that wait for no pretraining: the parent is busy with that."""
    score = until != "train"
    job.help(planner(pretrain=None), score, wait=False)
    plan = planner(pretrain=job.pretrain)
    job.help(plan, score, wait=True, idle=_rehearsal(plan, job.work, until))


def _rehearsal(plan: Plan, work: Workspace, until: str) -> Callable[[], None]:
    """What to do while another process trains the last run.

    Writes the report of the runs so far and throws it away: its comparisons, which take longest,
    are kept by content for the real one.
    """

    def rehearse() -> None:
        with TemporaryDirectory() as place:
            report(plan, work, Path(place))

    return rehearse if until == "tables" else lambda: None


def _command(arguments: argparse.Namespace) -> list[str]:
    """What a helper of this command is started with."""
    options = {
        "--only": arguments.only,
        "--seeds": arguments.seeds,
        "--until": arguments.until,
        "--metrics": arguments.metrics,
        "--worker": os.getpid(),
        "--out": arguments.out,
        "--cache": arguments.cache,
    }
    given = [str(part) for pair in options.items() for part in pair]
    smoke = ["--smoke"] if arguments.smoke else []
    return ["run", arguments.suite, *arguments.overrides, *given, *smoke]


def describe(plan: Plan, work: Workspace) -> str:
    """The plan as a table: one line a row, and how many runs are behind them."""
    rows = []
    for planned in plan.runs:
        spec, manifest = planned.spec, RunFolder(work.out, planned.spec.run_id).manifest
        status = manifest["status"] if manifest else "to do"
        budget = f"{spec.budget.amount:,.0f} {spec.budget.unit}" if spec.kind == "train" else "-"
        start = ", ".join(f"{k}: {v[:40]}" for k, v in _initial(spec).items()) or "-"
        rows.append([planned.label, planned.model, spec.run_id, budget, start, status])
    head = ["row", "model", "run", "budget", "initial weights", "status"]
    count = len(plan.distinct())
    title = (
        f"{plan.suite.title}\n{plan.dataset}, {plan.images} images: {len(plan.runs)} rows, "
        f"{count} runs in {work.out}"
    )
    if tuned := next((p.spec.tuning for p in plan.runs if p.spec.tuning), None):
        title += f", each row the best of {tuned.trials} trials"
    return table(title, head, rows) + "".join(
        f"\n{line}" for line in (*plan.left_out, *plan.waiting)
    )


def _initial(spec: RunSpec) -> dict[str, str]:
    tokenizer = spec.tokenizer.weights if spec.tokenizer else {}
    return {k: v.partition("@")[0] for k, v in {**spec.model.weights, **tokenizer}.items()}
