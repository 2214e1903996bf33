"""Scoring a system's reports: predictions and a dataset in, scores with their statistics out.

The references belong to the harness. Every metric reads the same texts, made by the named
treatments of `bench.data.text`, and keeps statistics per report, so that subsets, intervals and
paired tests never need the metric again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.study import Dataset, said_section
from bench.data.text import TREATMENTS, Vocabulary
from bench.errors import BenchError, DataError, MissingError, some, unknown
from bench.files import replacing
from bench.metrics import predictions as files
from bench.metrics import registry
from bench.metrics.base import Metric
from bench.metrics.measuring import Partial, Progress, measure
from bench.metrics.references import COCO, KNOWN, RAW, ReferenceSet, studies
from bench.store import PUT_BACK, damaged, read_arrays, read_json


def ids_digest(ids: Iterable[str]) -> str:
    """First 6 hex digits of the sha256 of the ids in order: the `ids` of a signature."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:6]


def texts_digest(ids: Iterable[str], section: str = "", texts: str = "") -> str:
    """`ids_digest`, the section that the references are, where it is not the findings, and what
    tells them from others of the same ids, where there is something."""
    part = f"|section:{said}" if (said := said_section(section)) else ""
    return ids_digest(ids) + part + (f"|texts:{texts}" if texts else "")


@dataclass(frozen=True)
class Score:
    """One number, or why there is none: then `value` is None and `unavailable` says why and how."""

    treatment: str  # of predictions and references
    metric: str
    value: float | None
    n: int
    n_missing: int
    signature: str
    unavailable: str = ""

    def as_json(self) -> dict[str, Any]:
        """As in `bench score --json`; an unavailable metric has no `value` key."""
        row: dict[str, Any] = {"treatment": self.treatment, "metric": self.metric}
        if self.value is None:
            return {**row, "n": self.n, "unavailable": self.unavailable}
        counts = {"n": self.n, "n_missing": self.n_missing}
        return {**row, "value": self.value, **counts, "signature": self.signature}


@dataclass(frozen=True)
class Scored:
    """All scores of one prediction file, with the statistics they are computed from.

    Iterates over `scores`. `statistics[treatment, family]` is (n, k), rows in the order of `ids`.
    `section`: as in `bench.data.study.Dataset`. `texts`: treatment -> digest of the references,
    where signatures name them.
    """

    dataset: str
    split: str
    ids: tuple[str, ...]
    missing: tuple[str, ...]  # ids scored as empty reports
    scores: tuple[Score, ...]
    statistics: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)
    section: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Score]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    def value(self, metric: str, treatment: str) -> float:
        """The value of one score; MissingError when it could not be computed here."""
        for score in self.scores:
            if score.treatment == treatment and score.metric == metric and score.value is not None:
                return score.value
            same_family = score.metric == registry.family(metric)
            if score.treatment == treatment and same_family and score.unavailable:
                raise MissingError(f"{metric} under {treatment}: {score.unavailable}")
        raise unknown("score", f"{metric} under {treatment}", (s.metric for s in self.scores))

    def subset(self, ids: Iterable[str]) -> tuple[Score, ...]:
        """The scores of some of the reports, from the same statistics.

        What a report's statistics took from the whole set (CIDEr's idf) stays that of the whole
        set, and the signature names it.
        """
        wanted = set(ids)
        strange = wanted.difference(self.ids)
        if strange:
            raise DataError(f"{len(strange)} ids were not scored: {some(sorted(strange))}")
        rows = [i for i, study in enumerate(self.ids) if study in wanted]
        if not rows:
            raise DataError("no report in this subset", "choose at least one study")
        chosen = [self.ids[i] for i in rows]
        n_missing = len(wanted.intersection(self.missing))
        out: list[Score] = []
        for (treatment, family), table in self.statistics.items():
            metric = registry.load(family)
            origin = f"{metric.context}:{len(self.ids)}-{ids_digest(self.ids)}"
            digest = texts_digest(chosen, self.section, self.texts.get(treatment, ""))
            digest += f"|{origin}" if metric.context else ""
            out += _scores(metric, treatment, table[rows], digest, n_missing)
        return tuple(out)

    def as_json(self) -> dict[str, Any]:
        return {
            "dataset": self.dataset,
            "split": self.split,
            "ids": ids_digest(self.ids),
            "missing": list(self.missing),
            "scores": [score.as_json() for score in self.scores],
        }

    def save(self, path: Path) -> None:
        """One npz file without pickled objects, whole or not at all."""
        facts = {
            **{k: getattr(self, k) for k in ("dataset", "split", "ids", "missing")},
            "scores": [vars(score) for score in self.scores],
            "tables": list(self.statistics),
            **({"section": said} if (said := said_section(self.section)) else {}),
            **({"texts": dict(self.texts)} if self.texts else {}),
        }
        tables = {f"table{i}": table for i, table in enumerate(self.statistics.values())}
        with replacing(path) as part, part.open("wb") as file:
            np.savez_compressed(file, facts=np.array(json.dumps(facts)), **tables)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Scored:
        """Read what `save` wrote; a damaged file, or an altered one of a run, is a DataError."""
        saved = read_arrays(path)
        try:
            facts = json.loads(str(saved["facts"]))
            keys = [(treatment, family) for treatment, family in facts["tables"]]
            tables = {key: saved[f"table{i}"] for i, key in enumerate(keys)}
            return cls(
                facts["dataset"],
                facts["split"],
                tuple(facts["ids"]),
                tuple(facts["missing"]),
                tuple(Score(**score) for score in _named_now(facts["scores"])),
                tables,
                facts.get("section", ""),
                facts.get("texts", {}),
            )
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise damaged(path, "it does not hold scores and their statistics") from error


def read_scores(path: Path) -> list[dict[str, Any]]:
    """The rows of a run's scores.json: each score with its family, stratum and control."""
    found = read_json(path)
    if not isinstance(found, list) or not all(
        isinstance(row, dict) and {*row} >= _COLUMNS for row in _named_now(found)
    ):
        raise DataError(f"{path} is not a list of scores", PUT_BACK)
    return _named_now(found)


_COLUMNS = {"metric", "treatment", "stratum", "control"}


def _named_now(scores: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    # Files sealed before November 2026, all of board v0 among them, call the treatment
    # `protocol`. They are never rewritten: this stays for as long as v0 can be validated.
    return [
        {"treatment" if key == "protocol" else key: value for key, value in score.items()}
        for score in scores
    ]


def score(
    predictions: Path | Mapping[str, str],
    dataset: Dataset,
    split: str = "test",
    metrics: Sequence[str] = registry.NLG,
    treatments: Sequence[str] | None = None,
    *,
    missing: str = "error",
    words: Vocabulary | None = None,
    telling: bool = False,
    progress: Progress = lambda done, total: None,
) -> Scored:
    """Score a CSV file (or id -> report) against a split.

    `metrics` are families or scores (a score stands for its family). `treatments`: those of each
    metric by default, which is also what a metric that reads only raw reports keeps. `missing`
    "empty" scores studies without a report as empty ones; otherwise they are refused. A metric
    that cannot run here gives a row that says so, never a number. `telling`: signatures name the
    references by a digest of their treated texts, as ids alone do not outside known datasets.
    `progress` is told how many families are done, of how many.
    """
    given = files.read(predictions) if isinstance(predictions, Path) else predictions
    source = str(predictions) if isinstance(predictions, Path) else ""
    ids = tuple(study.id for study in studies(dataset, split))
    if not ids:
        raise DataError(f"{dataset.name} has no study in its {split} split")
    reports, absent = files.align(given, ids, missing, source)
    scores: list[Score] = []
    tables: dict[tuple[str, str], np.ndarray] = {}
    plan = _plan(metrics, treatments)
    sets = {name: ReferenceSet(dataset, split, name, words) for name in plan}
    known: dict[str, str] = {}
    for (treatment, name), result in measure(plan, sets, reports, progress).items():
        if isinstance(result, MissingError):
            reason = f"not available: {result.message}; {result.hint}".rstrip("; ")
            scores.append(Score(treatment, name, None, len(ids), len(absent), "", reason))
            continue
        tables[treatment, name] = result
        metric = registry.load(name)
        if telling and treatment not in known:
            known[treatment] = sets[treatment].digest()
        digest = texts_digest(ids, dataset.section, known.get(treatment, ""))
        mine = _scores(metric, treatment, result, digest, len(absent))
        without = metric.undefined(sets[treatment]) if isinstance(metric, Partial) else {}
        scores += [_undefined(s, without[s.metric]) if s.metric in without else s for s in mine]
    return Scored(
        dataset.name, split, ids, tuple(absent), tuple(scores), tables, dataset.section, known
    )


def refuse_idle(metrics: Sequence[str], treatments: Sequence[str]) -> None:
    """BenchError for a family asked for that none of the treatments asked for is a text of."""
    if not metrics or not treatments:
        return
    computed = {name for names in _plan(metrics, treatments).values() for name in names}
    for name in registry.families(metrics):
        if name not in computed:
            known = (*registry.load(name).treatments, COCO)
            raise BenchError(
                f"{name} is not computed of {', '.join(treatments)}",
                f"it is of {', '.join(known)}: --treatments {known[0]}",
            )


def _undefined(score: Score, reason: str) -> Score:
    return replace(score, value=None, signature="", unavailable=f"not available: {reason}")


def _plan(metrics: Sequence[str], treatments: Sequence[str] | None) -> dict[str, list[str]]:
    """Treatment -> families to compute under it, both in the order asked for."""
    for name in treatments or ():
        if name not in KNOWN:
            raise unknown("text treatment", name, KNOWN)
    plan: dict[str, list[str]] = {name: [] for name in treatments or ()}  # keeps their order
    for name in registry.families(metrics):
        try:
            own = registry.load(name).treatments
        except MissingError:  # reported where it would have been computed
            own = (RAW,)
        # A metric that reads the raw report only has no choice of treatment to be filtered by.
        fixed = treatments is None or own == (RAW,)
        if set(TREATMENTS) <= set(own):  # any text will do
            own = (*own, COCO) if treatments else own
        for treatment in own if fixed else [t for t in own if t in (treatments or ())]:
            plan.setdefault(treatment, []).append(name)
    return plan


def _scores(
    metric: Metric, treatment: str, table: np.ndarray, ids: str, n_missing: int
) -> list[Score]:
    n = len(table)
    return [
        Score(treatment, name, value, n, n_missing, metric.signature(name, treatment, n, ids))
        for name, value in metric.corpus(table).items()
    ]
