"""The scored rows of a suite: their values, intervals and comparisons, for tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.boards.comparable import refuse_mixed
from bench.boards.rows import OWN_DATA, active, has_scores, read_rows
from bench.data.study import Dataset
from bench.errors import BenchError
from bench.metrics import registry
from bench.metrics.registry import RANKED_BY
from bench.reporting import by_fold, tables
from bench.reporting.contrasts import Contrasts, Key
from bench.reporting.tables import Figure, Grid
from bench.runs.workspace import Workspace
from bench.spec import TREATMENT, RunSpec
from bench.stats.compare import Comparison, corrected
from bench.store import RunFolder, load_spec
from bench.suites.plan import Plan
from bench.suites.suite import Suite, Table, load_suite

IMAGES = {
    "common": "Images: common (all rows see the same pixels, without flips, under one batch norm "
    "rule).",
    "published": "Images: as published (each model's own size, resizing, flips and batch norm "
    "rule).",
}


def _side(spec: RunSpec) -> int | None:
    """Pixels along the images of a model; None of a floor."""
    image = spec.model.params.get("image")
    return int(image["size"]) if image else None


def _seen(spec: RunSpec) -> str:
    """What a model reads of an image; "" of a floor."""
    side = _side(spec)
    if side is None:
        return ""
    pixels = f"{side} x {side} pixels"
    if spec.tokenizer is None:
        return pixels
    reader = spec.tokenizer.params.get("name") or spec.tokenizer.target.rpartition(".")[2]
    return f"what {reader} makes of {pixels}"


@dataclass
class Summary:
    """The scored rows of a suite on a dataset, and what can be said about them."""

    name: str
    suite: Suite
    dataset: str
    contrasts: Contrasts
    keys: dict[str, Key]  # row -> its run ids, one a seed (in each fold)
    data: Dataset
    overlap: float = 0.0  # of folds: test over training studies of one; 0 for one division
    folds: int = 1
    published: bool = False  # read from a board, whose reports are committed

    @property
    def shows_data(self) -> bool:
        """Whether a page or figure may show reports and films: ours, or where one's own runs are
        read, whose reports are not committed."""
        return not self.published or self.dataset in OWN_DATA

    @property
    def read_as(self) -> str:
        """The dataset, and the name that its settings give it where that says more: a subset."""
        own = self.data.name
        more = own.startswith(self.dataset) and own != self.dataset
        return f"{self.dataset} (read as {own})" if more else self.dataset

    @classmethod
    def of(cls, plan: Plan, work: Workspace) -> Summary:
        """From the sealed runs of a plan."""
        scored = [
            (planned.name, planned.spec)
            for planned in plan.runs
            if has_scores(RunFolder(work.out, planned.spec.run_id))
        ]
        every = [planned.spec for planned in plan.runs]
        return cls._of_runs(plan.name, plan.suite, plan.dataset, scored, every, work, work.out)

    @classmethod
    def _of_runs(
        cls,
        name: str,
        suite: Suite,
        dataset: str,
        scored: Sequence[tuple[str, RunSpec]],
        every: Sequence[RunSpec],
        work: Workspace,
        out: Path,
    ) -> Summary:
        """`every`: specs whose folds a row must have, scored or not."""
        folds = {by_fold.fold_of(spec): spec for spec in every}
        datasets = [work.open(spec).dataset for spec in folds.values()]
        data = by_fold.all_tested(datasets)
        overlap = by_fold.overlap(datasets) if len(datasets) > 1 else 0.0
        contrasts = Contrasts(out, work.cache, _patients(data))
        return cls(
            name, suite, dataset, contrasts, by_fold.keys(scored, folds), data, overlap, len(folds)
        )

    @classmethod
    def of_board(cls, name: str, dataset: str, board: Path, work: Workspace) -> Summary:
        """From the active rows of a board and the statistics published with them."""
        suite, path = load_suite(name), board / f"{dataset}.csv"
        if not path.exists():
            raise BenchError(
                f"no board {path}",
                "boards are in the repository: work in a checkout, give --board FOLDER of one, or "
                "take runs of your own with --out",
            )
        known = {row.name for row in suite.rows} | set(suite.floors)
        rows = [row for row in active(read_rows(path)) if row.variant in known]
        if not rows:
            raise BenchError(
                f"{board} has no row of suite {name} on {dataset}", "bench board publish first"
            )
        refuse_mixed(board, rows)  # so that the runs of a name are its seeds, and the data one
        runs = dict.fromkeys((row.variant, row.run_id) for row in rows)
        scored = [(row, load_spec(RunFolder(board / "runs", run))) for row, run in runs]
        specs = sorted((spec for _, spec in scored), key=lambda s: by_fold.fold_of(s) or 0)
        found = cls._of_runs(name, suite, dataset, scored, specs, work, board / "runs")
        return replace(found, published=True)

    @property
    def trained(self) -> list[str]:
        """Trained rows that were scored, in the order of the suite."""
        return [row.name for row in self.suite.rows if row.name in self.keys]

    @property
    def floors(self) -> list[str]:
        return [f for f in self.suite.floors if f in self.keys]

    def figure(self, row: str, metric: str, text: str) -> Figure:
        key = self.keys[row]
        ends = self.contrasts.interval(key, metric, text)
        return Figure(*ends, self.contrasts.next_run(key, metric, text))

    def per_run(self, row: str, metric: str, text: str) -> np.ndarray:
        """(S,) the score of each training of a row; empty where it has none."""
        if row not in self.keys or not self.has(metric, text, [row]):
            return np.empty(0)
        return self.contrasts.per_run(self.keys[row], metric, text)

    def derangements(self, row: str, control: str) -> set[int]:
        """Over how many each training's control of a row is averaged."""
        return self.contrasts.derangements((control, *self.keys[row]))

    def shared(self, rows: Sequence[str]) -> list[str]:
        """Which rows' trainings all began with the same pretrained weights."""
        groups: dict[str, list[str]] = {}
        for row in rows:
            several = row in self.keys and row not in self.floors and len(self.keys[row]) > 1
            for weights in self.contrasts.pretrained(self.keys[row]) if several else ():
                groups.setdefault(weights, []).append(row)
        return [
            f"All trainings of {', '.join(known)} began with one pretraining ({weights}): what is "
            "said of them holds for it, and how another would come out is not counted."
            for weights, known in groups.items()
        ]

    def of_one_training(self, rows: Sequence[str]) -> list[list[str]]:
        """Trained rows in groups: those of one are written by the same trainings."""
        groups: dict[Key, list[str]] = {}
        for row in rows:
            groups.setdefault(self.contrasts.trainings(self.keys[row]), []).append(row)
        return list(groups.values())

    def grid(
        self,
        table: Table,
        text: str,
        rescored: Mapping[tuple[str, str], Figure] | None = None,
    ) -> Grid:
        """A paper table as `bench.reporting.tables.build` takes `rescored`."""
        shown = [*(r for r in table.rows if r in self.keys), *self.floors]
        figures = {
            (r, m): self.figure(r, m, text)
            for m in tables.language_scores()
            for r in shown
            if self.has(m, text, [r])
        }
        best = {m: self.outstanding(shown, m, text) for m in tables.language_scores()}
        ticks = {row.name: row.ticks for row in self.suite.rows}
        found = tables.build(
            table, ticks, figures, self.floors, best, self.dataset, text, rescored=rescored
        )
        shared, images = self.shared(table.rows), self.protocol_notes(table.rows)
        return replace(found, notes=(*found.notes, *shared, *images))

    def protocol_notes(self, rows: Sequence[str]) -> list[str]:
        """Which images the rows saw, and how often each was tried before; "" is not stated."""
        firsts = {row: runs[0] for row in rows if (runs := self.keys.get(row))}
        found = {r: load_spec(RunFolder(self.contrasts.out, run)) for r, run in firsts.items()}
        specs = found.values()
        notes = [IMAGES[name] for name in dict.fromkeys(s.images for s in specs) if name]
        if len({_side(s) for s in specs} - {None}) > 1:  # an encoder brings its own preparation
            seen: dict[str, list[str]] = {}
            for row, spec in found.items():
                seen.setdefault(_seen(spec), []).append(row)
            each = "; ".join(f"{', '.join(names)}: {what}" for what, names in seen.items() if what)
            notes.append(f"What their models read of the images: {each}.")
        trained = [row for row in rows if row in self.keys and row not in self.floors]
        notes += [
            f"{', '.join(group)} are written by one training, with other searches: they differ in "
            "the search alone, and are no independent rows."
            for group in self.of_one_training(trained)
            if group[1:]
        ]
        trials = {s.tuning.trials if s.tuning else 0 for s in specs}
        if trials - {0}:
            each = " or ".join(map(str, sorted(trials)))
            notes.append(f"Tuned: settings are the best of {each} trials a row on validation.")
        return notes

    def trainings(self, row: str) -> int:
        """Trainings of a row on the same data: seeds, of each fold where there are folds."""
        return len(self.keys.get(row, ())) // self.folds

    def outstanding(self, rows: Sequence[str], metric: str, text: str) -> frozenset[str]:
        """The one row that is better than every other beyond doubt; empty where there is none,
        or where a row is one training, of which nothing is said."""
        shown = [r for r in rows if self.has(metric, text, [r])]
        if len(shown) < 2 or any(r not in self.floors and self.trainings(r) == 1 for r in shown):
            return frozenset()
        best = self.best(shown, metric, text)
        return best if len(best) == 1 else frozenset()

    def best(self, rows: Sequence[str], metric: str, text: str) -> frozenset[str]:
        """The row of the best value, and every row not distinguishable from it."""
        rows = [r for r in rows if self.has(metric, text, [r])]
        if not rows:
            return frozenset()
        top = max(rows, key=lambda r: self.figure(r, metric, text).value)
        others = [self.compare(top, r, metric, text) for r in rows if r != top]
        return frozenset({top, *(c.b for c in corrected(others) if not c.distinguishable)})

    def compare(self, a: str, b: str, metric: str, text: str = TREATMENT) -> Comparison:
        seeded = b not in self.suite.floors
        return self.contrasts.compare(self.keys[a], self.keys[b], (a, b), metric, text, seeded)

    def has(self, metric: str, text: str, rows: Sequence[str]) -> bool:
        """Whether every one of the rows has this score under this (pseudo-)treatment."""
        return all(self.contrasts.has(self.keys[row], metric, text) for row in rows)

    def best_floor(self) -> list[str]:
        """The floor that rows are held against; none where no floor was ranked."""
        ranked = [f for f in self.floors if self.has(RANKED_BY, TREATMENT, [f])]
        best = max(ranked, key=lambda f: self.figure(f, RANKED_BY, TREATMENT).value, default="")
        return [best] if best else []

    def comparisons(self, table: Table) -> tuple[Comparison, ...]:
        """Every trained row against the table's first row and the best floor.

        Holm is over the contrasts, in the metric that ranks; the others, which are almost the
        same test again, stand beside it as they are.
        """
        rows = [r for r in table.rows if r in self.keys]
        if not rows:
            return ()
        against = [rows[0]] if len(rows) > 1 else []
        against += self.best_floor()
        found = [
            self.compare(a, b, m)
            for b in against
            for a in rows
            for m in registry.compared()
            if a != b and self.has(m, TREATMENT, (a, b))
        ]
        primary = iter(corrected([c for c in found if c.score == RANKED_BY]))
        return tuple(next(primary) if c.score == RANKED_BY else c for c in found)


def _patients(data: Dataset) -> tuple[str, ...]:
    return tuple(study.patient for study in data.split("test"))
