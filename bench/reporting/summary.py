"""The scored rows of a suite: their values, intervals and comparisons, for tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.boards.comparable import refuse_mixed
from bench.boards.rows import active, has_scores, read_rows
from bench.data.study import Dataset
from bench.errors import BenchError
from bench.reporting import by_fold, tables
from bench.reporting.contrasts import Contrasts, Key
from bench.reporting.tables import Figure, Grid
from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.stats.compare import Comparison, corrected
from bench.store import RunFolder, load_spec
from bench.suites.plan import Plan
from bench.suites.suite import Suite, Table, load_suite

TEXTS = ("r2gen@1", "full@1")
COMPARED = ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
RANKED_BY = "BLEU-4"  # among floors, the one that rows are held against


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
        datasets = [work.dataset_of(spec.data) for spec in folds.values()]
        data = by_fold.all_tested(datasets)
        overlap = by_fold.overlap(datasets) if len(datasets) > 1 else 0.0
        contrasts = Contrasts(out, work.cache, _patients(data))
        return cls(name, suite, dataset, contrasts, by_fold.keys(scored, folds), data, overlap)

    @classmethod
    def of_board(cls, name: str, dataset: str, board: Path, work: Workspace) -> Summary:
        """From the active rows of a board and the statistics published with them."""
        suite, path = load_suite(name), board / f"{dataset}.csv"
        if not path.exists():
            raise BenchError(f"no board {path}", "bench board publish first, or give --board")
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
        return cls._of_runs(name, suite, dataset, scored, specs, work, board / "runs")

    @property
    def trained(self) -> list[str]:
        """Trained rows that were scored, in the order of the suite."""
        return [row.name for row in self.suite.rows if row.name in self.keys]

    @property
    def floors(self) -> list[str]:
        return [f for f in self.suite.floors if f in self.keys]

    def figure(self, row: str, metric: str, text: str) -> Figure:
        return Figure(*self.contrasts.interval(self.keys[row], metric, text))

    def grid(
        self,
        table: Table,
        text: str,
        brief: bool = False,
        rescored: Mapping[tuple[str, str], Figure] | None = None,
    ) -> Grid:
        """A paper table as `bench.reporting.tables.build` takes `brief` and `rescored`."""
        shown = [*(r for r in table.rows if r in self.keys), *self.floors]
        figures = {
            (r, m): self.figure(r, m, text)
            for m in tables.METRICS
            for r in shown
            if self.has(m, text, [r])
        }
        best = {m: self.best(shown, m, text) for m in tables.METRICS}
        ticks = {row.name: row.ticks for row in self.suite.rows}
        return tables.build(
            table, ticks, figures, self.floors, best, self.dataset, text,
            rescored=rescored, brief=brief,
        )  # fmt: skip

    def best(self, rows: Sequence[str], metric: str, text: str) -> frozenset[str]:
        """The row of the best value, and every row not distinguishable from it."""
        rows = [r for r in rows if self.has(metric, text, [r])]
        if not rows:
            return frozenset()
        top = max(rows, key=lambda r: self.figure(r, metric, text).value)
        others = [self.compare(top, r, metric, text) for r in rows if r != top]
        return frozenset({top, *(c.b for c in corrected(others) if not c.distinguishable)})

    def compare(self, a: str, b: str, metric: str, text: str = TEXTS[0]) -> Comparison:
        seeded = b not in self.suite.floors
        return self.contrasts.compare(self.keys[a], self.keys[b], (a, b), metric, text, seeded)

    def has(self, metric: str, text: str, rows: Sequence[str]) -> bool:
        """Whether every one of the rows has this score under this (pseudo-)treatment."""
        return all(self.contrasts.has(self.keys[row], metric, text) for row in rows)

    def best_floor(self) -> list[str]:
        """The floor that rows are held against; none where no floor was ranked."""
        ranked = [f for f in self.floors if self.has(RANKED_BY, TEXTS[0], [f])]
        best = max(ranked, key=lambda f: self.figure(f, RANKED_BY, TEXTS[0]).value, default="")
        return [best] if best else []

    def comparisons(self, table: Table) -> tuple[Comparison, ...]:
        """Every trained row against the table's first row and the best floor, Holm over all."""
        rows = [r for r in table.rows if r in self.keys]
        if not rows:
            return ()
        against = [rows[0]] if len(rows) > 1 else []
        against += self.best_floor()
        pairs = [(a, b) for b in against for a in rows if a != b]
        return corrected(
            [
                self.compare(a, b, m)
                for a, b in pairs
                for m in COMPARED
                if self.has(m, TEXTS[0], (a, b))
            ]
        )


def _patients(data: Dataset) -> tuple[str, ...]:
    return tuple(study.patient for study in data.split("test"))
