"""Predictions of a paper's own system under this protocol: what the paper's number would be here.

A published score depends on its authors' references, tokenisation and scorer. Where their
predictions are at hand, scoring them like every row separates that from what the model does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.data.study import Dataset
from bench.errors import BenchError, unknown
from bench.metrics import registry
from bench.metrics.scoring import score
from bench.reporting.tables import Figure
from bench.stats import Plan, intervals
from bench.suites.suite import Table


def rescored(
    given: Sequence[str], table: Table, dataset: Dataset, text: str
) -> dict[tuple[str, str], Figure]:
    """(row, metric) -> score with interval, of files given as "ROW=FILE.csv"."""
    found = {}
    for item in given:
        row, sign, path = item.partition("=")
        if not sign or not path:
            raise BenchError(f"{item!r} does not name a file", "write --rescored ROW=FILE.csv")
        if row not in table.rows:
            raise unknown("row of this table", row, table.rows)
        scored = score(Path(path), dataset, "test", registry.of_kind(registry.LANGUAGE), [text])
        patients = tuple(study.patient for study in dataset.split("test"))
        for (_, family), statistics in scored.statistics.items():
            plan = Plan(scored.ids, patients)
            for metric, x in intervals(registry.load(family), statistics, plan).items():
                found[row, metric] = Figure(x.value, x.low, x.high)
    return found
