"""The regression gate on sampled data: what does the code compute now, and what did it before?

Compares golden scores of every metric, golden losses of the first steps of every model, the
floors, and the shuffled-image control with a golden file; then the board's rules and the tables.
Exit code 3 names what changed and by how much. `--accept` writes the present figures as golden:
do that knowingly, and say in the commit why they changed. On real data the golden file is your
own (it holds ids' digest, scores and losses, no text); CIDEr's idf depends on the sample, so it
is comparable with its own golden value only.
"""

from __future__ import annotations

import argparse
import filecmp
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.boards.rows import BOARDS
from bench.boards.validate import diff, in_checkout, validate
from bench.config import load_yaml, names
from bench.data.registry import EMBEDDED, split_overrides
from bench.errors import BenchError, unknown
from bench.metrics.available import METRICS
from bench.metrics.cache import keep
from bench.metrics.scoring import score
from bench.provenance import processor
from bench.reporting.folder import report_folder
from bench.reporting.source import regenerate
from bench.runs.controls import derangement
from bench.runs.floors import floor_reports
from bench.runs.training import rerun
from bench.runs.workspace import Workspace, default_cache
from bench.spec import PROTOCOL, RunSpec
from bench.store import RunFolder, read_json, write_json
from bench.suites.composer import Composer
from bench.suites.suite import Row
from bench.suites.work import Job
from bench.terminal import Progress

STEPS = 20
SAMPLE = 64
SCORES = 1e-9  # absolute: the same arithmetic on another machine
ELSEWHERE = 2e-2  # relative: losses on a platform without golden ones of its own
KEYS = ("dataset", "sample")
SHOWN = 10  # lost rows of the board that are named one by one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("settings", nargs="*", metavar="key=value", help="dataset=NAME sample=N")
    parser.add_argument("--accept", action="store_true", help="make the present figures golden")
    parser.add_argument("--golden", type=Path, default=Path("tests/golden"), help="folder")
    parser.add_argument("--board", type=Path, default=BOARDS / PROTOCOL)
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    parser.add_argument("--base", default="HEAD", help="git revision that the board only adds to")
    parser.add_argument("--cache", type=Path, default=default_cache())


def run(arguments: argparse.Namespace) -> int:
    settings = split_overrides(arguments.settings)
    for key in settings:
        if key not in KEYS:
            raise unknown("setting", key, KEYS)
    dataset, count = settings.get("dataset", EMBEDDED), _count(settings.get("sample", SAMPLE))
    path = arguments.golden / f"check-{dataset}-{count}.json"
    if not path.exists() and not arguments.accept:
        raise BenchError(
            f"no golden file {path}",
            "make one: bench check "
            + " ".join([*arguments.settings, "--accept", "--golden", str(arguments.golden)]),
        )
    keep(arguments.cache)
    with TemporaryDirectory() as place:
        work = Workspace(Path(place), arguments.cache)
        now = measure(dataset, count, work)
        problems = [] if dataset != EMBEDDED else list(_board_problems(arguments, work))
    golden = read_json(path) if path.exists() else None
    if arguments.accept:
        write_json(path, merged(golden, now))
        print(f"wrote {path}: the present figures are golden now")
    elif golden is not None:
        problems = [*changes(golden, now, dataset == EMBEDDED), *problems]
    for problem in problems:
        print(f"FAIL {problem}")
    if problems:
        print("If a change is meant: bench check --accept, and say in the commit why.")
    else:
        print(f"ok: {_counts(now)}")
    return 3 if problems else 0


def _count(given: str | int) -> int:
    try:
        count = int(given)
    except ValueError:
        count = 0
    if count < 2:
        raise BenchError(f"sample={given!r}", "give a number of studies, at least 2")
    return count


def _counts(now: Mapping[str, Any]) -> str:
    losses = next(iter(now["losses"].values()))
    return f"{len(now['scores'])} scores and {STEPS} losses of {len(losses)} models as before"


# --- what is measured --------------------------------------------------------------------------


def measure(dataset: str, count: int, work: Workspace) -> dict[str, Any]:
    """Scores, floors, control and losses on a sample of `count` studies a split."""
    common = [f"dataset={dataset}", f"+dataset.sample={count}", "budget=tiny",
              f"budget.pretrain.amount={STEPS * 16}"]  # fmt: skip
    job = Job(work, Progress(), metrics=())
    composer = Composer(work, job.pretrain, common)
    floors = {name: composer.floor(name) for name in names("floor")}
    spec = next(iter(floors.values()))
    return {
        "manifest": spec.data.manifest,
        "scores": _metric_scores(spec, work),
        "floors": {name: _floor_scores(floor, work) for name, floor in floors.items()},
        "control": _control_scores(floors["nearest"], work),
        "losses": {platform_key(): _losses(composer, work)},
    }


def _metric_scores(spec: RunSpec, work: Workspace) -> dict[str, dict[str, Any]]:
    """Every metric that works here, each study given the reference of the study before it."""
    dataset = work.open(spec).dataset
    studies = dataset.split("test")
    shifted = (studies[-1], *studies[:-1])
    predictions = {s.id: other.report for s, other in zip(studies, shifted, strict=True)}
    scored = score(predictions, dataset, "test", METRICS)
    return {
        f"{s.metric} {s.protocol}": {"value": s.value, "signature": s.signature}
        for s in scored
        if s.value is not None
    }


def _floor_scores(spec: RunSpec, work: Workspace, shuffle: bool = False) -> dict[str, float | None]:
    dataset = work.open(spec).dataset
    ids = [s.id for s in dataset.split("test")]
    order = derangement(len(ids), seed=0) if shuffle else None
    reports = floor_reports(spec, work, order)
    predictions = dict(zip(ids, reports, strict=True))
    scored = score(predictions, dataset, "test", ("BLEU", "CIDEr"), ("r2gen@1",))
    return {s.metric: s.value for s in scored if s.metric in ("BLEU-4", "CIDEr")}


def _control_scores(spec: RunSpec, work: Workspace) -> dict[str, float | None]:
    """The floor that sees images, shown those of other studies."""
    return _floor_scores(spec, work, shuffle=True)


def _losses(composer: Composer, work: Workspace) -> dict[str, list[float]]:
    """The loss of each of the first steps of every model, on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {name: _first_losses(name, composer, work) for name in names("model")}
    finally:
        torch.set_num_threads(threads)


def _first_losses(name: str, composer: Composer, work: Workspace) -> list[float]:
    entry = load_yaml("model", name)
    pretraining = entry.get("kind") == "pretrain"
    spec = composer.pretraining(name) if pretraining else composer.row(Row(name, name))
    folder = RunFolder(work.out, f"check-{name}")
    return [row["loss"] for row in rerun(spec, work, folder, STEPS)]


def platform_key() -> str:
    """What the last digits of a loss depend on beside the code: torch and the processor."""
    import torch

    unit = torch.backends.cpu.get_cpu_capability()
    return (
        f"{platform.system()}-{platform.machine()}-{processor()}-{unit}-torch-{torch.__version__}"
    )


def merged(golden: Mapping[str, Any] | None, now: Mapping[str, Any]) -> dict[str, Any]:
    """The present figures; losses of other platforms are kept only while the sample is the same."""
    same = golden is not None and golden["manifest"] == now["manifest"]
    others = golden["losses"] if golden is not None and same else {}
    return {**now, "losses": {**others, **now["losses"]}}


# --- comparison --------------------------------------------------------------------------------


def changes(
    golden: Mapping[str, Any], now: Mapping[str, Any], telling: bool = True
) -> Iterator[str]:
    """One sentence for everything that differs, with its size.

    `telling`: the pictures are known to tell what the reports say. On 64 studies of real data
    the nearest-image floor need be no better than with other studies' images, only different.
    """
    if golden["manifest"] != now["manifest"]:
        yield (
            f"the sampled dataset changed: manifest {golden['manifest'][:12]} -> "
            f"{now['manifest'][:12]}"
        )
    yield from _score_changes(golden["scores"], now["scores"])
    for part in ("floors", "control"):
        for name, before, after in _leaves(golden[part], now[part], part):
            if before is None or after is None or abs(before - after) > SCORES:
                yield f"{name}: {_moved(before, after)}"
    yield from _control_changes(now, telling)
    yield from _loss_changes(golden["losses"], now["losses"])


def _score_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old is None or new is None:
            yield f"score {name}: {'new' if old is None else 'gone'}"
        elif old["signature"] != new["signature"]:
            yield f"score {name}: signature {old['signature']} -> {new['signature']}"
        elif abs(old["value"] - new["value"]) > SCORES:
            yield f"score {name}: {_moved(old['value'], new['value'])}"


def _leaves(before: Any, after: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) or isinstance(after, Mapping):
        for key in sorted({*(before or {}), *(after or {})}):
            yield from _leaves((before or {}).get(key), (after or {}).get(key), f"{name} {key}")
    else:
        yield name, before, after


def _moved(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return f"{before} -> {after}"
    return f"{before!r} -> {after!r} ({after - before:+.3g})"


def _control_changes(now: Mapping[str, Any], telling: bool) -> Iterator[str]:
    own, shuffled = now["floors"]["nearest"]["CIDEr"], now["control"]["CIDEr"]
    if shuffled == own or (telling and not shuffled < own):
        yield (
            f"shuffled-image control: the nearest-image floor has CIDEr {own:.4f} with its own "
            f"images and {shuffled:.4f} with others': images are not shuffled, or not read"
        )


def _loss_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    [(key, now)] = after.items()
    golden = before.get(key)
    exact = golden is not None
    golden = golden if golden is not None else next(iter(before.values()))
    for name in sorted({*golden, *now}):
        old, new = golden.get(name), now.get(name)
        if old is None or new is None:
            yield f"losses of {name}: {'new model' if old is None else 'model gone'}"
            continue
        step = next(
            (i for i, pair in enumerate(zip(old, new, strict=False)) if _off(*pair, exact)), None
        )
        if step is not None or len(old) != len(new):
            at = step if step is not None else min(len(old), len(new)) - 1
            where = "" if exact else " (golden of another platform)"
            yield f"losses of {name}, step {at + 1}: {_moved(old[at], new[at])}{where}"


def _off(old: float, new: float, exact: bool) -> bool:
    return old != new if exact else abs(old - new) > ELSEWHERE * abs(old)


# --- board and tables --------------------------------------------------------------------------


def _board_problems(arguments: argparse.Namespace, work: Workspace) -> Iterator[str]:
    board: Path = arguments.board
    if not board.exists():
        return
    if in_checkout(board):
        gone, _ = diff(board, arguments.base)
        what = f"board: row gone or edited since {arguments.base}"
        yield from (f"{what}: {row}" for row in gone[:SHOWN])
        if len(gone) > SHOWN:
            yield f"{what}: and {len(gone) - SHOWN:,} more; `bench board diff {arguments.base}`"
    else:
        print(f"note: {board} is in no git checkout: rows that are gone cannot all be known")
    yield from (f"board: {problem}" for problem in validate(board))
    for suite in published_suites(arguments.reports):
        yield from _stale(suite, arguments, work)


def published_suites(reports: Path) -> list[str]:
    """Suites whose report on the embedded dataset is in the repository."""
    return [name for name in names("suite") if (reports / name / "README.md").exists()]


def _stale(suite: str, arguments: argparse.Namespace, work: Workspace) -> Iterator[str]:
    """Text files of a report that are not what the board gives now."""
    kept = report_folder(arguments.reports, suite, EMBEDDED)
    with TemporaryDirectory() as place:
        fresh = Path(place) / suite
        regenerate(suite, EMBEDDED, arguments.board, fresh, work)
        for path in sorted(fresh.iterdir()):
            if path.suffix in (".png", ".svg"):
                continue  # fonts differ between machines
            other = kept / path.name
            if not other.exists() or not filecmp.cmp(path, other, shallow=False):
                yield f"{other} is not up to date: bench report {suite}"
