"""What each row has cost: its training, and beside it the pretraining of the weights it began with.

Rows of a suite share one training budget; what their initial weights have cost is not part of it.
Both stand here side by side, with the digest of the weights, so that nobody compares a row that
saw the images twice with one that saw them once and does not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from bench.boards.rows import initial
from bench.boards.validate import behind
from bench.files import csv_text
from bench.reporting.hours import Hours, hours
from bench.runs.workspace import RANDOM, pretraining_of
from bench.store import RunFolder, load_spec, read_json
from bench.suites.plan import Planned
from bench.suites.tuning import RATE

if TYPE_CHECKING:
    from bench.reporting.summary import Summary
    from bench.spec import RunSpec

FILE = "budget.csv"


@dataclass(frozen=True)
class Spent:
    """Examples seen, FLOPs and device-seconds of optimiser steps; evaluation is not counted."""

    examples: float = 0.0
    flops: float = 0.0
    device_seconds: float = 0.0


@dataclass(frozen=True)
class Cost:
    """A row's means over its seeds. `pretraining` None: begun elsewhere or not published.

    `settings` and `tuning`: what the row's trials chose, and what all of them cost; "" and nothing
    where the YAML's values were taken.
    """

    row: str
    initial: str
    training: Spent
    pretraining: Spent | None
    settings: str = ""
    tuning: Spent | None = Spent()
    hours: Hours = field(default_factory=Hours)  # of all its trainings


def costs(suite: Summary) -> list[Cost]:
    """One entry a trained row of a suite, in its order."""
    return [_cost(row, suite.keys[row], suite.contrasts.out) for row in suite.trained]


def _cost(row: str, runs: Sequence[str], out: Path) -> Cost:
    folders = [RunFolder(out, run_id) for run_id in runs]
    specs = [load_spec(folder) for folder in folders]
    begun = dict.fromkeys(initial(Planned(row, "trained", "", spec)) for spec in specs)
    before = [_pretraining(spec, out) for spec in specs]
    known = [spent for spent in before if spent is not None]
    return Cost(
        row,
        "; ".join(filter(None, begun)),
        _mean([_spent(folder) for folder in folders]),
        _mean(known) if len(known) == len(before) else None,
        "; ".join(dict.fromkeys(filter(None, map(_settings, specs)))),
        _tuning(specs[0], out),  # once for all seeds
        hours(runs, out),
    )


def whole(suite: Summary) -> Hours:
    """What all trainings, pretrainings and trials behind a suite's rows took, each once."""
    out = suite.contrasts.out
    runs = [run for row in suite.trained for run in suite.keys[row]]
    before = [needed for run in runs for needed in behind(RunFolder(out, run))]
    return hours([*runs, *before], out)


def _settings(spec: RunSpec) -> str:
    """`rate x 0.5, best of 5 trials`."""
    if spec.tuning is None:
        return ""
    said = (f"rate x {v:g}" if k == RATE else f"{k} {v}" for k, v in spec.tuning.chosen.items())
    return f"{', '.join(said)}, best of {spec.tuning.trials} trials"


def _pretraining(spec: RunSpec, out: Path) -> Spent | None:
    """What this harness spent on a run's initial weights; None where it cannot know."""
    parts = [spec.model, *([spec.tokenizer] if spec.tokenizer else [])]
    names = [ref for part in parts for ref in part.weights.values() if ref != RANDOM]
    runs = [run_id for run_id in map(pretraining_of, names) if run_id is not None]
    return _together(runs, out) if len(runs) == len(names) else None


def _tuning(spec: RunSpec, out: Path) -> Spent | None:
    """What the trials behind a run's settings have cost; None where they are not here."""
    return _together(spec.tuning.runs if spec.tuning else (), out)


def _together(runs: Iterable[str], out: Path) -> Spent | None:
    """The sum over distinct runs; None where one is not here."""
    found = [RunFolder(out, run_id) for run_id in sorted(set(runs))]
    if any(not (folder / "train.json").exists() for folder in found):
        return None
    return _sum(map(_spent, found))


def _spent(folder: RunFolder) -> Spent:
    facts = read_json(folder / "train.json")
    seconds = read_json(folder / "timing.json")["device_seconds"]
    return Spent(float(facts["examples"]), float(facts["flops"]), float(seconds))


def _sum(parts: Iterable[Spent]) -> Spent:
    columns = zip(*(asdict(part).values() for part in parts), strict=True)
    return Spent(*map(sum, columns))


def _mean(parts: Sequence[Spent]) -> Spent:
    columns = zip(*(asdict(part).values() for part in parts), strict=True)
    return Spent(*map(fmean, columns))


# --- shown -------------------------------------------------------------------------------------


def section(suite: Summary) -> str:
    """The budget section of a report; "" where nothing was trained."""
    found = costs(suite)
    if not found:
        return ""
    lines = [
        f"| {c.row} | {c.initial or RANDOM} | {_cells(c.training)} | {_cells(c.pretraining)} "
        f"| {c.hours} |"
        for c in found
    ]
    together = whole(suite)
    return (
        "### Budget: training, and the pretraining of the initial weights\n\n"
        "Initial weights with the first digits of their sha256. Examples, FLOPs and seconds of "
        "optimiser steps, means over seeds; a tokenizer's training counts as pretraining. "
        "A dash: the weights come from elsewhere. Last, of all trainings of the row, the hours by "
        "the clock, validation with them.\n\n"
        "| row | initial weights | examples | FLOPs | device s | pretraining: examples | FLOPs | "
        "device s | hours, all trainings |\n|---|---|---|---|---|---|---|---|---|\n"
        + "\n".join(lines)
        + "\n\n"
        f"All trainings, pretrainings and trials behind these rows: {together}"
        + (f", and {together.absent} that are not here" if together.absent else "")
        + ".\n"
    ) + _tuning_table(found)


def _tuning_table(found: Sequence[Cost]) -> str:
    """What each row's trials chose and cost; one sentence where nothing was tuned."""
    if not any(c.settings for c in found):
        return "\nNo row was tuned: rates and settings are those of the YAML (tune=0).\n"
    lines = [f"| {c.row} | {c.settings or '–'} | {_cells(c.tuning)} |" for c in found]
    return (
        "\nSettings chosen on validation, the same number of trials for every row, and what all "
        "trials of a row have cost, once for its seeds:\n\n"
        "| row | settings | examples | FLOPs | device s |\n|---|---|---|---|---|\n"
        + "\n".join(lines)
        + "\n"
    )


def _cells(spent: Spent | None) -> str:
    if spent is None:
        return "– | – | –"
    return f"{spent.examples:,.0f} | {spent.flops:.2e} | {spent.device_seconds:,.1f}"


def to_csv(found: Sequence[Cost]) -> str:
    """Full precision; empty where the pretraining is not known."""
    names = [f.name for f in fields(Spent)]
    head = [f"{kind}{name}" for kind in ("", "pretraining_", "tuning_") for name in names]
    head += ["core_hours", "gpu_hours"]
    rows = [
        [c.row, c.initial, c.settings,
         *(v for spent in (c.training, c.pretraining, c.tuning) for v in _values(spent)),
         c.hours.cores, sum(c.hours.gpus.values())]
        for c in found
    ]  # fmt: skip
    return csv_text(["row", "initial", "settings", *head], rows)


def _values(spent: Spent | None) -> list[float | str]:
    return list(asdict(spent).values()) if spent else [""] * len(fields(Spent))
