"""The versioned leaderboard: publish sealed runs, show differences, retract, validate.

publish SUITE [key=value ...]   append the rows of a suite's sealed runs, and their manifests
diff BASE                       rows gone or edited since a git revision (exit code 3), and new ones
retract RUN --reason TEXT       answer a run's rows with `retracted` rows; nothing is deleted, and
                                the run is not published there again
validate                        every row is what its run's sealed files say, and none is missing;
                                the runs of a name are its seeds, and all are on the same data
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.boards.publish import publish, retract, unpublished
from bench.boards.rows import BOARDS
from bench.boards.validate import diff, validate
from bench.errors import BenchError
from bench.runs.workspace import Workspace, default_cache, default_out
from bench.settings import ranged
from bench.spec import PROTOCOL
from bench.suites.plan import make_plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("publish", "diff", "retract", "validate"))
    parser.add_argument("what", nargs="?", default="", help="a suite, a git revision, or a run id")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as given to `bench run`")
    parser.add_argument("--reason", default="", help="why a run is retracted")
    parser.add_argument("--seeds", type=ranged(1, 1000), default=1)
    parser.add_argument("--board", type=Path, default=BOARDS / PROTOCOL)
    parser.add_argument("--out", type=Path, default=default_out(), help="folder of the runs")
    parser.add_argument("--cache", type=Path, default=default_cache())


def run(arguments: argparse.Namespace) -> int:
    if arguments.action == "publish":
        _needs(arguments.what, "a suite", "bench board publish SUITE")
        work = Workspace(arguments.out, arguments.cache)
        plan = make_plan(arguments.what, arguments.overrides, work, None, seeds=arguments.seeds)
        path, added, known = publish(plan, work, arguments.board)
        print(f"{path}: {added} rows added, {known} were there")
        print("".join(f"{line}\n" for line in unpublished(plan, work)), end="")
        return 0
    if arguments.action == "retract":
        _needs(
            arguments.what and arguments.reason,
            "a run and a reason",
            "bench board retract RUN --reason TEXT",
        )
        count = retract(arguments.board, arguments.what, arguments.reason)
        print(f"{count} rows of {arguments.what} retracted: {arguments.reason}")
        return 0
    if arguments.action == "diff":
        gone, new = diff(arguments.board, arguments.what or "HEAD")
        print("\n".join([f"gone or edited: {x}" for x in gone] + [f"new: {x}" for x in new]))
        print(f"{len(gone)} rows gone or edited, {len(new)} new")
        return 3 if gone else 0
    problems = validate(arguments.board)
    print("\n".join(problems) or "every row is what its run's sealed files say; none is missing")
    return 3 if problems else 0


def _needs(given: str, what: str, usage: str) -> None:
    if not given:
        raise BenchError(f"{usage.split()[2]} needs {what}", usage)
