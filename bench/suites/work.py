"""Working off a plan: each run under its folder's lock, by one process or several.

A run that another process holds is left for later. What is finished is passed over, so that the
same command goes on where a killed one stopped.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.canonical import to_dict
from bench.errors import BenchError, DataError
from bench.metrics.cache import keep
from bench.metrics.registry import BRIEF
from bench.metrics.scoring import read_scores
from bench.pretraining.appraise import appraise, is_appraised, is_tokenizer
from bench.runs.execute import execute
from bench.runs.representations import lacking
from bench.runs.score import assess, is_scored
from bench.runs.together import processes
from bench.runs.workspace import Workspace
from bench.spec import TREATMENT, RunSpec
from bench.store import RunFolder, read_json
from bench.suites.plan import Plan, Planned
from bench.terminal import Progress

WAIT = 1.0  # seconds between looks at runs that other processes hold
FINISHED = ("predicted", "scored", "pretrained", "tried")

Task = tuple[str, RunSpec, Callable[[RunSpec, RunFolder], None]]


def _nothing() -> None:
    pass


class Job:
    """Works off plans in a workspace; `parent`: the process that this one helps, or 0."""

    def __init__(
        self,
        work: Workspace,
        progress: Progress,
        metrics: Sequence[str],
        parent: int = 0,
    ) -> None:
        self.work, self.progress, self.metrics = work, progress, metrics
        self.parent = parent  # of a helper: it stops when its parent is gone

    def run(self, plan: Plan, until_scored: bool, idle: Callable[[], None] = _nothing) -> None:
        """Every run of the plan; `idle` is called once, when only other processes have work."""
        planned = plan.distinct()
        keep(self.work.cache)  # answers of Java programs, by content
        self.progress.start(len(planned))
        self._each([self._task(p, until_scored) for p in planned], idle)

    def help(
        self, plan: Plan, until_scored: bool, wait: bool, idle: Callable[[], None] = _nothing
    ) -> None:
        """Trained runs of the plan, from its end. `wait`: until those that others hold are done."""
        trained = [p for p in reversed(plan.distinct()) if p.origin == "trained"]
        keep(self.work.cache)
        self._each([self._task(p, until_scored) for p in trained], idle, wait)

    def pretrain(self, *specs: RunSpec, appraised: bool = False) -> None:
        """Run pretrainings or trials that are not sealed yet; `appraised`: with their figures,
        which image tokenizers always get: they take seconds, an encoder's take longer."""
        todo: list[Task] = []
        for spec in specs:
            figures = appraised or is_tokenizer(spec)
            if not self._is_prepared(spec, figures):
                work = self._train_and_appraise if figures else self._train
                todo.append((_preparation(spec), spec, work))
        if todo:
            self.progress.start(len(todo))
            self._each(todo)

    def one(self, spec: RunSpec, until_scored: bool) -> None:
        """One run by its spec alone."""
        keep(self.work.cache)
        self.progress.start(1)
        work = self._train_and_score if until_scored else self._train
        self._each([(spec.run_id, spec, work)])

    def _task(self, planned: Planned, score: bool) -> Task:
        return planned.label, planned.spec, self._train_and_score if score else self._train

    def _each(
        self, tasks: list[Task], idle: Callable[[], None] = _nothing, wait: bool = True
    ) -> None:
        first = _first_of_training([spec for _, spec, _ in tasks])
        while tasks:
            held: list[Task] = []
            later: list[Task] = []
            for name, spec, work in tasks:
                if self.parent and os.getppid() != self.parent:
                    return
                if self._waits(spec, first):
                    later.append((name, spec, work))
                    continue
                folder = RunFolder(self.work.out, spec.run_id)
                with folder.lock() as mine:
                    if mine:
                        self.progress.begin(name)
                        with _failing(folder):
                            work(spec, folder)
                        self.progress.end(_outcome(folder))
                    else:
                        held.append((name, spec, work))
            stuck = len(held) + len(later) == len(tasks)
            if not wait and (stuck or not later):
                return
            if stuck:
                idle()
                idle = _nothing
                time.sleep(WAIT)
            tasks = held + later

    def _waits(self, spec: RunSpec, first: Mapping[int, str]) -> bool:
        """Whether the run's training is done for another task, which is not sealed yet."""
        other = first.get(id(spec))
        return other is not None and RunFolder(self.work.out, other).manifest is None

    def _is_prepared(self, spec: RunSpec, appraised: bool) -> bool:
        folder = RunFolder(self.work.out, spec.run_id)
        return self._is_finished(spec) and (is_appraised(folder) or not appraised)

    def _is_finished(self, spec: RunSpec) -> bool:
        folder = RunFolder(self.work.out, spec.run_id)
        manifest = folder.manifest
        if manifest is None or manifest["status"] not in FINISHED:
            return False
        sealed = folder / "spec.json"
        if sealed.exists() and read_json(sealed) != to_dict(spec):
            raise DataError(
                f"run {spec.run_id} began with other weights than those of its pretraining now",
                f"remove {folder.path} to train it again",
            )
        return True

    def _train(self, spec: RunSpec, folder: RunFolder) -> None:
        if not self._is_finished(spec) or lacking(spec, folder):
            execute(spec, self.work, folder)

    def _train_and_appraise(self, spec: RunSpec, folder: RunFolder) -> None:
        self._train(spec, folder)
        if not is_appraised(folder):
            appraise(spec, self.work, folder)

    def _train_and_score(self, spec: RunSpec, folder: RunFolder) -> None:
        self._train(spec, folder)
        if not is_scored(spec, folder, self.metrics):
            assess(spec, self.work, folder, self.metrics)


@contextmanager
def _failing(folder: RunFolder) -> Iterator[None]:
    """Keep in the folder why its work failed, this time."""
    folder.begins()
    try:
        yield
    except Exception as error:
        folder.failed(error)
        raise


def is_left(plan: Plan, out: Path, score: bool) -> bool:
    """Whether a trained run of the plan is not done yet (`score`: and scored), or waits for a
    pretraining."""
    wanted = ("scored",) if score else FINISHED
    trained = [p for p in plan.distinct() if p.origin == "trained"]
    manifests = [RunFolder(out, p.spec.run_id).manifest for p in trained]
    return bool(plan.waiting) or any(m is None or m["status"] not in wanted for m in manifests)


def _first_of_training(specs: Sequence[RunSpec]) -> dict[int, str]:
    """For runs whose training is shared: `id` of a spec -> the run that it is done for.

    The same in any order of the specs, so that several processes agree.
    """
    groups: dict[str, list[RunSpec]] = {}
    for spec in specs:
        groups.setdefault(spec.training.run_id, []).append(spec)
    found: dict[int, str] = {}
    for training, own in groups.items():
        runs = sorted(spec.run_id for spec in own) if own[1:] else []
        chosen = training if training in runs else next(iter(runs), "")
        found |= {id(spec): chosen for spec in own if runs and spec.run_id != chosen}
    return found


def _preparation(spec: RunSpec) -> str:
    name = spec.model.target.rpartition(".")[2]
    if spec.kind == "pretrain":
        return f"pretraining {name}" + (f" seed {spec.seed}" if spec.seed else "")
    rates = ", ".join(f"{k} {v:g}" for k, v in spec.train.optimizer.rates.items())
    return f"trial of {name} ({rates})"


def _outcome(folder: RunFolder) -> str:
    """What the line of a finished run shows."""
    path = folder / "scores.json"
    if not path.exists():
        return "done"
    scores = [s for s in read_scores(path) if s["treatment"] == TREATMENT and "value" in s]
    whole = [s for s in scores if s["stratum"] == "all" and not s["control"]]
    shown = {s["metric"]: s["value"] for s in whole}
    return " ".join(f"{m} {shown[m]:.3f}" for m in BRIEF if m in shown)


@contextmanager
def workers(arguments: Sequence[str], jobs: int, plan: Plan, work: Workspace) -> Iterator[None]:
    """`jobs` - 1 further processes (0: as the cores allow) that run `bench *arguments`.

    They work on the same suite, from its end. `plan`: its rows that wait for no pretraining. What
    a process fails at is left undone, so that this one meets the error itself.
    """
    if jobs > 1 and processes() > 1:
        raise BenchError(f"--jobs {jobs} under torchrun", "leave --jobs out: a run takes them all")
    left = [p for p in plan.distinct() if p.origin == "trained" and _unfinished(p, work.out)]
    todo = len(left) + len(plan.waiting)
    count = min(jobs or side_by_side(plan, work), todo) - 1 if todo else 0
    command = [sys.executable, "-m", "bench", *arguments]
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


def side_by_side(plan: Plan, work: Workspace) -> int:
    """As many runs side by side as the cores allow; one where a run takes them all, a GPU, or the
    processes that torchrun started."""
    cores = os.cpu_count() or 1
    whole = processes() > 1 or work.device == "cuda"
    return 1 if whole else max(1, cores // (plan.threads or cores))
