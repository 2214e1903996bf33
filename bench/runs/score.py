"""Scoring a run: statistics per report, scores under every treatment, controls, then the seal.

Needs no torch. Runs after prediction, on this machine or another; a changed metric (its version,
its weights) scores every run again in minutes and trains nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bench.canonical import digest
from bench.data.study import Dataset
from bench.errors import MissingError
from bench.metrics import predictions as files
from bench.metrics import registry
from bench.metrics.available import absence
from bench.metrics.exchanged import Exchanged
from bench.metrics.predictions import PREDICTIONS
from bench.metrics.references import ReferenceSet
from bench.metrics.scoring import Scored, read_scores, score
from bench.runs import features
from bench.runs.controls import (
    SHUFFLED,
    WITHIN,
    averaged,
    label_groups,
    orders,
    permuted,
    signed,
)
from bench.runs.strata import strata
from bench.runs.workspace import Workspace
from bench.spec import TREATMENT, RunSpec
from bench.stats import Plan, intervals, signature
from bench.store import RunFolder, file_digest, sealed, write_json

SPLIT = "test"
CONTROL_TREATMENTS = (TREATMENT,)  # the control asks for a difference, not for every treatment
TABLES, SCORES = "scores.npz", "scores.json"
CONTROLS = {SHUFFLED: "scores_shuffled.npz", WITHIN: "scores_within.npz"}
# Part of the studies that a control's rows are of: those whose labels another study shares.
PARTS = {SHUFFLED: "all", WITHIN: "grouped"}


def scoring_key(spec: RunSpec, folder: RunFolder, metrics: Sequence[str]) -> str:
    """Digest of all that the scores depend on: predictions, references, signatures."""
    return digest(
        {
            "predictions": file_digest(folder / PREDICTIONS),
            "references": spec.data.manifest,
            "metrics": [_identity(name) for name in (*metrics, *features.families(folder))],
            "format": 5,
        }
    )


def _identity(name: str) -> str:
    if reason := absence(name):
        return f"{name}: not available: {reason}"
    metric = registry.load(name)
    return f"{name}|{metric.implementation()}|v:{metric.version}"


def is_scored(spec: RunSpec, folder: RunFolder, metrics: Sequence[str]) -> bool:
    """Whether the sealed scores are those that would be computed now."""
    manifest = folder.manifest
    if manifest is None or manifest["status"] != "scored":
        return False
    return bool(manifest.get("scoring") == scoring_key(spec, folder, metrics))


def assess(spec: RunSpec, work: Workspace, folder: RunFolder, metrics: Sequence[str]) -> None:
    """Score predictions and control, with intervals; the caller holds the folder's lock.

    Scores of a metric that cannot run here but did elsewhere (CheXbert, say) stay as they are.
    """
    folder.sweep()
    folder.refuse_altered(TABLES, *CONTROLS.values(), SCORES)
    rows, tables = assessed(spec, work, folder, metrics)
    rows, tables[TABLES] = _with_earlier(rows, tables[TABLES], folder)
    if (manifest := folder.manifest) and manifest["status"] == "scored":
        folder.seal(status="predicted")  # a kill from here on must not leave half of new scores
    for name in CONTROLS.values():  # of families that are not asked for now
        (folder / name).unlink(missing_ok=True)
    for name, scored in tables.items():
        scored.save(folder / name)
    write_json(folder / SCORES, rows)
    folder.seal(status="scored", scoring=scoring_key(spec, folder, metrics))


def _with_earlier(
    rows: list[dict[str, Any]], scored: Scored, folder: RunFolder
) -> tuple[list[dict[str, Any]], Scored]:
    """With the sealed scores of families whose metric is not available on this machine."""
    manifest = folder.manifest
    if manifest is None or manifest["status"] != "scored":
        return rows, scored
    before = Scored.load(folder / TABLES)
    lost = {family for family in {k[1] for k in before.statistics} if absence(family)}
    if not lost:
        return rows, scored
    tables = {k: v for k, v in before.statistics.items() if k[1] in lost}
    kept = [r for r in read_scores(folder / SCORES) if r["family"] in lost]
    old = [s for s in before.scores if registry.family(s.metric) in lost]
    new = [s for s in scored.scores if registry.family(s.metric) not in lost]
    whole = replace(scored, scores=(*new, *old), statistics={**scored.statistics, **tables})
    return [r for r in rows if r["family"] not in lost] + kept, whole


def assessed(
    spec: RunSpec, work: Workspace, folder: RunFolder, metrics: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[str, Scored]]:
    """All scores of a run (whole split, strata, controls) as rows, and the statistics behind them
    by the names of their files."""
    dataset = work.open(spec).dataset
    patients = tuple(s.patient for s in dataset.split(SPLIT))
    own = files.read(sealed(folder / PREDICTIONS))
    scored = features.added(_score(own, spec, work, metrics, None), spec, work, folder)
    rows = _rows(scored, patients, "all", "")
    for stratum, ids in strata(dataset, SPLIT).items():
        rows += _stratum_rows(scored, patients, stratum, ids)
    tables = {TABLES: scored}
    nlg = [m for m in metrics if registry.family(m) in registry.of_kind(registry.LANGUAGE)]
    if spec.kind == "train" and nlg:
        for control, drawn in _orders(spec, dataset).items():
            found = _control(own, drawn, spec, work, nlg)
            mine = _of(found.ids, scored.ids, patients)
            rows += _rows(found, mine, PARTS[control], control)
            tables[CONTROLS[control]] = found
    return rows, tables


def _orders(spec: RunSpec, dataset: Dataset) -> dict[str, np.ndarray]:
    """Control -> (D, n) whose images each study is shown; one that few can join is left out."""
    seed, groups = spec.derived_seed("shuffle"), label_groups(dataset, SPLIT)
    found = {SHUFFLED: orders(len(groups), seed), WITHIN: orders(groups, seed)}
    return {k: v for k, v in found.items() if _moved(v).sum() >= features.SMALLEST_PART}


def _moved(orders: np.ndarray) -> np.ndarray:
    """(n,) who is shown another study's images: the same studies in every derangement."""
    moved: np.ndarray = orders[0] != np.arange(orders.shape[1])
    return moved


def _control(
    own: Mapping[str, str],
    drawn: np.ndarray,
    spec: RunSpec,
    work: Workspace,
    metrics: Sequence[str],
) -> Scored:
    """The scores of the studies that were shown other images, averaged over derangements."""
    one = _score(permuted(own, drawn[0]), spec, work, metrics, CONTROL_TREATMENTS)
    moved = _moved(drawn)
    place = np.cumsum(moved) - 1  # of a study among those that take part
    among = place[drawn[:, moved]]
    treatments = dict.fromkeys(treatment for treatment, _ in one.statistics)
    pairs = {t: _exchanged(own, spec, work, t) for t in treatments}
    ids = tuple(study for study, m in zip(one.ids, moved, strict=True) if m)
    tables = {
        (treatment, family): averaged(pairs[treatment].statistics(family, drawn)[:, moved], among)
        for treatment, family in one.statistics
    }
    return _rescored(one, ids, tables, len(drawn))


def _exchanged(own: Mapping[str, str], spec: RunSpec, work: Workspace, treatment: str) -> Exchanged:
    opened = work.open(spec)
    references = ReferenceSet(opened.dataset, SPLIT, treatment, opened.vocabulary)
    return Exchanged(references, list(own.values()))


def _rescored(
    one: Scored, ids: tuple[str, ...], tables: Mapping[tuple[str, str], np.ndarray], count: int
) -> Scored:
    """The scores of the averaged statistics; what is not available stays so."""
    scores = []
    values = {
        (treatment, name): value
        for (treatment, family), table in tables.items()
        for name, value in registry.load(family).corpus(table).items()
    }
    for row in one.subset(ids) if len(ids) < len(one.ids) else one.scores:
        value = values.get((row.treatment, row.metric))
        scores.append(replace(row, value=value, signature=signed(row.signature, count)))
    missing = _in(one.missing, ids)
    return replace(one, ids=ids, missing=missing, scores=tuple(scores), statistics=tables)


def _in(wanted: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    known = set(ids)
    return tuple(i for i in wanted if i in known)


def _rows(
    scored: Scored, patients: tuple[str, ...], stratum: str, control: str
) -> list[dict[str, Any]]:
    """Scores with their intervals, or with the reason why there is none."""
    ends = {
        (treatment, name): interval
        for (treatment, family), table in scored.statistics.items()
        for name, interval in _intervals(family, table, scored.ids, patients).items()
    }
    return [
        {
            **score.as_json(),
            **ends.get((score.treatment, score.metric), {}),
            "family": registry.family(score.metric),
            "stratum": stratum,
            "control": control,
            **_direction(score.metric),
        }
        for score in scored
    ]


def _direction(score: str) -> dict[str, bool]:
    """Said of scores of which less is better."""
    try:
        higher = registry.load(registry.family(score)).higher_is_better(score)
    except MissingError:  # its package is not installed: a row without a value
        return {}
    return {} if higher else {"higher_is_better": False}


def _stratum_rows(
    scored: Scored, patients: tuple[str, ...], stratum: str, ids: Sequence[str]
) -> list[dict[str, Any]]:
    """The language scores of a part of the studies, under the published treatment."""
    if len(ids) < features.SMALLEST_PART:
        return []
    part = _part(scored, ids)
    return _rows(part, _of(part.ids, scored.ids, patients), stratum, "")


def _part(scored: Scored, ids: Sequence[str]) -> Scored:
    """The language scores of some of the studies, from the statistics of all."""
    wanted = set(ids)
    rows = [i for i, study in enumerate(scored.ids) if study in wanted]
    language = registry.of_kind(registry.LANGUAGE)
    return replace(
        scored,
        ids=tuple(scored.ids[i] for i in rows),
        missing=_in(scored.missing, ids),
        scores=tuple(
            s
            for s in scored.subset(ids)
            if s.treatment in CONTROL_TREATMENTS and registry.family(s.metric) in language
        ),
        statistics={
            key: table[rows]
            for key, table in scored.statistics.items()
            if key[0] in CONTROL_TREATMENTS and key[1] in language
        },
    )


def _of(ids: Sequence[str], known: Sequence[str], patients: Sequence[str]) -> tuple[str, ...]:
    """The patients of some of the studies."""
    patient = dict(zip(known, patients, strict=True))
    return tuple(patient[study] for study in ids)


def _intervals(
    family: str, table: np.ndarray, ids: tuple[str, ...], patients: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    metric, plan = registry.load(family), Plan(ids, patients)
    how = signature(metric, plan, (1,))
    found = intervals(metric, table, plan)
    return {
        name: {"ci_low": x.low, "ci_high": x.high, "interval": how} for name, x in found.items()
    }


def _score(
    predictions: Mapping[str, str],
    spec: RunSpec,
    work: Workspace,
    metrics: Sequence[str],
    treatments: Sequence[str] | None,
) -> Scored:
    return score(
        predictions,
        work.open(spec).dataset,
        SPLIT,
        metrics,
        treatments,
        words=work.open(spec).vocabulary,
    )
