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
import csv
import datetime
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.assess import CONTROLS, FEATURES
from bench.board import (
    COLUMNS,
    BoardRow,
    folder_rows,
    mixed,
    read_rows,
    suite_rows,
    to_csv,
    write_rows,
)
from bench.errors import BenchError, some, unknown
from bench.metrics import registry
from bench.plan import Planned, make_plan
from bench.seal import manifest_problems
from bench.spec import PROTOCOL, RunSpec
from bench.store import MANIFEST, RunFolder, file_digest, read_json
from bench.verify import load_spec
from bench.workspace import Workspace, default_cache, default_out

BOARDS = Path("leaderboards")
# Of a run's files, what a board holds. Weights are too large; predictions of real data may repeat
# report texts, so those stay with whoever has the data.
PUBLISHED = ("manifest.json", "spec.json", "env.json", "train.json", "timing.json", "curve.csv",
             "losses.csv", "pretraining.json", "scores.json", "scores.npz",
             *CONTROLS.values())  # fmt: skip
TEXTS = ("predictions.csv",)
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
    print("\n".join(problems) or "every row is what its run's sealed files say; none is missing")
    return 3 if problems else 0


# --- publish -----------------------------------------------------------------------------------


def _publish(arguments: argparse.Namespace) -> int:
    work = Workspace(arguments.out, arguments.cache)
    plan = make_plan(arguments.what, arguments.overrides, work, None, seeds=arguments.seeds)
    # A metric that could not run here has no number to publish; scores.json says why.
    rows = [r for r in suite_rows(plan, work) if r.value is not None]
    if not rows:
        raise BenchError(f"no sealed run of {arguments.what}", f"bench run {arguments.what} first")
    path = arguments.board / f"{plan.dataset}.csv"
    known = read_rows(path) if path.exists() else []
    rows += _under_other_names(known, rows)
    added = new_rows(known, rows)
    # All that can be refused is refused here: a run's files on the board are not to be replaced
    # by such as contradict its rows.
    _refuse_retracted(known, rows, path, work.out)
    _refuse_lost(active(known), rows, path)
    _refuse_changed(active(known), rows, {r.run_id for r in added}, path)
    own = {planned.spec.run_id: planned.spec for planned in plan.runs}
    refuse_mixed(arguments.board, active([*known, *added]), own)
    runs = {r.run_id for r in added} | {s.run_id for s in plan.pretrained}
    for run_id in sorted(runs):
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


def _under_other_names(known: Sequence[BoardRow], rows: Sequence[BoardRow]) -> list[BoardRow]:
    """`rows` under the names that their runs have on the board from other suites.

    One folder of files serves all names of a run, so a new score is a new row of each of them.
    """
    here = {(r.run_id, r.variant) for r in rows}
    scores: dict[str, dict[tuple[str, ...], BoardRow]] = {}
    for row in rows:
        score = (row.origin, row.stratum, row.text, row.metric)
        scores.setdefault(row.run_id, {}).setdefault(score, row)
    names = dict.fromkeys((r.run_id, r.variant, r.model) for r in active(known))
    return [
        replace(row, variant=variant, model=model)
        for run_id, variant, model in names
        if (run_id, variant) not in here
        for row in scores.get(run_id, {}).values()
    ]


def _refuse_retracted(
    known: Iterable[BoardRow], rows: Iterable[BoardRow], path: Path, out: Path
) -> None:
    """A retraction is for good: a run id stands for one set of numbers, and those were withdrawn.

    A run that was mended in code, settings or data is another run with another id.
    """
    reasons = {r.run_id: r.reason for r in known if r.status == "retracted"}
    for run_id in dict.fromkeys(r.run_id for r in rows):
        if run_id in reasons:
            raise BenchError(
                f"run {run_id} was retracted from {path} ({reasons[run_id]}), and stays so",
                f"move {out / run_id} away and publish the others; a run with other code, "
                "settings, data or seed has another id and may be published; if only its scores "
                "were wrong, publish to a new board: --board FOLDER",
            )


def _refuse_lost(there: Iterable[BoardRow], rows: Sequence[BoardRow], path: Path) -> None:
    """A run's statistics on the board must go on holding every row that it has there."""
    runs, found = {r.run_id for r in rows}, {_score_of(r) for r in rows}
    mine = [r for r in there if r.run_id in runs]
    lost = [r for r in mine if _score_of(r) not in found]
    if not lost:
        return
    names = dict.fromkeys(r.metric for r in lost if r.run_id == lost[0].run_id)
    families = dict.fromkeys(
        registry.family(r.metric) for r in [*mine, *rows] if r.text != FEATURES
    )
    raise BenchError(
        f"{path} has {name_of(lost[0])}, and the run's scores here lack it: {some(names)}",
        "score the run again with all metrics that it has there, where they can be computed: "
        f"bench run SUITE --metrics {','.join(families)}",
    )


def _refuse_changed(
    there: Iterable[BoardRow], rows: Iterable[BoardRow], extended: set[str], path: Path
) -> None:
    """A row that is there stays as it is: another value for it is an error, not an update.

    A run made twice has its times twice; its files on the board stay those of the first time, so
    a run that is `extended` by new rows must be that very one.
    """
    found = {_score_of(r): r for r in rows}
    for old in there:
        new = found.get(_score_of(old))
        edits = _edits(old, new) if new is not None else []
        if new is not None and edits and (old.value != new.value or old.run_id in extended):
            raise BenchError(
                f"{path} has {name_of(old)} already, and not as this run has it: {edits[0]}",
                "a run id stands for one set of numbers: publish the very runs that the board's "
                "rows are of, runs of another seed, or to a new board: --board FOLDER",
            )


def _score_of(row: BoardRow) -> tuple[str, ...]:
    """A row's key without its signature: a score under another signature takes its place."""
    return row_key(row)[:-1]


def refuse_mixed(
    board: Path, rows: Sequence[BoardRow], own: Mapping[str, RunSpec] | None = None
) -> None:
    """Rows that no table can show side by side; `own`: specs of runs not on the board yet."""
    for problem in _mixed(board, rows, own or {}):
        raise BenchError(
            f"{board}: {problem}",
            "bench board retract RUN --reason ... for every run that is to go, or publish each "
            "kind to a --board of its own",
        )


def _mixed(board: Path, rows: Sequence[BoardRow], own: Mapping[str, RunSpec]) -> list[str]:
    """What `mixed` says of rows whose runs are the board's, or `own`."""
    runs = dict.fromkeys(r.run_id for r in rows)
    return mixed(rows, {run: own.get(run) or _spec_on(board, run) for run in runs})


def _spec_on(board: Path, run_id: str) -> RunSpec:
    folder = RunFolder(board / "runs", run_id)
    if not (folder / "spec.json").exists():
        raise BenchError(
            f"run {run_id} has rows on the board, but no {folder / 'spec.json'}",
            "bench board validate names all that is missing: put it back",
        )
    return load_spec(folder)


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
    there = _git(board, "ls-tree", "--name-only", base, "./").split()
    for name in sorted({*there, *(p.name for p in board.glob("*.csv"))}):
        if not name.endswith(".csv"):
            continue
        before = _git(board, "show", f"{base}:./{name}").splitlines()[1:] if name in there else []
        path = board / name
        now = path.read_text(encoding="utf-8").splitlines()[1:] if path.exists() else []
        kept, known = set(now), set(before)
        gone += [f"{name}: {_short(line)}" for line in before if line not in kept]
        new += [f"{name}: {_short(line)}" for line in now if line not in known]
    return gone, new


def in_checkout(board: Path) -> bool:
    """Whether git knows the folder: without, there is nothing to hold its rows against."""
    try:
        return _git(board, "rev-parse", "--is-inside-work-tree").strip() == "true"
    except BenchError:
        return False


def _git(board: Path, *arguments: str) -> str:
    command = ["git", "-C", str(board), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BenchError(f"git cannot be run: {error.strerror}", "install git") from None
    if done.returncode:
        said = " ".join(done.stderr.split())
        raise BenchError(f"git {arguments[0]} in {board}: {said}", "name a revision of a checkout")
    return done.stdout


def name_of(row: BoardRow) -> str:
    """A row in words: `UAR BLEU-4 (r2gen@1, all, trained, run 17e7-s0)`."""
    return f"{row.variant} {row.metric} ({row.text}, {row.stratum}, {row.origin}, run {row.run_id})"


def _short(line: str) -> str:
    cells = next(csv.reader([line]))
    if len(cells) != len(COLUMNS):
        return line[:120]
    row = dict(zip(COLUMNS, cells, strict=True))
    value = f"{row['value'] or 'no value'}" + (", retracted" if row["status"] != "active" else "")
    named = (row[k] for k in ("text", "stratum", "origin"))
    return f"{row['variant']} {row['metric']} ({', '.join(named)}, run {row['run_id']}): {value}"


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
    published: set[str] = set()
    for path in sorted(board.glob("*.csv")):
        try:
            rows = read_rows(path)
        except BenchError as error:
            problems.append(error.message)
            continue
        if to_csv(rows) != path.read_text(encoding="utf-8"):
            problems.append(f"{path}: not written in the board's own form")
        runs = dict.fromkeys(row.run_id for row in rows)
        published.update(runs)
        broken = {run: found for run in runs if (found := _run_problems(board, run))}
        problems += [p for found in broken.values() for p in found]
        whole = [r for r in rows if r.run_id not in broken]
        problems += _row_problems(path, whole)
        problems += [f"{path}: {x}" for x in _mixed(board, active(whole), {})]
    for folder in sorted((board / "runs").glob("*")):
        if folder.name not in published and (folder / "scores.json").exists():
            problems.append(f"run {folder.name} is on the board, but none of its rows")
    return problems


def _run_problems(board: Path, run_id: str) -> list[str]:
    """What is wrong with the files that a row rests on."""
    folder = RunFolder(board / "runs", run_id)
    if not (folder / MANIFEST).exists():
        return [f"run {run_id} has no {folder / MANIFEST}"]
    if found := manifest_problems(folder / MANIFEST, run_id):
        return found
    manifest = read_json(folder / MANIFEST)
    known = {**manifest["results"], **manifest["records"]}
    problems = []
    for name in sorted(known):
        if (folder / name).exists() and file_digest(folder / name) != known[name]:
            problems.append(f"{folder / name}: altered (sha256 differs from the manifest's)")
        elif name in PUBLISHED and not (folder / name).exists():
            problems.append(f"{folder / name}: missing")
    stranger = [n for n in folder.files() if n not in known]
    return problems + [f"{folder / name}: not in the manifest" for name in stranger]


def _row_problems(path: Path, rows: Sequence[BoardRow]) -> list[str]:
    """Where rows and the scores of their runs differ: edited, missing, doubled, unexplained."""
    problems = []
    systems = dict.fromkeys((r.run_id, r.variant, r.model, r.dataset) for r in rows)
    expected = {
        _place(row): row
        for run_id, variant, model, dataset in systems
        for row in _sealed_rows(path.parent, run_id, variant, model, dataset)
    }
    first: dict[tuple[str, ...], BoardRow] = {}
    for row in rows:
        if row.status == "retracted":
            if not row.reason:
                problems.append(f"{path}: {name_of(row)} is retracted without a reason")
            if _place(row) not in first:
                problems.append(f"{path}: {name_of(row)} is retracted, but its row is gone")
        elif row.status != "active":
            problems.append(f"{path}: {name_of(row)} has the status {row.status!r}")
        elif row.value is None:
            problems.append(f"{path}: {name_of(row)} has no value")
        elif _place(row) in first:
            problems.append(f"{path}: {name_of(row)} stands twice")
        elif _place(row) not in expected:
            problems.append(f"{path}: {name_of(row)} is in no scores.json")
        first.setdefault(_place(row), row)
    problems += [
        f"{path}: row missing: {name_of(row)}, {row.value!r}"
        for place, row in expected.items()
        if place not in first
    ]
    for place, row in first.items():
        if place in expected:
            problems += [f"{path}: {name_of(row)}: {x}" for x in _edits(row, expected[place])]
    return problems


def _place(row: BoardRow) -> tuple[str, ...]:
    """A row's identity without its signature, which may be what was edited."""
    return row.run_id, row.variant, row.model, row.origin, row.stratum, row.text, row.metric


def _edits(row: BoardRow, sealed: BoardRow) -> list[str]:
    """Columns that say something else than the run's sealed files."""
    own = ("added", "status")  # the board's, not the run's
    return [
        f"{name} is {getattr(row, name)!r}, the run's is {getattr(sealed, name)!r}"
        for name in COLUMNS
        if name not in own and getattr(row, name) != getattr(sealed, name)
    ]


def _sealed_rows(
    board: Path, run_id: str, variant: str, model: str, dataset: str
) -> list[BoardRow]:
    """The rows that a run's published files stand for under one name."""
    folder = RunFolder(board / "runs", run_id)
    spec = load_spec(folder)
    origin = "floor" if spec.kind == "floor" else "trained"
    rows = folder_rows(Planned(variant, origin, model, spec), dataset, folder)
    return [row for row in rows if row.value is not None]
