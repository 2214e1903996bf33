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
from textwrap import fill, wrap
from typing import TYPE_CHECKING

from bench.boards.rows import suite_rows
from bench.config import refuse_repeated
from bench.errors import BenchError
from bench.metrics import available, registry
from bench.reporting.selection import REPORTS, Selection
from bench.runs.renditions import gather
from bench.runs.together import processes
from bench.runs.workspace import RANDOM, Workspace, default_cache, default_out
from bench.settings import ranged
from bench.spec import RunSpec
from bench.store import RunFolder
from bench.suites import launch
from bench.suites.plan import Plan, make_plan
from bench.suites.work import Job, is_left, side_by_side, workers
from bench.terminal import GAP, Progress, room, table

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

Planner = Callable[..., Plan]  # of `pretrain` as `make_plan` takes it
LEAST = 2  # columns of a plan that a narrow terminal still shows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", help="a suite of `bench list suites`, e.g. ablations")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. dataset=iu_xray")
    parser.add_argument("--only", default="", help="rows to run, separated by commas")
    parser.add_argument("--seeds", type=ranged(1, 1000), default=1, help="trainings of each row")
    parser.add_argument(
        "--jobs",
        type=ranged(0, 1024),
        default=0,
        help="processes that work on the plan (default: cores / threads of a run)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan, its cost, and stop")
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
    parser.add_argument(
        "--launcher",
        choices=("local", *launch.ENGINES),
        default="local",
        help="who runs the --jobs processes: this machine, Slurm (submitit) or a Ray cluster",
    )
    parser.add_argument(
        "--launcher-option",
        action="append",
        default=[],
        metavar="key=value",
        help="of submitit's executor (slurm_partition=gpu, gpus_per_node=1) or a Ray task",
    )
    # A process that `--jobs` starts: parent's id, or 0; -1: on another machine, without a parent.
    # Works from the plan's end, prints nothing.
    parser.add_argument("--worker", type=int, default=0, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    refuse_repeated(arguments.overrides)
    progress = Progress()
    work = Workspace(arguments.out, arguments.cache, progress.say)
    # A wrong name is refused before hours of training; a score stands for its family.
    names = registry.listed(arguments.metrics) or available.unasked()
    metrics = registry.families(names)
    job = Job(work, progress, metrics, max(arguments.worker, 0))
    planner = partial(
        make_plan,
        arguments.suite,
        arguments.overrides,
        work,
        only=_only(arguments),
        seeds=arguments.seeds,
        smoke=arguments.smoke,
    )
    _check_launcher(arguments)
    signal.signal(signal.SIGTERM, _terminated)  # so that children end with it
    if arguments.worker < 0:
        launch.sees_locks(work.out)
    if arguments.worker:
        _help(job, planner, arguments.until)
        return 0
    ready = planner(pretrain=None)
    specs = [planned.spec for planned in ready.distinct()]
    _refuse_unfit(*specs, work=work)
    if arguments.dry_run:
        from bench.perf.cost import told

        print(describe(ready, work))
        print("\n".join(fill(line, room()) for line in told(ready, work).splitlines()))
        return 0
    gather([s for s in specs if RunFolder(work.out, s.run_id).manifest is None], work)
    if arguments.launcher != "local":
        _launch(arguments, ready, work)
    here = 1 if arguments.launcher != "local" else arguments.jobs
    with workers(_command(arguments, os.getpid()), here, ready, work):
        plan = planner(pretrain=partial(_pretrain, job))
        tried = {spec.run_id for spec in specs}
        waited = [p.spec for p in plan.distinct() if p.spec.run_id not in tried]
        _refuse_unfit(*waited, work=work)
        print(describe(plan, work))
        job.run(plan, arguments.until != "train", _rehearsal(plan, work, arguments.until))
    if arguments.until == "tables":
        selection = _selection(plan, arguments)
        reports = arguments.reports or work.out / REPORTS
        summary, paths = report(plan, work, selection.folder(reports), selection)
        print(_found(summary))
        for path in paths:
            print(f"wrote {path}")
    return 0


def _refuse_unfit(*specs: RunSpec, work: Workspace) -> None:
    from bench.perf.trial import refuse_unfit

    refuse_unfit(specs, work)


def _pretrain(job: Job, *specs: RunSpec) -> None:
    _refuse_unfit(*specs, work=job.work)
    job.pretrain(*specs)


def _found(summary: Summary) -> str:
    """What the runs come to, as in their report."""
    from bench.reporting.conclusions import conclusions

    sentences = conclusions(summary)
    return "\n".join(
        fill(x, room(), initial_indent="- ", subsequent_indent="  ") for x in sentences
    )


def _terminated(*_: object) -> None:
    raise KeyboardInterrupt(signal.SIGTERM)


def report(
    plan: Plan, work: Workspace, folder: Path, selection: Selection | None = None
) -> tuple[Summary, list[Path]]:
    """Tables and figures of the runs that are scored: what they show, the files to open first."""
    from bench.reporting.folder import write_suite
    from bench.reporting.summary import Summary

    summary = Summary.of(plan, work)
    return summary, write_suite(summary, suite_rows(plan, work), folder, selection)


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


def _check_launcher(arguments: argparse.Namespace) -> None:
    """BenchError for what a launcher would not look at."""
    if arguments.launcher == "local" and arguments.launcher_option:
        raise BenchError(
            f"--launcher-option {arguments.launcher_option[0]} without --launcher",
            "give --launcher submitit or ray, or leave it out",
        )
    if arguments.launcher != "local" and processes() > 1:
        raise BenchError(
            f"--launcher {arguments.launcher} under torchrun",
            "start bench without torchrun: each of the launcher's helpers trains by itself",
        )
    launch.options_of(arguments.launcher_option)


def _launch(arguments: argparse.Namespace, plan: Plan, work: Workspace) -> None:
    """Let helpers elsewhere train and score; what they leave undone is done here afterwards."""
    count = min(arguments.jobs or side_by_side(plan, work), max(1, len(plan.distinct())))
    options = launch.options_of(arguments.launcher_option)
    with launch.probe(work.out):
        engine = launch.ENGINES[arguments.launcher](launch.log_folder(work.out), options)
        command = launch.helper_command(_command(arguments, worker=-1))
        launch.attend(
            engine,
            command,
            count,
            lambda: not is_left(plan, work.out, arguments.until != "train"),
            lambda line: print(line, file=sys.stderr, flush=True),
        )


def _rehearsal(plan: Plan, work: Workspace, until: str) -> Callable[[], None]:
    """What to do while another process trains the last run.

    Writes the report of the runs so far and throws it away: its comparisons, which take longest,
    are kept by content for the real one.
    """

    def rehearse() -> None:
        with TemporaryDirectory() as place:
            report(plan, work, Path(place))

    return rehearse if until == "tables" else lambda: None


def _command(arguments: argparse.Namespace, worker: int) -> list[str]:
    """What a helper of this command is started with."""
    options = {
        "--only": arguments.only,
        "--seeds": arguments.seeds,
        "--until": arguments.until,
        "--metrics": arguments.metrics,
        "--worker": worker,
        "--out": arguments.out.absolute(),
        "--cache": arguments.cache.absolute(),
    }
    given = [f"{name}={value}" for name, value in options.items()]
    smoke = ["--smoke"] if arguments.smoke else []
    return ["run", arguments.suite, *arguments.overrides, *given, *smoke]


def describe(plan: Plan, work: Workspace) -> str:
    """The plan within the terminal: one line a run or waiting row, then what it comes to."""
    rows = []
    for planned in plan.runs:
        spec, manifest = planned.spec, RunFolder(work.out, planned.spec.run_id).manifest
        status = manifest["status"] if manifest else "to do"
        start = ", ".join(_initial(spec)) or "-"
        rows.append([planned.label, planned.model, spec.run_id, start, status])
    for line in plan.waiting:
        row, _, reason = line.partition(": waits for ")
        rows.append([row, "", "", "", f"waits for {reason.partition(',')[0]}"])
    head = ["row", "model", "run", "pretrained", "status"]
    while _width(head, rows) > room() and len(head) > LEAST:
        head, rows = [*head[:-2], head[-1]], [[*row[:-2], row[-1]] for row in rows]
    title = "\n".join(wrap(f"{plan.suite.title}: {plan.dataset}, {plan.images} images", room()))
    said = [*plan.left_out, f"{totals(plan, work)} In {work.out}."]
    return table(title, head, rows) + "".join("\n" + "\n".join(wrap(x, room())) for x in said)


def _width(head: list[str], rows: list[list[str]]) -> int:
    columns = zip(head, *rows, strict=True)
    return sum(max(map(len, column)) + len(GAP) for column in columns) - len(GAP)


def totals(plan: Plan, work: Workspace) -> str:
    """`12 trainings of 8,000 examples (7 wait for a pretraining), 5 floors; 4 of 17 are done.`"""
    runs = plan.distinct()
    trained = [p for p in runs if p.origin == "trained"]
    budgets = {f"{p.spec.budget.amount:,.0f} {p.spec.budget.unit}" for p in trained}
    each = f" of {' or '.join(sorted(budgets))}" if budgets else ""
    held = f" ({plan.waits} wait for a pretraining or trials)" if plan.waits else ""
    trainings = len({p.spec.training.run_id for p in trained})
    parts = [f"{_count(trainings + plan.waits, 'training')}{each}{held}"]
    if again := len(trained) - trainings:
        parts.append(_count(again, "further row") + " written by them")
    # A pretraining that has not run is named by the rows that wait for it.
    asked = {x.rpartition("(")[2].rstrip(")") for x in plan.waiting if "a pretraining" in x}
    if prepared := len(plan.pretrained) + len(asked):
        parts.append(_count(prepared, "pretraining"))
    if plan.trials:
        parts.append(_count(len(plan.trials), "trial"))
    parts.append(_count(len(runs) - len(trained), "floor"))
    done = sum(RunFolder(work.out, p.spec.run_id).manifest is not None for p in runs)
    return f"{', '.join(parts)}; {done} of {len(runs) + plan.waits} are done."


def _count(number: int, name: str) -> str:
    return f"{number} {name}" + ("" if number == 1 else "s")


def _initial(spec: RunSpec) -> list[str]:
    """Parts that start from weights, not at random."""
    tokenizer = spec.tokenizer.weights if spec.tokenizer else {}
    return [part for part, name in {**spec.model.weights, **tokenizer}.items() if name != RANDOM]
