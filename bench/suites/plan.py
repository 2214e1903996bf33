"""A suite's rows as a plan of runs.

Pretraining and trials come first: a spec that uses pretrained weights or settings found by trials
holds their digests and values, so it can be written down only when they exist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import weights
from bench.errors import BenchError, unknown
from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.suites.composer import Composer, NotPretrainedError
from bench.suites.folds import by_fold
from bench.suites.suite import Row, Suite, is_open, load_suite, with_model

Prepare = Callable[..., None]  # runs the pretrainings or trials that it is given, unless sealed


@dataclass(frozen=True)
class Planned:
    """A row of a suite and the run behind it."""

    name: str
    origin: str  # trained, floor
    model: str
    spec: RunSpec

    @property
    def fold(self) -> int | None:
        """The fold of the data that the run is of; None where its dataset is one division."""
        return self.spec.data.params.get("fold")

    @property
    def label(self) -> str:
        """The row, and which of its runs: `UAR fold 2 seed 1`."""
        fold = "" if self.fold is None else f" fold {self.fold}"
        return self.name + fold + (f" seed {self.spec.seed}" if self.spec.seed else "")


@dataclass(frozen=True)
class Plan:
    name: str
    suite: Suite
    dataset: str
    runs: tuple[Planned, ...]
    pretrained: tuple[RunSpec, ...] = ()
    left_out: tuple[str, ...] = ()  # one sentence for every row without its weights
    waiting: tuple[str, ...] = ()  # and for every row that waits for a pretraining
    threads: int = 0  # of a training at this budget; 0: all
    images: str = ""  # which images its rows see: a file of conf/images
    trials: tuple[RunSpec, ...] = ()  # behind the settings of its rows
    each: int = 1  # runs of a row: seeds times folds

    @property
    def waits(self) -> int:
        """How many runs the rows that wait will have."""
        return len(self.waiting) * self.each

    def distinct(self) -> list[Planned]:
        """One entry per run: rows that share a run train it once."""
        return list({planned.spec.run_id: planned for planned in self.runs}.values())


def make_plan(
    name: str,
    overrides: Sequence[str],
    work: Workspace,
    pretrain: Prepare | None,
    only: Sequence[str] = (),
    seeds: int = 1,
    smoke: bool = False,
) -> Plan:
    """Specs of all rows of suite `name`, in each fold that is asked for.

    `pretrain` runs pretrainings and trials that are not sealed yet; None leaves out the rows that
    wait for one (their specs cannot be written down), which is right for whoever only reads.
    """
    suite = _suite(name, overrides)
    rows, left_out = _available(_chosen(suite, only))
    composers = [
        Composer(work, pretrain, given, smoke, suite.pretrainings) for given in by_fold(overrides)
    ]
    if pretrain is not None:
        for composer in composers:
            composer.try_all(rows)
    runs: list[Planned] = []
    waiting: list[str] = []
    for row in rows:
        try:
            specs = [c.row(row, seed) for c in composers for seed in range(seeds)]
        except NotPretrainedError as error:
            waiting.append(f"{row.name}: waits for {error.message}")
            continue
        runs += [Planned(row.name, "trained", row.model, spec) for spec in specs]
    floors = [
        Planned(f, "floor", f"floor_{f}", c.floor(f)) for f in suite.floors for c in composers
    ]
    config = composers[0].config([], model=False)
    return Plan(
        name,
        suite,
        config["dataset"]["name"],
        (*floors, *runs),
        tuple(spec for c in composers for spec in c.pretrained.values()),
        left_out,
        tuple(waiting),
        config["budget"]["threads"] or 0,
        config["images"]["name"],
        tuple(spec for c in composers for spec in c.trials.values()),
        seeds * len(composers),
    )


def _suite(name: str, overrides: Sequence[str]) -> Suite:
    """The suite of a name; one that leaves a row's model open needs `model=NAME`."""
    suite = load_suite(name)
    if not is_open(suite):
        return suite
    models = [o.removeprefix("model=") for o in overrides if o.startswith("model=")]
    if not models:
        raise BenchError(
            f"suite {name} runs the model that you choose", f"bench run {name} model=NAME"
        )
    return with_model(suite, models[-1])


def _chosen(suite: Suite, only: Sequence[str]) -> list[Row]:
    known = [row.name for row in suite.rows]
    for name in only:
        if name not in known:
            raise unknown("row", name, known)
    return [row for row in suite.rows if not only or row.name in only]


def _available(rows: Sequence[Row]) -> tuple[list[Row], tuple[str, ...]]:
    """The rows whose weights are here, and a sentence for each of the others."""
    missing = {
        row.name: name
        for row in rows
        for name in row.needs
        if weights.locate(weights.entry(name)) is None
    }
    said = (f"{row}: left out, no weights {name!r}" for row, name in missing.items())
    return [row for row in rows if row.name not in missing], tuple(said)
