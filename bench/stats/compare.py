"""The words and the record of a comparison, and the only place where numbers become text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from bench.errors import BenchError, some, unknown
from bench.metrics.base import Metric
from bench.stats import LEVEL, RESAMPLES, Difference, Plan, differences, holm, signature
from bench.stats.power import ALPHA
from bench.stats.seeds import uneven
from bench.terminal import interval, number, p_value, percent

TESTS = {
    "t": "t-test over seeds and studies",
    "randomization": "randomization test over studies",
    "bootstrap": "bootstrap test over studies",
}


@dataclass(frozen=True, eq=False)
class System:
    """One row of a table: the statistics of its runs on the studies of a split, in their order.

    `seeded` False: no seed enters it (a floor, someone's prediction file), so that one run of
    it is all there is.
    """

    name: str
    runs: np.ndarray  # (n, k) or (S, n, k)
    ids: tuple[str, ...]
    patients: tuple[str, ...] = ()
    seeded: bool = True

    @property
    def count(self) -> int:
        """Number of runs."""
        return 1 if self.runs.ndim == 2 else len(self.runs)

    @property
    def lone(self) -> bool:
        """One run of something that would come out otherwise with another seed."""
        return self.seeded and self.count == 1


@dataclass(frozen=True)
class Comparison:
    """A against B in one score. The difference is A minus B, whichever direction is better."""

    score: str
    a: str
    b: str
    value_a: float
    value_b: float
    difference: float
    low: float  # interval of the difference at `level`, not corrected for the family
    high: float
    level: float
    p: float
    p_corrected: float  # Holm over `family` comparisons
    family: int
    relative: float  # see `bench.stats.Difference`
    standardized: float
    n: int  # studies
    units: int  # what was resampled, how many
    unit: str  # "studies" or "patients"
    runs: tuple[int, int]  # of A and of B
    lone: tuple[str, ...]  # systems of which other seeds are not known
    test: str  # the one that made p: a key of `TESTS`
    warnings: tuple[str, ...]  # see `bench.stats.seeds.uneven`
    higher_is_better: bool
    signature: str

    @property
    def separate(self) -> bool:
        """The test rejects equality at `ALPHA`, and the interval agrees; not corrected."""
        return self.p <= ALPHA and not self.low <= 0 <= self.high

    @property
    def distinguishable(self) -> bool:
        """Separate, and so it stays when p is corrected for the family."""
        return self.separate and self.p_corrected <= ALPHA

    @property
    def caveat(self) -> str:
        """What the interval and the p-value leave out, or an empty string."""
        names = " and of ".join(self.lone)
        return f"one training of {names}: training luck is not counted" if self.lone else ""

    def sentence(self) -> str:
        """The finding in plain words: about methods where every seeded side has several
        trainings, else about these reports."""
        a, b = self.a, self.b
        if self.lone:
            a, b = f"these reports of {a}", f"those of {b}"
        made = f"{p_value(self.p)} ({TESTS[self.test]})"
        if not self.separate:
            return (
                f"{a} {'are' if self.lone else 'is'} not distinguishable from {b}: the difference "
                f"of {number(self.difference)} has the {percent(self.level)} interval "
                f"{interval(self.low, self.high)}, {made}"
            )
        up = self.difference > 0
        size, low, high = (
            (self.difference, self.low, self.high)
            if up
            else (-self.difference, -self.high, -self.low)
        )
        verb = "score" if self.lone else "is"
        preference = "" if self.higher_is_better else "; lower is better"
        return (
            f"{a} {verb} {'higher' if up else 'lower'} than {b} by "
            f"{number(size)} {interval(low, high)}, {made}{self._after_holm()}{preference}"
        )

    def _after_holm(self) -> str:
        if self.family == 1:
            return ""
        kept = "holds" if self.distinguishable else "does not hold"
        return f"; {kept} after Holm over {self.family}"

    def record(self) -> dict[str, Any]:
        """For JSON: full precision; a figure that is not defined is None."""
        fields = asdict(self) | {"sentence": self.sentence(), "caveat": self.caveat}
        return {k: None if v != v else v for k, v in fields.items()}


def compare(
    a: System, b: System, metric: Metric, score: str, resamples: int = RESAMPLES
) -> Comparison:
    """A against B in one score of the metric; a family of its own until `corrected`."""
    if score not in metric.scores:
        raise unknown("score", score, metric.scores)
    return compare_all(a, b, metric, resamples)[score]


def compare_all(
    a: System, b: System, metric: Metric, resamples: int = RESAMPLES, paired: bool = False
) -> dict[str, Comparison]:
    """A against B in every score of the metric, from one set of resamples.

    `paired`: run s of B is a control of run s of A, not a training of its own.
    """
    _same_studies(a, b)
    plan = Plan(a.ids, a.patients, resamples)
    values = [_scores(metric, system) for system in (a, b)]
    how = signature(metric, plan, (a.count, b.count), test="randomization", paired=paired)
    tested = differences(metric, a.runs, b.runs, plan, paired=paired)
    return {
        score: _comparison(a, b, metric, plan, score, [v[:, i] for v in values], found, how)
        for i, (score, found) in enumerate(tested.items())
    }


def corrected(family: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """The same comparisons with Holm's correction over all of them."""
    p_values = holm([c.p for c in family])
    return tuple(
        replace(c, p_corrected=p, family=len(family)) for c, p in zip(family, p_values, strict=True)
    )


def _comparison(
    a: System,
    b: System,
    metric: Metric,
    plan: Plan,
    score: str,
    values: Sequence[np.ndarray],
    found: Difference,
    how: str,
) -> Comparison:
    return Comparison(
        score=score,
        a=a.name,
        b=b.name,
        value_a=float(values[0].mean()),
        value_b=float(values[1].mean()),
        difference=found.value,
        low=found.low,
        high=found.high,
        level=LEVEL,
        p=found.p,
        p_corrected=found.p,
        family=1,
        relative=found.relative,
        standardized=found.standardized,
        n=len(plan.ids),
        units=plan.units,
        unit=plan.unit,
        runs=(a.count, b.count),
        lone=tuple(s.name for s in (a, b) if s.lone),
        higher_is_better=metric.higher_is_better(score),
        test=found.test,
        warnings=uneven(dict(zip((a.name, b.name), values, strict=True))),
        signature=f"{score}|{how}",
    )


def _scores(metric: Metric, system: System) -> np.ndarray:
    """(S, m) each score of each of the system's runs."""
    runs = system.runs[None] if system.runs.ndim == 2 else system.runs
    return np.array([list(metric.corpus(run).values()) for run in runs])


def _same_studies(a: System, b: System) -> None:
    """An error that names the studies: a comparison never falls back on those in common."""
    only = [_only(a, b), _only(b, a)]
    if any(only):
        raise BenchError(
            f"{a.name} and {b.name} were scored on different studies: "
            + "; ".join(filter(None, only)),
            "score both on the same split",
        )
    if a.ids != b.ids or a.patients != b.patients:
        raise BenchError(
            f"{a.name} and {b.name} list their studies or patients differently",
            "score both in the order of the manifest",
        )


def _only(a: System, b: System) -> str:
    there = set(b.ids)
    ids = [i for i in a.ids if i not in there]
    return f"only {a.name} has {some(ids)}" if ids else ""
