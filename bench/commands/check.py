"""The regression gate on sampled data: what does the code compute now, and what did it before?

Compares golden scores of every metric, golden losses of the first steps of every model, the
floors, and the shuffled-image control with a golden file; then the board's rules and the tables.
Exit code 3 names what changed and by how much. The golden files come with the package, so that an
installation can be checked from any folder; the board and the reports are in the repository. In a
checkout `--accept` writes the present figures as golden: do that knowingly, and say in the commit
why they changed. `--same-numbers`: after a change of code that left every number as it was, record
it (leaderboards/PROTOCOL.md, rule 10). For other samples the golden file is your own, in `--golden
FOLDER` (it holds ids' digest, scores and losses, no text); CIDEr's idf depends on the sample, so it
is comparable with its own golden value only.
"""

from __future__ import annotations

import argparse
import filecmp
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.boards.rows import BOARDS
from bench.boards.validate import diff, in_checkout, validate
from bench.config import names
from bench.data.registry import EMBEDDED, split_overrides
from bench.errors import BenchError, some, unknown
from bench.identity import SAME_NUMBERS
from bench.metrics.cache import keep
from bench.reporting.selection import REPORTS, report_folder, reports_of
from bench.reporting.source import regenerate
from bench.runs.workspace import Workspace, default_cache
from bench.spec import PROTOCOL
from bench.store import read_json, write_json
from bench.suites.golden import (
    STEPS,
    changed_code,
    changes,
    measure,
    merged,
    platform_key,
    record,
    training_changes,
)
from bench.terminal import painted

SAMPLE = 64
RECORDED = (EMBEDDED, SAMPLE)  # the gate whose equal numbers are recorded
KEYS = ("dataset", "sample")
ACCEPT = "If a change is meant: bench check --accept, and say in the commit why."
UNLIKE_SHIPPED = (
    "This installation computes other figures than those that came with it: `bench doctor --all` "
    "lists the packages' versions; an altered installation is repaired by installing it again."
)
ELSEWHERE = (
    "This is not the repository that the package is read from: run it there, where it sees the "
    "board and the reports, before anything is accepted."
)
GOLDEN = Path(__file__).parents[1] / "golden"
SHOWN = 10  # lost rows of the board that are named one by one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("settings", nargs="*", metavar="key=value", help="dataset=NAME sample=N")
    parser.add_argument("--accept", action="store_true", help="make the present figures golden")
    parser.add_argument(
        "--same-numbers",
        action="store_true",
        help="where nothing but code changed: record that it gives the numbers of the code before "
        "(with --accept: that trainings do, while scores are to change)",
    )
    parser.add_argument("--golden", type=Path, default=GOLDEN, help="folder of golden files")
    parser.add_argument("--board", type=Path, default=BOARDS / PROTOCOL)
    parser.add_argument("--reports", type=Path, default=Path(REPORTS))
    parser.add_argument("--base", default="HEAD", help="git revision that the board only adds to")
    parser.add_argument("--cache", type=Path, default=default_cache())


def run(arguments: argparse.Namespace) -> int:
    settings = split_overrides(arguments.settings)
    for key in settings:
        if key not in KEYS:
            raise unknown("setting", key, KEYS)
    dataset, count = settings.get("dataset", EMBEDDED), _count(settings.get("sample", SAMPLE))
    path = arguments.golden / f"check-{dataset}-{count}.json"
    shipped = arguments.golden == GOLDEN and not in_source_tree()
    if arguments.accept and shipped:
        raise BenchError(
            "the golden files of an installed package stay as they are",
            "give --golden FOLDER of your own, or accept in a checkout of the repository",
        )
    if not path.exists() and not arguments.accept:
        folder = "FOLDER" if shipped else str(arguments.golden)
        raise BenchError(
            f"no golden file {path}",
            "to record the present figures of this sample: bench check "
            + " ".join([*arguments.settings, "--accept", "--golden", folder]),
        )
    if arguments.same_numbers and (arguments.golden != GOLDEN or (dataset, count) != RECORDED):
        raise BenchError(
            "equal numbers are recorded of the whole gate alone", "bench check --same-numbers"
        )
    keep(arguments.cache)
    with TemporaryDirectory() as place:
        work = Workspace(Path(place), arguments.cache)
        now = measure(dataset, count, work)
        problems = [] if dataset != EMBEDDED else list(_all_boards(arguments, work))
    golden = read_json(path) if path.exists() else None
    other = changed_code(golden, now) if golden is not None else {}
    if arguments.accept:
        if arguments.same_numbers:
            _record_trainings(other, golden, now)
        write_json(path, merged(golden, now))
        print(f"wrote {path}: the present figures are golden now")
        return 0
    if golden is not None:
        problems = [*changes(golden, now, dataset == EMBEDDED), *problems]
    for problem in problems:
        print(painted(f"FAIL {problem}"))
    if problems:
        here = arguments.golden != GOLDEN or _in_repository()
        print(UNLIKE_SHIPPED if shipped else ACCEPT if here else ELSEWHERE)
    else:
        print(painted(f"ok: {_counts(now)}"))
        _tell_of_code(other, arguments, path, golden, now)
    return 3 if problems else 0


def _record_trainings(
    other: Mapping[str, Mapping[str, str]],
    golden: Mapping[str, Any] | None,
    now: Mapping[str, Any],
) -> None:
    """Where scores are to change, but trainings did not: their runs stay runs of this code."""
    for problem in training_changes(golden or {"losses": {}}, now):
        raise BenchError(f"not the same numbers: {problem}", "bench check --accept alone")
    print(f"{record(other)} digests recorded in {SAME_NUMBERS} as of the same numbers")


def _tell_of_code(
    other: Mapping[str, Mapping[str, str]],
    arguments: argparse.Namespace,
    path: Path,
    golden: Mapping[str, Any] | None,
    now: Mapping[str, Any],
) -> None:
    """Code that changed while no number did: recorded when asked, else said how."""
    if arguments.same_numbers and not in_source_tree():
        raise BenchError("an installation records nothing", "run it in the repository")
    here = platform_key() in (golden or {}).get("runs", {})
    if arguments.same_numbers and not here:
        raise BenchError(
            f"{path} has no short runs of this platform, {platform_key()}",
            "bench check --accept with the code before the change, then again with this one",
        )
    if not other or not in_source_tree():
        return
    if not arguments.same_numbers:
        print(
            f"note: the code of {some(other)} changed, and no number did: `bench check "
            "--same-numbers` records that, so that published runs stay runs of this code"
        )
        return
    print(f"{record(other)} digests recorded in {SAME_NUMBERS} as of the same numbers")
    write_json(path, merged(golden, now))


def _in_repository() -> bool:
    """Whether the command runs in the repository that the package is read from.

    From elsewhere, no board and no report of it are seen: what differs is no reason to accept.
    """
    return Path.cwd().is_relative_to(Path(__file__).parents[2])


def in_source_tree() -> bool:
    """Whether the package is read from its repository, where golden files may be changed."""
    return (Path(__file__).parents[2] / "pyproject.toml").exists()


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


# --- board and tables --------------------------------------------------------------------------


def _all_boards(arguments: argparse.Namespace, work: Workspace) -> Iterator[str]:
    """What is wrong with a board and its reports, and with those beside the protocol's own."""
    yield from _board_problems(arguments.board, arguments.reports, arguments.base, work)
    if arguments.board == BOARDS / PROTOCOL:
        for board in sorted({path.parent for path in BOARDS.glob("*/*.csv")} - {arguments.board}):
            reports = reports_of(board, arguments.reports)
            yield from _board_problems(board, reports, arguments.base, work)


def _board_problems(board: Path, reports: Path, base: str, work: Workspace) -> Iterator[str]:
    if not board.exists():
        print(f"note: no board {board} here, so none is checked: boards are in the repository")
        return
    if in_checkout(board):
        gone, _ = diff(board, base)
        what = f"board {board.name}: row gone or edited since {base}"
        yield from (f"{what}: {row}" for row in gone[:SHOWN])
        if len(gone) > SHOWN:
            yield f"{what}: and {len(gone) - SHOWN:,} more; `bench board diff {base}`"
    else:
        print(f"note: {board} is in no git checkout: rows that are gone cannot all be known")
    yield from (f"board {board.name}: {problem}" for problem in validate(board))
    for suite in published_suites(reports):
        yield from _stale(suite, board, reports, work)


def published_suites(reports: Path) -> list[str]:
    """Suites whose report on the embedded dataset is in the repository."""
    return [name for name in names("suite") if (reports / name / "README.md").exists()]


def _stale(suite: str, board: Path, reports: Path, work: Workspace) -> Iterator[str]:
    """Text files of a report that are not what the board gives now."""
    kept = report_folder(reports, suite, EMBEDDED)
    with TemporaryDirectory() as place:
        fresh = Path(place) / suite
        regenerate(suite, EMBEDDED, board, fresh, work)
        for path in sorted(fresh.iterdir()):
            if path.suffix in (".png", ".svg"):
                continue  # fonts differ between machines
            other = kept / path.name
            if not other.exists() or not filecmp.cmp(path, other, shallow=False):
                yield f"{other} is not up to date: bench report {suite} --board {board}"
