"""Compare two systems in one or more scores: difference, interval, p, and plain words.

A and B are run ids (or their beginnings), or CSV files of predictions (study_id,report). Files are
of the embedded dataset, or of a run's that they are compared with, unless `dataset=NAME` is given.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.data.registry import chosen_dataset, split_overrides
from bench.data.study import Dataset
from bench.errors import BenchError, some
from bench.metrics import registry
from bench.metrics.cache import keep
from bench.metrics.scoring import Scored, score
from bench.runs.score import SPLIT, TABLES
from bench.runs.workspace import Workspace, default_cache, default_out
from bench.spec import TREATMENT, RunSpec
from bench.stats.compare import Comparison, System, compare, corrected
from bench.store import RunFolder, find_run, load_spec
from bench.terminal import number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", help="run id or predictions.csv")
    parser.add_argument("b", help="run id or predictions.csv")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="dataset=NAME dataset.KEY=value"
    )
    parser.add_argument("--metric", default=",".join(registry.compared()), help="scores, by commas")
    parser.add_argument(
        "--treatment", "--text", default=TREATMENT, help="text treatment (--text: its old name)"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, default=default_out(), help="folder of the runs")
    parser.add_argument("--cache", type=Path, default=default_cache())


@dataclass(frozen=True, eq=False)
class _Side:
    """What was named: its statistics, and the spec of a run (None: someone's file)."""

    name: str
    scored: Scored
    spec: RunSpec | None

    @property
    def seeded(self) -> bool:
        return self.spec is not None and self.spec.kind != "floor"


def run(arguments: argparse.Namespace) -> int:
    settings = split_overrides(arguments.settings)
    keep(arguments.cache)
    names = registry.listed(arguments.metric)
    families = registry.families(names)
    folders = {name: _folder(name, arguments.out) for name in (arguments.a, arguments.b)}
    specs = {name: load_spec(folder) for name, folder in folders.items() if folder}
    work = Workspace(arguments.out, arguments.cache)
    dataset = chosen_dataset(settings) if settings else _dataset(specs, work)
    sides = [
        _Side(name, _scored(Path(name), folder, dataset, families), specs.get(name))
        for name, folder in folders.items()
    ]
    a, b = sides[0], sides[-1]  # one entry where both are the same
    found = corrected([_compare(a, b, m, arguments.treatment, dataset) for m in names])
    if arguments.json:
        print(json.dumps([c.record() for c in found], indent=1))
    else:
        print("\n".join(map(_line, found)))
    return 0


def _line(c: Comparison) -> str:
    caveat = f" ({c.caveat})" if c.caveat else ""
    return f"{c.score}: {number(c.value_a)} against {number(c.value_b)}. {c.sentence()}{caveat}"


def _folder(name: str, out: Path) -> RunFolder | None:
    """The folder of a run that was scored before, None for a file."""
    if Path(name).is_file():
        return None
    folder = find_run(out, name, "run or file")
    if not (folder / TABLES).exists():
        raise BenchError(f"{folder.run_id} has no scores", "run its suite again to score it")
    return folder


def _dataset(specs: Mapping[str, RunSpec], work: Workspace) -> Dataset:
    """The runs' own dataset, the embedded one for two files."""
    data = {spec.data.manifest: spec for spec in specs.values()}
    if len(data) > 1:
        told = " and ".join(f"{name}: {spec.data.name}" for name, spec in specs.items())
        raise BenchError(
            f"the runs used different data ({told})", "compare runs of the same manifest"
        )
    return work.open(*data.values()).dataset if data else chosen_dataset({})


def _scored(file: Path, folder: RunFolder | None, dataset: Dataset, families: list[str]) -> Scored:
    """Statistics of a run that was scored before, or of a file that is scored now."""
    return Scored.load(folder / TABLES) if folder else score(file, dataset, SPLIT, families)


def _compare(a: _Side, b: _Side, metric: str, treatment: str, dataset: Dataset) -> Comparison:
    family = registry.family(metric)
    systems = [_system(side, family, treatment, dataset) for side in (a, b)]
    return compare(systems[0], systems[1], registry.load(family), metric)


def _system(side: _Side, family: str, treatment: str, dataset: Dataset) -> System:
    table = side.scored.statistics.get((treatment, family))
    if table is None:
        raise BenchError(
            f"{side.name} has no {family} under {treatment}", "see `bench list metrics`"
        )
    patients = {s.id: s.patient for s in dataset.split(SPLIT)}
    ids = side.scored.ids
    strange = [i for i in ids if i not in patients]
    if strange:  # what a patient has in common would be left out of the intervals
        raise BenchError(
            f"{side.name} has studies that are not in {dataset.name}: {some(strange)}",
            "give the dataset: dataset=NAME",
        )
    return System(side.name, table, ids, tuple(patients[i] for i in ids), side.seeded)
