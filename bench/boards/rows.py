"""Leaderboard rows: long form, full precision, one row a score.

A row never holds a rank, a delta or a rounded number: those are made when a table is printed.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bench.data.registry import EMBEDDED
from bench.errors import DataError
from bench.files import csv_text
from bench.metrics.predictions import PREDICTIONS
from bench.metrics.scoring import read_scores
from bench.runs.workspace import Workspace
from bench.spec import SEEDED
from bench.store import MANIFEST, RunFolder, file_digest, read_json, write_atomic
from bench.suites.plan import Plan, Planned

BOARDS = Path("leaderboards")
OWN_DATA = (EMBEDDED,)  # whose texts and films are the project's own, to publish as it likes
TEST = "test"  # the split that is scored; "test:fold2" where the data is one fold of a set


@dataclass(frozen=True)
class BoardRow:
    """One score of one run. `value` is None where a metric could not run: `reason` says why."""

    protocol: str
    dataset: str
    split: str
    stratum: str
    treatment: str  # of references and predictions
    model: str
    variant: str
    origin: str  # trained, rescored, paper, floor, control
    run_id: str
    spec_id: str
    seed: int
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    n_missing: int
    higher_is_better: bool
    signature: str
    interval: str  # how the interval was made
    initial: str  # initial weights and image tokenizer, by name and digest
    budget: str
    steps: int | None
    examples: int | None
    device_seconds: float | None
    params_m: float | None
    commit: str
    predictions_sha: str
    added: str  # date, UTC; empty until the row enters a board
    status: str  # active, retracted
    reason: str


COLUMNS = tuple(f.name for f in fields(BoardRow))


def suite_rows(plan: Plan, work: Workspace) -> list[BoardRow]:
    """The rows of every scored run of a plan, in its order."""
    return [row for planned in plan.runs for row in run_rows(planned, plan.dataset, work)]


def run_rows(planned: Planned, dataset: str, work: Workspace) -> list[BoardRow]:
    """All scores of one run: whole split, strata, controls."""
    return folder_rows(planned, dataset, RunFolder(work.out, planned.spec.run_id))


def has_scores(folder: RunFolder) -> bool:
    """Whether a run's scores are sealed, and not half of those that are being made."""
    manifest = folder.manifest
    return manifest is not None and manifest["status"] == "scored"


def folder_rows(planned: Planned, dataset: str, folder: RunFolder) -> list[BoardRow]:
    """The rows that a run's folder, or what a board keeps of it, stands for."""
    if not has_scores(folder):
        return []
    common = _common(planned, dataset, folder)
    return [_row(score, planned, common) for score in read_scores(folder / "scores.json")]


def _common(planned: Planned, dataset: str, folder: RunFolder) -> dict[str, Any]:
    spec = planned.spec
    trained = planned.origin == "trained"
    facts = read_json(folder / "train.json") if trained else {}
    timing = read_json(folder / "timing.json") if trained else {}
    return {
        "protocol": spec.protocol,
        "dataset": dataset,
        "split": TEST if planned.fold is None else f"{TEST}:fold{planned.fold}",
        "model": planned.model,
        "variant": planned.name,
        "run_id": spec.run_id,
        "spec_id": spec.spec_id,
        "seed": spec.seed,
        "initial": initial(planned),
        "budget": f"{spec.budget.amount:g} {spec.budget.unit}" if trained else "",
        "steps": facts.get("steps"),
        "examples": facts.get("examples"),
        "device_seconds": timing.get("device_seconds"),
        "params_m": facts["parameters"] / 1e6 if facts else None,
        "commit": read_json(folder / "env.json")["commit"],
        "predictions_sha": _predictions_sha(folder),
        "added": "",
        "status": "active",
    }


def _predictions_sha(folder: RunFolder) -> str:
    """Of the file, or of the manifest where the file itself is not kept (texts of real data)."""
    if (folder / PREDICTIONS).exists():
        return file_digest(folder / PREDICTIONS)
    sha: str = read_json(folder / MANIFEST)["results"][PREDICTIONS]
    return sha


def initial(planned: Planned) -> str:
    """`visual:efficientnet-lite0@57934424; dvae:run:ab12@cd34`, digests cut to eight."""
    spec = planned.spec
    parts = {**spec.model.weights, **(spec.tokenizer.weights if spec.tokenizer else {})}
    return "; ".join(f"{k}:{_short(v)}" for k, v in parts.items())


def _short(reference: str) -> str:
    """Weights that follow the run's seed by their pretraining's spec alone: one for all seeds."""
    name, _, sha = reference.partition("@")
    if name.startswith(SEEDED):
        return name.rpartition("-s")[0]
    return f"{name}@{sha[:8]}".rstrip("@")


def _row(score: dict[str, Any], planned: Planned, common: dict[str, Any]) -> BoardRow:
    return BoardRow(
        **common,
        stratum=score["stratum"],
        treatment=score["treatment"],
        origin="control" if score["control"] else planned.origin,
        metric=score["metric"],
        value=score.get("value"),
        ci_low=score.get("ci_low"),
        ci_high=score.get("ci_high"),
        n=score["n"],
        n_missing=score.get("n_missing", 0),
        higher_is_better=score.get("higher_is_better", True),
        signature=score.get("signature", ""),
        interval=score.get("interval", ""),
        reason=score.get("unavailable", "") or score["control"],
    )


# --- files -------------------------------------------------------------------------------------


def to_csv(rows: Iterable[BoardRow]) -> str:
    """Full precision (repr of floats), empty for None, LF line ends."""
    return csv_text(COLUMNS, (list(asdict(row).values()) for row in rows))


def write_rows(path: Path, rows: Sequence[BoardRow]) -> None:
    write_atomic(path, to_csv(rows))


def read_rows(path: Path) -> list[BoardRow]:
    """Rows of a board file; a wrong header or value is a DataError that names the line."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise DataError(
                    f"{path}: the columns are not a board's", f"expected {','.join(COLUMNS)}"
                )
            return [_parse(path, reader.line_num, line) for line in reader]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}", "put the board's file back") from error


def _parse(path: Path, number: int, line: dict[str, str]) -> BoardRow:
    values: dict[str, Any] = dict(line)
    try:
        if None in values or None in values.values():
            raise ValueError(f"not {len(COLUMNS)} fields")
        for name in ("value", "ci_low", "ci_high", "device_seconds", "params_m"):
            values[name] = float(line[name]) if line[name] else None
        for name in ("steps", "examples"):
            values[name] = int(line[name]) if line[name] else None
        for name in ("seed", "n", "n_missing"):
            values[name] = int(line[name])
        values["higher_is_better"] = {"True": True, "False": False}[line["higher_is_better"]]
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}, line {number}: not a board's row ({error})") from None
    return BoardRow(**values)


def row_key(row: BoardRow) -> tuple[str, ...]:
    """What makes a row the same row: a run's score under one name, part, text and signature."""
    part = (row.origin, row.stratum, row.treatment, row.metric, row.signature)
    return (row.run_id, row.variant, *part)


def score_of(row: BoardRow) -> tuple[str, ...]:
    """A row's key without its signature: a score under another signature takes its place."""
    return row_key(row)[:-1]


def name_of(row: BoardRow) -> str:
    """A row in words: `UAR BLEU-4 (r2gen@1, all, trained, run 17e7-s0)`."""
    part = f"{row.treatment}, {row.stratum}, {row.origin}"
    return f"{row.variant} {row.metric} ({part}, run {row.run_id})"


def active(rows: Sequence[BoardRow]) -> list[BoardRow]:
    """Rows that have not been retracted."""
    gone = {row_key(r) for r in rows if r.status == "retracted"}
    return [r for r in rows if r.status == "active" and row_key(r) not in gone]
