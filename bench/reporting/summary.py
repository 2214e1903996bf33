"""The scored rows of a suite: their values, intervals and comparisons, for tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.boards.comparable import refuse_mixed
from bench.boards.rows import active, has_scores, read_rows
from bench.data.study import Dataset
from bench.errors import BenchError
from bench.reporting import tables
from bench.reporting.contrasts import Contrasts, Key
from bench.reporting.tables import Figure, Grid
from bench.runs.workspace import Workspace
from bench.stats.compare import Comparison, corrected
from bench.store import RunFolder, load_spec
from bench.suites.plan import Plan
from bench.suites.suite import Suite, Table, load_suite

TEXTS = ("r2gen@1", "full@1")
COMPARED = ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
IMAGES = {
    "common": "Images: common (all rows see the same pixels, without flips, under one batch norm "
    "rule).",
    "published": "Images: as published (each model's own size, resizing, flips and batch norm "
    "rule).",
}
RANKED_BY = "BLEU-4"  # among floors, the one that rows are held against


@dataclass
class Summary:
    """The scored rows of a suite on a dataset, and what can be said about them."""

    name: str
    suite: Suite
    dataset: str
    contrasts: Contrasts
    keys: dict[str, Key]  # row -> its run ids, one a seed
    data: Dataset

    @classmethod
    def of(cls, plan: Plan, work: Workspace) -> Summary:
        """From the sealed runs of a plan."""
        keys: dict[str, Key] = {}
        for planned in plan.runs:
            if has_scores(RunFolder(work.out, planned.spec.run_id)):
                keys[planned.name] = (*keys.get(planned.name, ()), planned.spec.run_id)
        data = work.open(plan.runs[0].spec).dataset
        contrasts = Contrasts(work.out, work.cache, _patients(data))
        return cls(plan.name, plan.suite, plan.dataset, contrasts, keys, data)

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
        keys: dict[str, Key] = {}
        for row in rows:
            if row.run_id not in keys.get(row.variant, ()):
                keys[row.variant] = (*keys.get(row.variant, ()), row.run_id)
        spec = load_spec(RunFolder(board / "runs", rows[0].run_id))
        data = work.open(spec).dataset
        contrasts = Contrasts(board / "runs", work.cache, _patients(data))
        return cls(name, suite, dataset, contrasts, keys, data)

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
        found = tables.build(
            table, ticks, figures, self.floors, best, self.dataset, text,
            rescored=rescored, brief=brief,
        )  # fmt: skip
        return replace(found, notes=(*found.notes, *self.protocol_notes(table.rows)))

    def protocol_notes(self, rows: Sequence[str]) -> list[str]:
        """Which images the rows saw, and how often each was tried before; "" is not stated."""
        runs = [run for row in rows for run in self.keys.get(row, ())[:1]]
        specs = [load_spec(RunFolder(self.contrasts.out, run)) for run in runs]
        notes = [IMAGES[name] for name in dict.fromkeys(s.images for s in specs) if name]
        trials = {s.tuning.trials if s.tuning else 0 for s in specs}
        if trials - {0}:
            each = " or ".join(map(str, sorted(trials)))
            notes.append(f"Tuned: settings are the best of {each} trials a row on validation.")
        return notes

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
