"""Rows that were run in every fold of a dataset: their runs, their studies, and the comparison of
rows within folds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

from bench.canonical import digest
from bench.data.study import Dataset
from bench.errors import BenchError
from bench.metrics import registry
from bench.reporting.contrasts import Contrasts, Key, text_of
from bench.spec import TREATMENT, RunSpec
from bench.stats.blocks import BlockComparison, compare_folds
from bench.terminal import interval, number, p_value

if TYPE_CHECKING:
    from bench.reporting.summary import Summary
    from bench.runs.workspace import Workspace

# Measured by `bench.scripts.coverage_folds`.
LIMIT = (
    "Simulated, five folds cover 94-98 %, but 91-94 % where what overlapping training sets have in "
    "common matters: Nadeau and Bengio's (2003) corrected t allows for that, and then covers 97 % "
    "(`tests/golden/folds_check.json`)."
)
HEAD = ("row", "against", "score", "difference [95 %]", "p", "folds higher",
        "Nadeau-Bengio [95 %]", "p")  # fmt: skip


def fold_of(spec: RunSpec) -> int | None:
    """The fold that a run is of; None where its dataset is one division."""
    return spec.data.params.get("fold")


def keys(runs: Iterable[tuple[str, RunSpec]], folds: Collection[int | None]) -> dict[str, Key]:
    """Row -> its run ids in order of folds, as many in each fold.

    Seeds that not all `folds` have are left out, and so is a row without a run in each: what is
    averaged over folds must be over the same studies.
    """
    rows: dict[str, dict[int | None, list[str]]] = {}
    for name, spec in runs:
        own = rows.setdefault(name, {fold: [] for fold in folds}).setdefault(fold_of(spec), [])
        if spec.run_id not in own:
            own.append(spec.run_id)
    seeds = {name: min(map(len, own.values())) for name, own in rows.items()}
    return {
        name: tuple(run for runs in own.values() for run in runs[: seeds[name]])
        for name, own in rows.items()
        if seeds[name]
    }


def all_tested(datasets: Sequence[Dataset]) -> Dataset:
    """The test studies of all folds as one dataset; one dataset is what it is."""
    if len(datasets) == 1:
        return datasets[0]
    studies = tuple(study for d in datasets for study in d.split("test"))
    return replace(datasets[0], studies=studies, manifest=digest([d.manifest for d in datasets]))


def overlap(datasets: Sequence[Dataset]) -> float:
    """Test over training studies of a fold, on average."""
    return fmean(len(d.split("test")) / len(d.split("train")) for d in datasets)


def compare_runs(
    rows: Mapping[str, Sequence[RunSpec]], scores: Sequence[str], text: str, work: Workspace
) -> list[BlockComparison]:
    """Two rows, given as the specs of their runs in several folds, within those folds.

    text: treatment of the scores that have a choice; others are of their own.
    """
    runs = [(name, spec) for name, own in rows.items() for spec in own]
    folds = {fold_of(s): s for s in sorted((s for _, s in runs), key=lambda s: fold_of(s) or 0)}
    datasets = [work.open(spec).dataset for spec in folds.values()]
    whole = keys(runs, folds)
    for name in rows:
        if name not in whole:
            raise BenchError(f"{name} has no run in each of {len(folds)} folds", "run the others")
    patients = tuple(study.patient for study in all_tested(datasets).split("test"))
    contrasts, ratio = Contrasts(work.out, work.cache, patients), overlap(datasets)
    found = []
    for score in scores:
        family = registry.family(score)
        own = text_of(family, text)
        for name in rows:
            if not contrasts.has(whole[name], score, own):
                raise BenchError(f"{name} has no {family} under {own}", "see `bench list metrics`")
        a, b = (contrasts.folds(whole[name], name, family, own) for name in rows)
        found.append(compare_folds(a, b, registry.load(family), ratio)[score])
    return found


# --- the report's section ----------------------------------------------------------------------


def comparisons(suite: Summary) -> list[BlockComparison]:
    """Every trained row against the suite's baseline and the best floor, within folds."""
    against = [suite.suite.baseline] if suite.suite.baseline in suite.keys else []
    pairs = [(a, b) for b in [*against, *suite.best_floor()] for a in suite.trained if a != b]
    return [found for a, b in pairs for found in _compare(suite, a, b)]


def _compare(suite: Summary, a: str, b: str) -> list[BlockComparison]:
    found = []
    for family in dict.fromkeys(map(registry.family, registry.compared())):
        scores = [m for m in registry.compared() if registry.family(m) == family]
        if suite.has(scores[0], TREATMENT, (a, b)):
            of_a, of_b = (
                suite.contrasts.folds(suite.keys[x], x, family, TREATMENT) for x in (a, b)
            )
            every = compare_folds(of_a, of_b, registry.load(family), suite.overlap)
            found += [every[score] for score in scores]
    return found


def section(suite: Summary) -> str:
    """The report's part on folds; "" where the dataset is one division."""
    found = comparisons(suite) if suite.overlap else []
    if not found:
        return ""
    lines = [_line(c) for c in found]
    count = len(found[0].folds)
    return (
        f"### Within folds\n\nDifferences within each of {count} folds, averaged; {found[0].n:,} "
        "studies, each tested once. Interval and p are a t-test's over the folds "
        f"({count - 1} degrees of freedom); where folds differ by less than studies and seeds "
        f"explain, those of studies and seeds. {LIMIT} p is not corrected for the number of "
        "comparisons.\n\n"
        f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|\n" + "\n".join(lines) + "\n"
    )


def _line(c: BlockComparison) -> str:
    ways = f"{sum(d > 0 for d in c.folds)} of {len(c.folds)}"
    return (
        f"| {c.a} | {c.b} | {c.score} | {number(c.difference)} {interval(c.low, c.high)} | "
        f"{p_value(c.p)} | {ways} | {interval(c.overlap_low, c.overlap_high)} | "
        f"{p_value(c.overlap_p)} |"
    )
