"""A board's rules: what is gone or edited, and whether each row is what its run's files say."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

from bench.boards.comparable import mixed_on
from bench.boards.rows import (
    COLUMNS,
    OWN_DATA,
    BoardRow,
    active,
    folder_rows,
    name_of,
    read_rows,
    to_csv,
)
from bench.errors import BenchError
from bench.runs.representations import REPRESENTATIONS
from bench.runs.score import CONTROLS
from bench.runs.workspace import pretraining_of
from bench.store import MANIFEST, RunFolder, file_digest, load_spec, read_json
from bench.suites.plan import Planned

# Of a run's files, what a board holds. Weights are too large; predictions of real data may repeat
# report texts, so those stay with whoever has the data.
PUBLISHED = ("manifest.json", "spec.json", "env.json", "train.json", "timing.json", "curve.csv",
             "losses.csv", "pretraining.json", "scores.json", "scores.npz",
             REPRESENTATIONS, *CONTROLS.values())  # fmt: skip
TEXTS = ("predictions.csv",)


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


def _short(line: str) -> str:
    cells = next(csv.reader([line]))
    if len(cells) != len(COLUMNS):
        return line[:120]
    row = dict(zip(COLUMNS, cells, strict=True))
    value = f"{row['value'] or 'no value'}" + (", retracted" if row["status"] != "active" else "")
    named = (row[k] for k in ("treatment", "stratum", "origin"))
    return f"{row['variant']} {row['metric']} ({', '.join(named)}, run {row['run_id']}): {value}"


def validate(board: Path) -> list[str]:
    """One sentence for every rule that the board breaks; no board is a BenchError."""
    if not any(board.glob("*.csv")):
        raise BenchError(f"no board {board}", "bench board publish first, or give --board")
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
        problems += _texts(board, path.stem, runs)
        whole = [r for r in rows if r.run_id not in broken]
        problems += _row_problems(path, whole)
        problems += [f"{path}: {x}" for x in mixed_on(board, active(whole), {})]
    folders = (RunFolder(board / "runs", name) for name in sorted(published))
    needed = [run for folder in folders for run in behind(folder)]
    problems += [p for run in dict.fromkeys(needed) for p in _run_problems(board, run)]
    for folder in sorted((board / "runs").glob("*")):
        if folder.name not in {*published, *needed}:
            problems.append(f"run {folder.name} is on the board, but none of its rows")
    return problems + _gone(board, published)


def behind(folder: RunFolder) -> list[str]:
    """Pretrainings and trials behind a run, as far as its spec can be read."""
    try:
        spec = load_spec(folder)
    except BenchError:  # which its own problems say
        return []
    parts = [spec.model, *([spec.tokenizer] if spec.tokenizer else [])]
    weights = [pretraining_of(w) for part in parts for w in part.weights.values()]
    return [*filter(None, weights), *(spec.tuning.runs if spec.tuning else ())]


def _gone(board: Path, published: Collection[str]) -> list[str]:
    """Runs that had rows in git's last commit and have neither rows nor a folder now."""
    if not in_checkout(board):
        return []
    try:
        names = _git(board, "ls-tree", "--name-only", "HEAD", "./").split()
    except BenchError:  # nothing was committed yet
        return []
    texts = [_git(board, "show", f"HEAD:./{name}") for name in names if name.endswith(".csv")]
    before = {row["run_id"]: None for text in texts for row in csv.DictReader(text.splitlines())}
    return [
        f"run {run} had rows in the last commit; rows and files are gone (retract, do not delete)"
        for run in before
        if run not in published and not (board / "runs" / run).exists()
    ]


def _texts(board: Path, dataset: str, runs: Collection[str]) -> list[str]:
    """Reports that lie on the board of a dataset whose texts are not the project's own."""
    if dataset in OWN_DATA:
        return []
    found = [RunFolder(board / "runs", run) / name for run in runs for name in TEXTS]
    said = f"reports of {dataset} are not to be published"
    return [f"{path}: {said}" for path in found if path.exists()]


def _run_problems(board: Path, run_id: str) -> list[str]:
    """What is wrong with the files that a row rests on."""
    folder = RunFolder(board / "runs", run_id)
    if not (folder / MANIFEST).exists():
        return [f"run {run_id} has no {folder / MANIFEST}"]
    if found := folder.manifest_problems():
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
            problems.append(f"{path}: {name_of(row)} is not in its run's scores.json")
        first.setdefault(_place(row), row)
    problems += [
        f"{path}: row missing: {name_of(row)}, {row.value!r}"
        for place, row in expected.items()
        if place not in first
    ]
    for place, row in first.items():
        if place in expected:
            problems += [f"{path}: {name_of(row)}: {x}" for x in edits(row, expected[place])]
    return problems


def _place(row: BoardRow) -> tuple[str, ...]:
    """A row's identity without its signature, which may be what was edited."""
    return row.run_id, row.variant, row.model, row.origin, row.stratum, row.treatment, row.metric


def edits(row: BoardRow, sealed: BoardRow) -> list[str]:
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
