"""Publishing sealed runs to a board, and retracting them: rows are added, never changed."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.boards.comparable import refuse_mixed
from bench.boards.rows import (
    OWN_DATA,
    BoardRow,
    active,
    has_scores,
    name_of,
    read_rows,
    row_key,
    score_of,
    suite_rows,
    write_rows,
)
from bench.boards.validate import PUBLISHED, TEXTS, behind, edits
from bench.config import load_yaml, names
from bench.data.registry import parameters
from bench.errors import BenchError, some, unknown
from bench.files import exclusive, replacing, unwritable
from bench.metrics import registry
from bench.runs.features import FEATURES
from bench.runs.workspace import Workspace
from bench.store import RunFolder, sealed
from bench.suites.plan import Plan

# --- publish -----------------------------------------------------------------------------------


def publish(plan: Plan, work: Workspace, board: Path) -> tuple[Path, int, int]:
    """Append the rows of a plan's sealed runs, and copy what a board keeps of those runs.

    Returns the board's file, how many rows are new, and how many were there. All that can be
    refused is refused first: a run's files on the board are not to be replaced by such as
    contradict its rows.
    """
    # A metric that could not run here has no number to publish; scores.json says why.
    rows = [r for r in suite_rows(plan, work) if r.value is not None]
    if not rows:
        raise BenchError(f"no sealed run of {plan.name}", f"bench run {plan.name} first")
    if any(p.origin == "trained" for p in plan.runs) and all(r.origin == "floor" for r in rows):
        raise BenchError(
            f"of suite {plan.name} only the floors are sealed in {work.out} with these settings",
            f"give the settings that the runs were made with: bench board publish {plan.name} "
            "key=value ..., as given to `bench run`",
        )
    _refuse_unnamed(plan)
    try:
        board.mkdir(parents=True, exist_ok=True)
        with exclusive(board):  # another suite may be published just now
            return _append(plan, work, board, rows)
    except OSError as error:
        raise unwritable(board, error) from error


def _append(
    plan: Plan, work: Workspace, board: Path, rows: list[BoardRow]
) -> tuple[Path, int, int]:
    path = board / f"{plan.dataset}.csv"
    known = read_rows(path) if path.exists() else []
    rows += _under_other_names(known, rows)
    added = new_rows(known, rows)
    _refuse_retracted(known, rows, path, work.out)
    _refuse_lost(active(known), rows, path)
    _refuse_changed(active(known), rows, {r.run_id for r in added}, path)
    own = {planned.spec.run_id: planned.spec for planned in plan.runs}
    refuse_mixed(board, active([*known, *added]), own)
    published = {r.run_id for r in rows}
    needed = {run for run_id in published for run in behind(RunFolder(work.out, run_id))}
    for run_id in sorted({r.run_id for r in added} | needed):
        copy_run(RunFolder(work.out, run_id), board / "runs", plan.dataset)
    write_rows(path, [*known, *added])
    return path, len(added), len(rows) - len(added)


def unpublished(plan: Plan, work: Workspace) -> list[str]:
    """A sentence for every run of the plan that is not sealed and scored here."""
    here = (p for p in plan.runs if not has_scores(RunFolder(work.out, p.spec.run_id)))
    said = [f"{p.label}: not published, no scored run {p.spec.run_id} in {work.out}" for p in here]
    return [*said, *plan.left_out, *plan.waiting]


def new_rows(known: Iterable[BoardRow], rows: Iterable[BoardRow]) -> list[BoardRow]:
    """`rows` that the board does not have, dated today (UTC)."""
    there = {row_key(r) for r in known if r.status == "active"}
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return [replace(r, added=today) for r in rows if row_key(r) not in there]


def _refuse_unnamed(plan: Plan) -> None:
    """A board's file, its report and the command that makes it again name a dataset by its YAML.

    Runs on that dataset with another setting are runs on another one; only folds are told apart.
    """
    known = names("dataset")
    for data in (planned.spec.data for planned in plan.runs):
        own = parameters(load_yaml("dataset", data.name)) if data.name in known else data.params
        other = [f"dataset.{k}={v}" for k, v in data.params.items() if own.get(k) != v]
        if changed := [setting for setting in other if not setting.startswith("dataset.fold=")]:
            raise BenchError(
                f"runs with {some(changed)} are not on the dataset that {data.name} names",
                f"publish runs on a named dataset ({', '.join(known)}), or write a YAML with these "
                "settings and a name of its own (CONTRIBUTING.md)",
            )


def _under_other_names(known: Sequence[BoardRow], rows: Sequence[BoardRow]) -> list[BoardRow]:
    """`rows` under the names that their runs have on the board from other suites.

    One folder of files serves all names of a run, so a new score is a new row of each of them.
    """
    here = {(r.run_id, r.variant) for r in rows}
    scores: dict[str, dict[tuple[str, ...], BoardRow]] = {}
    for row in rows:
        score = (row.origin, row.stratum, row.treatment, row.metric)
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

    A run that was fixed in code, settings or data is another run with another id.
    """
    reasons = {r.run_id: r.reason for r in known if r.status == "retracted"}
    for run_id in dict.fromkeys(r.run_id for r in rows):
        if run_id in reasons:
            raise BenchError(
                f"run {run_id} was retracted from {path} ({reasons[run_id]}) and stays retracted",
                f"move {out / run_id} away and publish the others; a run with other code, "
                "settings, data or seed has another id and may be published; if only its scores "
                "were wrong, publish to a new board: --board FOLDER",
            )


def _refuse_lost(there: Iterable[BoardRow], rows: Sequence[BoardRow], path: Path) -> None:
    """A run's statistics on the board must go on holding every row that it has there."""
    runs, found = {r.run_id for r in rows}, {score_of(r) for r in rows}
    mine = [r for r in there if r.run_id in runs]
    lost = [r for r in mine if score_of(r) not in found]
    if not lost:
        return
    names = dict.fromkeys(r.metric for r in lost if r.run_id == lost[0].run_id)
    families = registry.families(r.metric for r in [*mine, *rows] if r.treatment != FEATURES)
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
    found = {score_of(r): r for r in rows}
    for old in there:
        new = found.get(score_of(old))
        edited = edits(old, new) if new is not None else []
        if new is not None and edited and (old.value != new.value or old.run_id in extended):
            raise BenchError(
                f"{path} already has {name_of(old)}, with other values than this run: {edited[0]}",
                "a run id stands for one set of numbers: publish exactly the runs that the board's "
                "rows are of, runs of another seed, or to a new board: --board FOLDER",
            )


def copy_run(folder: RunFolder, runs: Path, dataset: str) -> None:
    """What a board keeps of a sealed run, as it is."""
    names = PUBLISHED + (TEXTS if dataset in OWN_DATA else ())
    target = runs / folder.run_id
    for name in names:
        if sealed(folder / name).exists():
            with replacing(target / name) as part:
                shutil.copyfile(folder / name, part)


# --- rules -------------------------------------------------------------------------------------


def retract(board: Path, run_id: str, reason: str) -> int:
    """Answer a run's rows with `retracted` rows; returns how many."""
    if not any(board.glob("*.csv")):
        raise BenchError(f"no board {board}", "give --board")
    with exclusive(board):
        found = sum(_answered(p, run_id, reason) for p in sorted(board.glob("*.csv")))
    if not found:
        rows = [r for p in sorted(board.glob("*.csv")) for r in read_rows(p)]
        if reasons := [r.reason for r in rows if r.run_id == run_id and r.status == "retracted"]:
            raise BenchError(
                f"run {run_id} is retracted already: {reasons[0]}", "nothing is left to do"
            )
        raise unknown("active run on this board", run_id, {r.run_id for r in active(rows)})
    return found


def _answered(path: Path, run_id: str, reason: str) -> int:
    rows = read_rows(path)
    mine = retraction(rows, run_id, reason)
    if mine:
        write_rows(path, [*rows, *mine])
    return len(mine)


def retraction(rows: Sequence[BoardRow], run_id: str, reason: str) -> list[BoardRow]:
    """A `retracted` row for every active row of the run that has none yet."""
    done = {row_key(r) for r in rows if r.status == "retracted"}
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return [
        replace(r, status="retracted", reason=reason, added=today)
        for r in rows
        if r.run_id == run_id and r.status == "active" and row_key(r) not in done
    ]
