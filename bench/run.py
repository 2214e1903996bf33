"""Run a suite: plan, pretraining, training, prediction, scores, tables.

Interrupt it at any moment and give the same command again: it goes on, and nothing that is
finished is done twice. Several processes may work on one output folder.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.assess import assess, is_scored
from bench.board import suite_rows
from bench.execute import execute
from bench.metrics import needs, registry
from bench.metrics.cache import keep
from bench.plan import Plan, Planned, make_plan
from bench.spec import RunSpec
from bench.store import RunFolder, read_json
from bench.terminal import Progress, table
from bench.transfer import appraise, is_appraised
from bench.workspace import Workspace, default_cache, default_out

WAIT = 1.0  # seconds between looks at runs that other processes hold
METRICS = (*registry.NLG, "diversity", "chexpert-rules")
FINISHED = ("predicted", "scored", "pretrained")


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
        help=f"families, by commas (default: {','.join(METRICS)}, and those of CheXbert and "
        "RadGraph whose weights are here)",
    )
    parser.add_argument("--out", type=Path, default=default_out(), help="folder of the runs")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="folder of caches")
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="folder of tables")
    # A process that `--jobs` starts: parent's id, or 0. Trains from the plan's end, prints nothing.
    parser.add_argument("--worker", type=int, default=0, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    progress = Progress()
    work = Workspace(arguments.out, arguments.cache, progress.say)
    metrics = [m for m in arguments.metrics.split(",") if m] or [*METRICS, *needs.here()]
    for name in metrics:
        registry.family(name)  # a wrong name is refused before hours of training
    job = Job(work, progress, metrics, arguments.worker)
    plan = make_plan(
        arguments.suite,
        arguments.overrides,
        work,
        None if arguments.dry_run else job.pretrain,
        [name for name in arguments.only.split(",") if name],
        arguments.seeds,
        arguments.smoke,
    )
    if arguments.worker:
        job.run(plan, until_scored=False)
        return 0
    print(describe(plan, work))
    if arguments.dry_run:
        return 0
    with workers(arguments, plan):
        job.run(plan, until_scored=arguments.until != "train")
    if arguments.until == "tables":
        from bench.reporting.folder import report_folder, write_suite
        from bench.reporting.summary import Summary

        folder = report_folder(arguments.reports, plan.name, plan.dataset)
        for path in write_suite(Summary.of(plan, work), suite_rows(plan, work), folder):
            print(f"wrote {path}")
    return 0


@contextmanager
def workers(arguments: argparse.Namespace, plan: Plan) -> Iterator[None]:
    """`--jobs` - 1 further processes that train runs of the same plan, from its end.

    What one of them fails at is left undone, so that this process meets the error itself.
    """
    left = [p for p in plan.distinct() if p.origin == "trained" and _unfinished(p, arguments.out)]
    count = min(arguments.jobs or _jobs(plan), len(left)) - 1
    command = [sys.executable, "-m", "bench", "run", arguments.suite, *arguments.overrides]
    command += [
        "--only",
        arguments.only,
        "--seeds",
        str(arguments.seeds),
        "--worker",
        str(os.getpid()),
    ]
    command += ["--out", str(arguments.out), "--cache", str(arguments.cache)]
    command += ["--smoke"] if arguments.smoke else []
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    children = [subprocess.Popen(command, **quiet) for _ in range(count)]  # type: ignore[call-overload]
    try:
        yield
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()


def _unfinished(planned: Planned, out: Path) -> bool:
    return RunFolder(out, planned.spec.run_id).manifest is None


def _jobs(plan: Plan) -> int:
    """As many runs side by side as the cores allow; one where a run takes them all or a GPU."""
    threads = max(
        (p.spec.train.threads or 10**6 for p in plan.runs if p.origin == "trained"), default=1
    )
    return max(1, (os.cpu_count() or 1) // threads)


def describe(plan: Plan, work: Workspace) -> str:
    """The plan as a table: one line a row, and how many runs are behind them."""
    rows = []
    for planned in plan.runs:
        spec, manifest = planned.spec, RunFolder(work.out, planned.spec.run_id).manifest
        status = manifest["status"] if manifest else "to do"
        budget = f"{spec.budget.amount:,.0f} {spec.budget.unit}" if spec.kind == "train" else "-"
        start = ", ".join(f"{k}: {v[:40]}" for k, v in _initial(spec).items()) or "-"
        rows.append([planned.name, planned.model, spec.run_id, budget, start, status])
    head = ["row", "model", "run", "budget", "initial weights", "status"]
    count = len(plan.distinct())
    title = f"{plan.suite.title}\n{plan.dataset}: {len(plan.runs)} rows, {count} runs in {work.out}"
    return table(title, head, rows) + "".join(f"\n{line}" for line in plan.left_out)


def _initial(spec: RunSpec) -> dict[str, str]:
    tokenizer = spec.tokenizer.weights if spec.tokenizer else {}
    return {k: v.partition("@")[0] for k, v in {**spec.model.weights, **tokenizer}.items()}


class Job:
    """Works off a plan; runs that another process holds are left for later."""

    def __init__(
        self,
        work: Workspace,
        progress: Progress,
        metrics: Sequence[str],
        parent: int = 0,
    ) -> None:
        self.work, self.progress, self.metrics = work, progress, metrics
        self.parent = parent  # of a worker: it stops when its parent is gone

    def run(self, plan: Plan, until_scored: bool) -> None:
        planned = plan.distinct()
        if self.parent:
            planned = [p for p in reversed(planned) if p.origin == "trained"]
        keep(self.work.cache)  # answers of Java programs, by content
        self.progress.start(len(planned))
        self._each([self._task(p, until_scored) for p in planned])

    def pretrain(self, spec: RunSpec, appraised: bool = False) -> None:
        """Run a pretraining that is not sealed yet; `appraised`: with its figures."""
        folder = RunFolder(self.work.out, spec.run_id)
        if self._is_finished(spec) and (is_appraised(folder) or not appraised):
            return
        self.progress.start(1)
        name = spec.model.target.rpartition(".")[2]
        work = self._train_and_appraise if appraised else self._train
        self._each([(f"pretraining {name}", spec, work)])

    def one(self, spec: RunSpec, until_scored: bool) -> None:
        """One run by its spec alone."""
        keep(self.work.cache)
        self.progress.start(1)
        work = self._train_and_score if until_scored else self._train
        self._each([(spec.run_id, spec, work)])

    def _task(self, planned: Planned, score: bool) -> tuple[str, RunSpec, Callable[..., None]]:
        label = planned.name + (f" seed {planned.spec.seed}" if planned.spec.seed else "")
        return label, planned.spec, self._train_and_score if score else self._train

    def _each(self, tasks: list[tuple[str, RunSpec, Callable[..., None]]]) -> None:
        while tasks:
            held = []
            for name, spec, work in tasks:
                if self.parent and os.getppid() != self.parent:
                    return
                folder = RunFolder(self.work.out, spec.run_id)
                with folder.lock() as mine:
                    if mine:
                        self.progress.begin(name)
                        work(spec, folder)
                        self.progress.end(_outcome(folder))
                    else:
                        held.append((name, spec, work))
            if held == tasks:
                time.sleep(WAIT)
            tasks = held

    def _is_finished(self, spec: RunSpec) -> bool:
        manifest = RunFolder(self.work.out, spec.run_id).manifest
        return manifest is not None and manifest["status"] in FINISHED

    def _train(self, spec: RunSpec, folder: RunFolder) -> None:
        if not self._is_finished(spec):
            execute(spec, self.work, folder)

    def _train_and_appraise(self, spec: RunSpec, folder: RunFolder) -> None:
        self._train(spec, folder)
        if not is_appraised(folder):
            appraise(spec, self.work, folder)

    def _train_and_score(self, spec: RunSpec, folder: RunFolder) -> None:
        self._train(spec, folder)
        if not is_scored(spec, folder, self.metrics):
            assess(spec, self.work, folder, self.metrics)


def _outcome(folder: RunFolder) -> str:
    """What the line of a finished run shows."""
    path = folder / "scores.json"
    if not path.exists():
        return "done"
    scores = [s for s in read_json(path) if s["protocol"] == "r2gen@1" and "value" in s]
    whole = [s for s in scores if s["stratum"] == "all" and not s["control"]]
    shown = {s["metric"]: s["value"] for s in whole}
    return " ".join(f"{m} {shown[m]:.3f}" for m in ("BLEU-4", "CIDEr") if m in shown)
