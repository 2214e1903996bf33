"""Compare two systems in one or more scores: difference, interval, p, and plain words.

A and B are run ids (or their beginnings), CSV files of predictions (study_id,report), or, with
--board, rows of a board. Several trainings of one system are given by commas, A1,A2 B1,B2: only
then is anything said of methods, since the luck of training is then counted. Runs in several folds
of a dataset are compared within each fold. Files are of the
embedded dataset, or of a run's that they are compared with, unless `dataset=NAME` is given.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.boards.comparable import mixed_specs
from bench.boards.rows import active, read_rows
from bench.data.registry import EMBEDDED, chosen_dataset, split_overrides
from bench.data.study import Dataset
from bench.errors import BenchError, some, unknown
from bench.metrics import registry
from bench.metrics.cache import keep
from bench.metrics.scoring import Scored, score
from bench.reporting import by_fold
from bench.reporting.by_fold import compare_runs, fold_of
from bench.reporting.contrasts import made_here, text_of
from bench.runs.score import SPLIT, TABLES
from bench.runs.workspace import Workspace, default_cache, default_out
from bench.spec import TREATMENT, RunSpec
from bench.stats.compare import Comparison, System, compare, corrected
from bench.stats.seeds import LIMIT
from bench.store import RunFolder, file_digest, load_spec
from bench.terminal import number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", help="run id, predictions.csv or row of the board; several by commas")
    parser.add_argument("b", help="the same")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="dataset=NAME dataset.KEY=value"
    )
    parser.add_argument("--metric", default=",".join(registry.compared()), help="scores, by commas")
    parser.add_argument(
        "--treatment",
        "--text",
        default=TREATMENT,
        help="text treatment, of scores that have a choice: those of raw reports, as all clinical "
        "ones, have none (--text: its old name)",
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--board", type=Path, help="take the published runs of this board")
    parser.add_argument("--out", type=Path, default=default_out(), help="folder of the runs")
    parser.add_argument("--cache", type=Path, default=default_cache())


@dataclass(frozen=True, eq=False)
class _Training:
    """What was named: its statistics, and the spec of a run (None: someone's file)."""

    name: str
    scored: Scored
    spec: RunSpec | None


@dataclass(frozen=True, eq=False)
class _Side:
    """One system: its trainings, or the one file or floor."""

    name: str
    trainings: tuple[_Training, ...]

    @property
    def seeded(self) -> bool:
        """A floor has no seed; of someone's file the others are not known."""
        return any(t.spec is None or t.spec.kind != "floor" for t in self.trainings)


def run(arguments: argparse.Namespace) -> int:
    settings = split_overrides(arguments.settings)
    keep(arguments.cache)
    names = registry.listed(arguments.metric)
    if not names:
        raise BenchError("--metric names no score", f"known: {', '.join(registry.compared())}, ...")
    families = registry.families(names)
    valid = {t for family in registry.families(registry.compared()) for t in _texts(family)}
    if arguments.treatment not in {*valid, *(t for f in families for t in _texts(f))}:
        raise unknown("treatment", arguments.treatment, valid)
    out = arguments.board / "runs" if arguments.board else arguments.out
    own = settings.get("dataset", EMBEDDED)
    known = _rows(arguments.board, own) if arguments.board else {}
    work = Workspace(out, arguments.cache)
    sides = [_named(text, out, known) for text in (arguments.a, arguments.b)]
    _refuse_twice(sides)
    specs = {n: load_spec(f) for side in sides for n, f in side.items() if f}
    if len({fold_of(spec) for spec in specs.values()} - {None}) > 1:
        rows = dict(zip((arguments.a, arguments.b), sides, strict=True))
        return _within_folds(arguments, rows, specs, work)
    dataset = chosen_dataset(settings) if settings else _dataset(specs, work)
    a, b = (
        _Side(
            text,
            tuple(
                _Training(n, _scored(Path(n), folder, dataset, families), specs.get(n))
                for n, folder in side.items()
            ),
        )
        for text, side in zip((arguments.a, arguments.b), sides, strict=True)
    )
    _refuse_mixed((a, b))
    found = corrected([_compare(a, b, m, arguments.treatment, dataset) for m in names])
    said = list(_conditions(found, a, b))
    if arguments.json:
        print(json.dumps([c.record() | {"conditions": said} for c in found], indent=1))
    else:
        print("\n".join([*said, *map(_line, found)]))
    return 0


def _within_folds(
    arguments: argparse.Namespace,
    sides: Mapping[str, Mapping[str, RunFolder | None]],
    specs: Mapping[str, RunSpec],
    work: Workspace,
) -> int:
    """Runs in several folds of one set: each fold is a block."""
    if len(sides) < 2 or any(n not in specs for side in sides.values() for n in side):
        raise BenchError("runs in folds are compared with runs in folds", "give two rows' runs")
    rows = {name: [specs[n] for n in side] for name, side in sides.items()}
    for problem in mixed_specs(rows):
        raise BenchError(problem, "give runs of two rows in the folds of one dataset")
    names = registry.listed(arguments.metric)
    found = compare_runs(rows, names, arguments.treatment, work)
    records = [c.record() for c in found]
    said = "\n".join([*(f"{c.score}: {c.sentence()}" for c in found), by_fold.LIMIT])
    print(json.dumps(records, indent=1) if arguments.json else said)
    return 0


def _line(c: Comparison) -> str:
    return f"{c.score}: {number(c.value_a)} against {number(c.value_b)}. {c.sentence()}"


def _conditions(found: Sequence[Comparison], a: _Side, b: _Side) -> Iterator[str]:
    """What the comparison leaves out, said before anything else."""
    if caveat := found[0].caveat:
        yield (
            f"{caveat[0].upper()}{caveat[1:]}. What follows is about these reports, not about "
            "methods: with other seeds it may come out the other way. Several trainings a side: "
            "bench compare A1,A2,... B1,B2,..."
        )
    if len({t.spec.spec_id if t.spec else t.name for s in (a, b) for t in s.trainings}) == 1:
        yield "Both sides are of one spec: they differ in their seeds alone."
    for side in (a, b):
        if len(side.trainings) > 1 and any(t.spec is None for t in side.trainings):
            yield f"The files of {side.name} are taken to be trainings of one system."
        weights = [_made_here(t.spec) for t in side.trainings if t.spec is not None]
        for name in sorted(frozenset.intersection(*weights) if len(weights) > 1 else ()):
            yield (
                f"All trainings of {side.name} began with one pretraining ({name}): how another "
                "would come out is not counted."
            )
    for warning in dict.fromkeys(w for c in found for w in c.warnings):
        yield f"Seeds to look at: {warning}. {LIMIT}"


def _made_here(spec: RunSpec) -> frozenset[str]:
    """Initial weights that a run of this harness made."""
    return frozenset(f"{part} {weights}" for part, weights in made_here(spec).items())


def _named(
    text: str, out: Path, known: Mapping[str, tuple[str, ...]]
) -> dict[str, RunFolder | None]:
    """The folders of the trainings that a side names; None for a file."""
    names = [n for item in text.split(",") for n in known.get(item, (item,))]
    found: dict[str, RunFolder | None] = {}
    for name in names:
        folder = _folder(name, out, known)
        if name in found or (folder and folder in found.values()):
            raise BenchError(f"{name} is given twice on one side", "give each training once")
        found[name] = folder
    return found


def _rows(board: Path, dataset: str) -> dict[str, tuple[str, ...]]:
    """Row -> its active runs: by its name alone on `dataset` and on a board of one dataset, and as
    DATASET:ROW on boards of several."""
    found: dict[str, dict[str, None]] = {}
    tables = sorted(board.glob("*.csv"))
    if not tables:
        raise BenchError(f"no board {board}", "bench board publish first, or give --board")
    for path in tables:
        for row in active(read_rows(path)):
            names = [row.variant] if len(tables) == 1 or path.stem == dataset else []
            names += [f"{path.stem}:{row.variant}"] if tables[1:] else []
            for name in names:
                found.setdefault(name, {})[row.run_id] = None
    return {name: tuple(runs) for name, runs in found.items()}


def _refuse_twice(sides: Sequence[Mapping[str, RunFolder | None]]) -> None:
    """Nothing is compared with itself, and trainings of a side are independent: the same one under
    two names is refused."""
    seen: dict[str, str] = {}
    for name, folder in (item for side in sides for item in side.items()):
        content = folder.run_id if folder else file_digest(Path(name))
        if content in seen:
            raise BenchError(
                f"{name} and {seen[content]} are the same reports"
                if name != seen[content]
                else f"{name} was given twice: it differs from itself by nothing",
                "give each training once, and another system to compare with",
            )
        seen[content] = name


def _refuse_mixed(sides: Sequence[_Side]) -> None:
    """Trainings of a side are of one spec but for the seed; anything else is no spread of seeds."""
    for side in sides:
        if len(side.trainings) == 1:
            continue
        specs = {t.spec.spec_id if t.spec else "" for t in side.trainings}
        if len(specs) > 1:
            raise BenchError(
                f"{side.name} has trainings of {len(specs)} specs",
                "give trainings of one system, which differ in their seed alone",
            )


def _folder(name: str, out: Path, known: Mapping[str, tuple[str, ...]]) -> RunFolder | None:
    """The folder of a run that was scored before, None for a file."""
    if Path(name).is_file():
        return None
    runs = sorted(p.name for p in out.glob("*") if (p / TABLES).exists())
    chosen = [run for run in runs if run.startswith(name)]
    if len(chosen) > 1:
        raise BenchError(f"{name!r} begins the ids of several runs", "give more of the id")
    if not chosen:
        raise unknown("run, row or file" if known else "run or file", name, [*known, *runs])
    return RunFolder(out, chosen[0])


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


def _system(side: _Side, family: str, text: str, dataset: Dataset) -> System:
    tables = [_table(training, family, text) for training in side.trainings]
    patients = {s.id: s.patient for s in dataset.split(SPLIT)}
    ids = side.trainings[0].scored.ids
    strange = [i for t in side.trainings for i in t.scored.ids if i not in patients]
    if strange:  # what a patient has in common would be left out of the intervals
        raise BenchError(
            f"{side.name} has studies that are not in {dataset.name}: {some(strange)}",
            "give the dataset: dataset=NAME",
        )
    if any(t.scored.ids != ids for t in side.trainings):
        raise BenchError(f"the trainings of {side.name} were scored on different studies")
    runs = np.stack(tables) if len(tables) > 1 else tables[0]
    return System(side.name, runs, ids, tuple(patients[i] for i in ids), side.seeded)


def _texts(family: str) -> tuple[str, ...]:
    return tuple(registry.load(family).treatments)


def _table(training: _Training, family: str, text: str) -> np.ndarray:
    text = text_of(family, text)
    table = training.scored.statistics.get((text, family))
    if table is None:
        raise BenchError(
            f"{training.name} has no {family} under {text}", "see `bench list metrics`"
        )
    return table
