"""Two hundred deaths: an operation is killed at a random moment, done again, and compared.

`python tests/kill_points.py [POINTS] [SEED]` forks a process for each point, ends it with SIGKILL
after a random share of the time that the whole operation takes, lets another one finish, and
compares every byte with what an undisturbed process makes. Then two and four processes work on one
folder at once, and a disk fails at each of 30 writes.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["BENCH_PACKAGES"] = "toy"
os.environ["BENCH_DEVICE"] = "cpu"

import torch
from audit import failing
from made import SUITE, make
from toy import load
from toy_training import DATASET
from toy_training import SPEC as TOY

from bench import weights
from bench.boards.publish import publish
from bench.boards.rows import suite_rows
from bench.canonical import from_dict, to_dict
from bench.data import images
from bench.errors import BenchError
from bench.metrics import ptb
from bench.model import ImageSpec
from bench.reporting import folder as reports
from bench.reporting.summary import Summary
from bench.runs import execute
from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.suites.plan import Plan, Planned
from bench.suites.work import Job
from bench.terminal import Progress

torch.set_num_threads(1)
METRICS = ("BLEU",)
RECORDS = ("env.json", "timing.json", "manifest.json")  # of times and machines
HIDDEN = (".lock", "lock")


def spec(seed: int) -> RunSpec:
    plain = to_dict(TOY)
    plain["data"]["manifest"] = DATASET.manifest
    plain["budget"]["amount"], plain["seed"], plain["train"]["threads"] = 4, seed, 1
    return from_dict(RunSpec, plain)


SPECS = [spec(0)]
PLAN = Plan("toys", SUITE, "made", tuple(Planned("good", "trained", "toy", s) for s in SPECS))
MADE: list[tuple[Plan, Workspace]] = []  # sealed runs, to be published and reported


def train(place: Path) -> None:
    """A plan of a training: caches, steps, predictions, scores, seals."""
    work = Workspace(place / "runs", place / "cache")
    execute.environment = dict  # a record, for which git would be asked
    Job(work, Progress(), METRICS).run(PLAN, until_scored=True)


def cache(place: Path) -> None:
    images.CHUNK = 8
    data = load(train=60)
    every = [image for study in data.split("train") for image in study.images]
    for training in (True, False):
        images.open_store(data, every, ImageSpec(size=8, resize=40), training, place)


def board(place: Path) -> None:
    publish(*MADE[0], place / "board")


def add(place: Path) -> None:
    os.environ["BENCH_WEIGHTS"] = str(place / "weights")
    for name in ("one", "two"):
        source = place.parent / f"{name}.pth"
        if not source.exists():
            source.write_bytes(name.encode() * 500_000)
        weights.add(name, source)


def report(place: Path) -> None:
    plan, work = MADE[0]
    there = Workspace(work.out, place / "cache")
    summary, rows = Summary.of(plan, there), suite_rows(plan, there)
    reports.figures = lambda suite, folder, names=(): []  # seconds of drawing, by a library
    reports.write_suite(summary, rows, place / "reports")


@dataclass(frozen=True)
class Operation:
    do: Callable[[Path], None]
    share: int  # of a hundred points
    writes: int  # at each of which the disk is full once


OPERATIONS = (
    Operation(add, 25, 4), Operation(board, 25, 6), Operation(cache, 35, 6),
    Operation(train, 10, 12), Operation(report, 5, 2),
)  # fmt: skip


def child(do: Callable[[Path], None], place: Path) -> int:
    """The id of a process that does it, silently."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        do(place)
        code = 0
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def content(place: Path) -> dict[str, bytes]:
    """Every file but the records of times, locks, and halves that nobody reads."""
    return {
        str(p.relative_to(place)): p.read_bytes()
        for p in sorted(place.rglob("*"))
        if p.is_file() and p.name not in (*RECORDS, *HIDDEN) and p.suffix != ".part"
    }


def differences(place: Path, whole: dict[str, bytes]) -> list[str]:
    found = content(place)
    return [n for n in sorted({*found, *whole}) if found.get(n) != whole.get(n)]


def fresh(base: Path) -> Path:
    place = base / "place"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return place


def killed(operation: Operation, base: Path, points: int, rng: random.Random) -> str:
    whole_place = fresh(base)
    start = time.perf_counter()
    assert ended(child(operation.do, whole_place)) == 0, operation.do.__name__
    seconds, whole = time.perf_counter() - start, content(whole_place)
    unlike, deaths, sizes = [], 0, set()
    for point in range(points):
        place = fresh(base)
        pid = child(operation.do, place)
        time.sleep(rng.random() * seconds)
        os.kill(pid, signal.SIGKILL)
        deaths += ended(pid) == -signal.SIGKILL
        sizes.add(len(content(place)))
        if ended(child(operation.do, place)) != 0:
            unlike.append(f"point {point}: it did not finish")
        unlike += [f"point {point}: {name}" for name in differences(place, whole)]
    name = operation.do.__name__
    states = f"{seconds:.2f} s each, {deaths} killed in time, {len(sizes)} different states"
    return f"{name:8} {points:4} points, {states}, {len(unlike)} differences {unlike[:5]}"


def together(operation: Operation, base: Path, processes: int) -> str:
    whole_place = fresh(base)
    assert ended(child(operation.do, whole_place)) == 0
    whole = content(whole_place)
    place = fresh(base)
    codes = [ended(pid) for pid in [child(operation.do, place) for _ in range(processes)]]
    unlike = differences(place, whole)
    return f"{operation.do.__name__:8} {processes} processes: exits {codes}, differences {unlike}"


def full_disk(operation: Operation, base: Path, writes: int) -> str:
    """The disk is full from the n-th opened, made or renamed file on; then there is room again."""
    whole_place = fresh(base)
    assert ended(child(operation.do, whole_place)) == 0
    whole, named, unlike = content(whole_place), 0, []

    def on_a_full_disk(after: int) -> Callable[[Path], None]:
        def do(place: Path) -> None:
            with failing(place, errno.ENOSPC, after):
                try:
                    operation.do(place)
                except (BenchError, OSError) as error:
                    os._exit(7 if isinstance(error, BenchError) else 8)

        return do

    codes = []
    for after in range(writes):
        place = fresh(base)
        codes.append(ended(child(on_a_full_disk(after), place)))
        named += codes[-1] == 7
        if ended(child(operation.do, place)) != 0:
            unlike.append(f"after {after}: it did not finish")
        unlike += [f"after {after}: {name}" for name in differences(place, whole)]
    others = {code: codes.count(code) for code in sorted({*codes} - {7})}
    name = operation.do.__name__
    return f"{name:8} full at each of {writes} writes: {named} named, others {others}, {unlike[:5]}"


def main() -> int:
    points, seed = (int(a) for a in (sys.argv[1:] + ["200", "0"][len(sys.argv) - 1 :])[:2])
    rng = random.Random(seed)
    ptb.tokenize = lambda texts: [t.replace(" .", "") for t in texts]  # no Java
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        MADE.append(make(base / "made", {"constant": (0.2,), "BASE": (0.3,), "good": (0.9,)}))
        for operation in OPERATIONS:
            print(killed(operation, base, points * operation.share // 100, rng), flush=True)
            for processes in (2, 4):
                print(together(operation, base, processes), flush=True)
            print(full_disk(operation, base, operation.writes), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
