"""The versioned leaderboard: publish sealed runs, show differences, retract, validate.

publish SUITE [key=value ...]   append the rows of a suite's sealed runs, and their manifests
diff BASE                       rows gone or edited since a git revision (exit code 3), and new ones
retract RUN --reason TEXT       answer a run's rows with `retracted` rows; nothing is deleted
validate                        every row resolves to an intact manifest and names its signature
"""

from __future__ import annotations

import argparse
import datetime
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from bench.board import BoardRow, read_rows, suite_rows, to_csv, write_rows
from bench.errors import BenchError, unknown
from bench.plan import make_plan
from bench.spec import PROTOCOL
from bench.store import MANIFEST, RunFolder, file_digest, read_json
from bench.workspace import Workspace, default_cache, default_out

BOARDS = Path("leaderboards")
# Of a run's files, what a board holds. Weights are too large; predictions of real data may repeat
# report texts, so those stay with whoever has the data.
PUBLISHED = ("manifest.json", "spec.json", "env.json", "train.json", "timing.json", "curve.csv",
             "losses.csv", "scores.json", "scores.npz", "scores_shuffled.npz")  # fmt: skip
TEXTS = ("predictions.csv", "predictions_shuffled.csv")
OWN_TEXT = ("synthetic",)  # datasets whose texts are the project's own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("publish", "diff", "retract", "validate"))
    parser.add_argument("what", nargs="?", default="", help="a suite, a git revision, or a run id")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as given to `bench run`")
    parser.add_argument("--reason", default="", help="why a run is retracted")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--board", type=Path, default=BOARDS / PROTOCOL)
    parser.add_argument("--out", type=Path, default=default_out(), help="folder of the runs")
    parser.add_argument("--cache", type=Path, default=default_cache())


def run(arguments: argparse.Namespace) -> int:
    if arguments.action == "publish":
        return _publish(arguments)
    if arguments.action == "retract":
        return _retract(arguments.board, arguments.what, arguments.reason)
    if arguments.action == "diff":
        gone, new = diff(arguments.board, arguments.what or "HEAD")
        print("\n".join([f"gone or edited: {x}" for x in gone] + [f"new: {x}" for x in new]))
        print(f"{len(gone)} rows gone or edited, {len(new)} new")
        return 3 if gone else 0
    problems = validate(arguments.board)
    print("\n".join(problems) or "every row resolves to an intact manifest")
    return 3 if problems else 0


# --- publish -----------------------------------------------------------------------------------


def _publish(arguments: argparse.Namespace) -> int:
    work = Workspace(arguments.out, arguments.cache)
    plan = make_plan(arguments.what, arguments.overrides, work, None, seeds=arguments.seeds)
    rows = [r for r in suite_rows(plan, work) if r.status == "active"]
    if not rows:
        raise BenchError(f"no sealed run of {arguments.what}", f"bench run {arguments.what} first")
    path = arguments.board / f"{plan.dataset}.csv"
    known = read_rows(path) if path.exists() else []
    added = new_rows(known, rows)
    specs = {p.spec.run_id for p in plan.runs} | {s.run_id for s in plan.pretrained}
    for run_id in sorted(specs):
        copy_run(RunFolder(work.out, run_id), arguments.board / "runs", plan.dataset)
    write_rows(path, [*known, *added])
    print(f"{path}: {len(added)} rows added, {len(rows) - len(added)} were there")
    return 0


def row_key(row: BoardRow) -> tuple[str, ...]:
    """What makes a row the same row: a run's score under one name, part, text and signature."""
    part = (row.origin, row.stratum, row.text, row.metric, row.signature)
    return (row.run_id, row.variant, *part)


def new_rows(known: Iterable[BoardRow], rows: Iterable[BoardRow]) -> list[BoardRow]:
    """`rows` that the board does not have, dated today (UTC)."""
    there = {row_key(r) for r in known if r.status == "active"}
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return [replace(r, added=today) for r in rows if row_key(r) not in there]


def copy_run(folder: RunFolder, runs: Path, dataset: str) -> None:
    """What a board keeps of a sealed run, as it is."""
    names = PUBLISHED + (TEXTS if dataset in OWN_TEXT else ())
    target = runs / folder.run_id
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (folder / name).exists():
            part = target / f".{name}.part"
            shutil.copyfile(folder / name, part)
            part.replace(target / name)


# --- rules -------------------------------------------------------------------------------------


def diff(board: Path, base: str) -> tuple[list[str], list[str]]:
    """Rows of a git revision that are gone or edited now, and rows that are new."""
    gone, new = [], []
    for path in sorted(board.glob("*.csv")) + _removed(board, base):
        before, now = _lines_at(path, base), _lines(path)
        gone += [f"{path.name}: {_short(line)}" for line in before if line not in now]
        new += [f"{path.name}: {_short(line)}" for line in now if line not in before]
    return gone, new


def _removed(board: Path, base: str) -> list[Path]:
    """Boards of the revision whose file is no longer there."""
    command = ["git", "ls-tree", "--name-only", base, f"{board.as_posix()}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"git does not know {base!r}: {done.stderr.strip()}", "name a revision")
    paths = map(Path, done.stdout.split())
    return [p for p in paths if p.suffix == ".csv" and not p.exists()]


def _lines_at(path: Path, base: str) -> dict[str, None]:
    command = ["git", "show", f"{base}:./{path.as_posix()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return dict.fromkeys(done.stdout.splitlines()[1:]) if done.returncode == 0 else {}


def _lines(path: Path) -> dict[str, None]:
    return dict.fromkeys(path.read_text(encoding="utf-8").splitlines()[1:]) if path.exists() else {}


def _short(line: str) -> str:
    cells = line.split(",")
    return ",".join(cells[:13]) if len(cells) > 13 else line


def _retract(board: Path, run_id: str, reason: str) -> int:
    if not run_id or not reason:
        raise BenchError("retract needs a run and a reason", "board retract RUN --reason TEXT")
    found = 0
    for path in sorted(board.glob("*.csv")):
        rows = read_rows(path)
        mine = retraction(rows, run_id, reason)
        if mine:
            write_rows(path, [*rows, *mine])
            found += len(mine)
    if not found:
        known = {r.run_id for p in board.glob("*.csv") for r in read_rows(p)}
        raise unknown("active run on this board", run_id, known)
    print(f"{found} rows of {run_id} retracted: {reason}")
    return 0


def retraction(rows: Sequence[BoardRow], run_id: str, reason: str) -> list[BoardRow]:
    """A `retracted` row for every active row of the run that has none yet."""
    done = {row_key(r) for r in rows if r.status == "retracted"}
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return [
        replace(r, status="retracted", reason=reason, added=today)
        for r in rows
        if r.run_id == run_id and r.status == "active" and row_key(r) not in done
    ]


def active(rows: Sequence[BoardRow]) -> list[BoardRow]:
    """Rows that have not been retracted."""
    gone = {row_key(r) for r in rows if r.status == "retracted"}
    return [r for r in rows if r.status == "active" and row_key(r) not in gone]


def validate(board: Path) -> list[str]:
    """One sentence for every rule that the board breaks."""
    problems: list[str] = []
    for path in sorted(board.glob("*.csv")):
        text = path.read_text(encoding="utf-8")
        rows = read_rows(path)
        if to_csv(rows) != text:
            problems.append(f"{path}: not written in the board's own form")
        for run_id in dict.fromkeys(r.run_id for r in rows):
            problems += _run_problems(board, run_id)
        problems += [
            f"{path}: {r.variant} {r.metric}: {e}" for r in rows for e in _row_problems(board, r)
        ]
    return problems


def _run_problems(board: Path, run_id: str) -> list[str]:
    folder = board / "runs" / run_id
    if not (folder / MANIFEST).exists():
        return [f"run {run_id} has no {folder / MANIFEST}"]
    manifest = read_json(folder / MANIFEST)
    known = {**manifest["results"], **manifest["records"]}
    return [
        f"{folder / name}: altered (sha256 differs from the manifest's)"
        for name in PUBLISHED + TEXTS
        if name in known and (folder / name).exists() and file_digest(folder / name) != known[name]
    ]


def _row_problems(board: Path, row: BoardRow) -> list[str]:
    """A row says what its run's scores.json says, or why it has no value."""
    if row.value is None:
        return [] if row.reason else ["neither a value nor a reason"]
    if not row.signature:
        return ["no signature"]
    scores = _scores(board, row.run_id)
    own = scores.get((row.metric, row.text, row.stratum, row.origin == "control"))
    if own is None:
        return [f"run {row.run_id} has no such score"]
    if own != (row.value, row.ci_low, row.ci_high, row.signature):
        return [f"differs from the scores of run {row.run_id}"]
    return []


@cache
def _scores(board: Path, run_id: str) -> dict[tuple[str, str, str, bool], tuple[object, ...]]:
    path = board / "runs" / run_id / "scores.json"
    if not path.exists():
        return {}
    return {
        (s["metric"], s["protocol"], s["stratum"], bool(s["control"])): (
            s.get("value"), s.get("ci_low"), s.get("ci_high"), s.get("signature", ""),
        )
        for s in read_json(path)
    }  # fmt: skip
