"""Comparisons between rows of a plan, kept by content: a table printed again computes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from bench.canonical import digest
from bench.metrics import registry
from bench.metrics.scoring import Scored
from bench.runs.controls import drawn_of
from bench.runs.score import CONTROLS, TABLES
from bench.spec import RunSpec
from bench.stats import LEVEL, RESAMPLES, intervals
from bench.stats import Plan as Resampling
from bench.stats.blocks import joined, over_folds
from bench.stats.compare import Comparison, System, compare_all
from bench.stats.effect import Effect, effects
from bench.stats.infer import VERSION
from bench.stats.seeds import next_run
from bench.store import RunFolder, file_digest, keep, kept, load_spec, sealed

MADE_HERE = "run:"  # initial weights that a run of this harness made, of one seed

Key = tuple[str, ...]  # run ids of one row, one a seed; a leading control's name takes that one


class Contrasts:
    """Compares rows, given as run ids; `patients` are those of the split, in its order."""

    def __init__(self, out: Path, cache: Path, patients: tuple[str, ...]) -> None:
        self.out, self.kept = out, cache / "comparisons"
        self.patients = patients
        self._loaded: dict[Path, Scored] = {}
        self._digests: dict[Path, str] = {}
        self._trainings: dict[str, str] = {}

    def compare(
        self, a: Key, b: Key, names: tuple[str, str], score: str, text: str, seeded: bool = True
    ) -> Comparison:
        """A minus B in one score under one treatment; `names` are shown in sentences.

        `seeded` False: B is a floor, which no seed enters. Where B is a control that only some
        studies take part in, A is held against it on those; a row and its own control are
        paired by training.
        """
        family = registry.family(score)
        found = self._family(a, b, family, text, seeded)[score]
        return _named(found, names)

    def _family(
        self, a: Key, b: Key, family: str, text: str, seeded: bool
    ) -> dict[str, Comparison]:
        shared = self._one_training(a, b)
        how = ["paired"] if shared else []  # a row and its control are, as the files say themselves
        path = self.kept / f"{self._digest([a, b], family, text, seeded, how)}.json"
        if (known := kept(path)) is not None:
            return {k: _comparison(v) for k, v in known.items()}
        second = self._system(b, family, text, seeded)
        first = self._system(a, family, text, only=second.ids if b[0] in CONTROLS else None)
        second = replace(second, patients=first.patients)
        found = compare_all(
            first, second, registry.load(family), paired=shared or _own_control(a, b)
        )
        keep(path, {k: _plain(v) for k, v in found.items()})
        return found

    def _one_training(self, a: Key, b: Key) -> bool:
        """Whether run s of B is written by the training of run s of A, for all of them."""
        controls = {a[0], b[0]} & set(CONTROLS)
        return not controls and len(a) == len(b) and self.trainings(a) == self.trainings(b)

    def trainings(self, key: Key) -> Key:
        """The runs that the trainings of a row are named after; a floor's is the floor itself."""
        for run_id in key:
            if run_id not in self._trainings:
                spec = load_spec(RunFolder(self.out, run_id))
                self._trainings[run_id] = spec.training.run_id
        return tuple(self._trainings[run_id] for run_id in key)

    def interval(
        self, key: Key, score: str, text: str, only: tuple[str, ...] | None = None
    ) -> tuple[float, float, float]:
        """(value, low, high) of a row over its seeds and studies together; `only`: of those."""
        family = registry.family(score)
        more = [list(only)] if only else []
        path = self.kept / f"{self._digest([key], family, text, True, more)}.json"
        if (known := kept(path)) is None:
            system = self._system(key, family, text, only=only)
            resampling = Resampling(system.ids, system.patients)
            found = intervals(registry.load(family), system.runs, resampling)
            known = {k: [v.value, v.low, v.high] for k, v in found.items()}
            keep(path, known)
        value, low, high = known[score]
        return value, low, high

    def next_run(self, key: Key, score: str, text: str) -> tuple[float, float] | None:
        """Where one more training of a row would score on these studies; see `bench.stats`."""
        metric = registry.load(registry.family(score))
        ends = next_run(self._per_run(key, score, text), LEVEL)
        if ends is None:
            return None
        low, high = np.clip(ends[0], *metric.bounds), np.clip(ends[1], *metric.bounds)
        i = metric.scores.index(score)
        return float(low[i]), float(high[i])

    def per_run(self, key: Key, score: str, text: str) -> np.ndarray:
        """(S,) the score of each training of a row."""
        metric = registry.load(registry.family(score))
        return self._per_run(key, score, text)[:, metric.scores.index(score)]

    def _per_run(self, key: Key, score: str, text: str) -> np.ndarray:
        """(S, m) all scores of the family."""
        metric = registry.load(registry.family(score))
        runs = self.statistics(key, metric.name, text)
        return np.array([list(metric.corpus(run).values()) for run in runs])

    def derangements(self, key: Key) -> set[int]:
        """Over how many the runs of a control are averaged."""
        return {drawn_of(self._scored(path)) for path in self._paths(key)}

    def pretrained(self, key: Key) -> frozenset[str]:
        """Weights of a run of this harness with which every training of a row began."""
        specs = [load_spec(RunFolder(self.out, run_id)) for run_id in key]
        own = [{f"{part} {w}" for part, w in made_here(spec).items()} for spec in specs]
        return frozenset.intersection(*map(frozenset, own))

    def effect(
        self,
        keys: Mapping[str, Key],
        weights: Mapping[str, float],
        score: str,
        text: str,
        log: bool,
    ) -> Effect:
        """The contrast of rows, each with its weight; `log`: of the logarithms of scores.

        On the folds of a dataset within each of them, and then over them: one training a fold is
        enough, since folds differ by their trainings too.
        """
        family = registry.family(score)
        how = [*weights.values(), "log" if log else "as it is", "in folds"]
        files = [keys[row] for row in weights]
        path = self.kept / f"{self._digest(files, family, text, True, how)}.json"
        if (known := kept(path)) is None:
            folds = [self.folds(keys[row], row, family, text) for row in weights]
            each = [
                effects(
                    registry.load(family), {s.name: s.runs for s in systems}, weights,
                    Resampling(systems[0].ids, systems[0].patients), log,
                )
                for systems in zip(*folds, strict=True)
            ]  # fmt: skip
            found = {k: over_folds([e[k] for e in each]) if each[1:] else v
                     for k, v in each[0].items()}  # fmt: skip
            known = {k: _plain(v) for k, v in found.items()}
            keep(path, known)
        mine = known[score]
        value, studies, seeds = (
            float("nan") if mine[k] is None else mine[k] for k in ("value", "studies", "seeds")
        )
        return Effect(value, studies, seeds, tuple(mine["degrees"]))

    def statistics(self, key: Key, family: str, text: str) -> np.ndarray:
        """(S, n, k) the per-report statistics of a row, one table a seed, of all folds together."""
        return joined(self._tables(key, family, text))[1]

    def folds(self, key: Key, name: str, family: str, text: str) -> list[System]:
        """A row's runs of each fold, as a system of its own."""
        tables = self._tables(key, family, text)
        patients = dict(zip(joined(tables)[0], self.patients, strict=True))
        found = []
        for ids in dict.fromkeys(ids for ids, _ in tables):
            runs = np.stack([table for own, table in tables if own == ids])
            found.append(System(name, runs, ids, tuple(patients[i] for i in ids)))
        return found

    def _tables(self, key: Key, family: str, text: str) -> list[tuple[Key, np.ndarray]]:
        scored = [self._scored(p) for p in self._paths(key)]
        return [(s.ids, s.statistics[text, family]) for s in scored]

    def has(self, key: Key, score: str, text: str) -> bool:
        """Whether every run of a row was scored so: a metric may not have been able to run."""
        wanted = (text, registry.family(score))
        found = map(sealed, self._paths(key))
        return all(p.exists() and wanted in self._scored(p).statistics for p in found)

    def _digest(
        self, keys: Sequence[Key], family: str, text: str, seeded: bool, more: Sequence[object] = ()
    ) -> str:
        files = [[self._digest_of(p) for p in self._paths(key)] for key in keys]
        metric = registry.load(family)
        # Not the implementation: the statistics are made, and its weights need not be here.
        how = [metric.version, RESAMPLES, VERSION, seeded, *more]
        return digest([files, family, text, how, self._digest_of_patients])[:32]

    def _digest_of(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = file_digest(sealed(path))
        return self._digests[path]

    @cached_property
    def _digest_of_patients(self) -> str:
        return digest(self.patients)

    def _paths(self, key: Key) -> list[Path]:
        control = key[0] in CONTROLS
        name, ids = (CONTROLS[key[0]], key[1:]) if control else (TABLES, key)
        return [RunFolder(self.out, run_id) / name for run_id in ids]

    def _system(
        self,
        key: Key,
        family: str,
        text: str,
        seeded: bool = True,
        only: tuple[str, ...] | None = None,
    ) -> System:
        (ids, stacked), patients = joined(self._tables(key, family, text)), self.patients
        if only is not None and only != ids:
            wanted = set(only)
            rows = [i for i, study in enumerate(ids) if study in wanted]
            stacked, ids = stacked[:, rows], tuple(ids[i] for i in rows)
            patients = tuple(patients[i] for i in rows)
        runs_of = stacked[0] if len(stacked) == 1 else stacked
        return System("/".join(key), runs_of, ids, patients, seeded)

    def _scored(self, path: Path) -> Scored:
        if path not in self._loaded:
            self._loaded[path] = Scored.load(path)
        return self._loaded[path]


def text_of(family: str, text: str) -> str:
    """The treatment that a family's scores are read under: `text`, where it has a choice; what is
    not made of text has one of its own."""
    known = registry.load(family).treatments
    return text if text in known else known[0]


def made_here(spec: RunSpec) -> dict[str, str]:
    """Part -> the run of this harness, and the digest, of the weights that it begins with."""
    parts = {**spec.model.weights, **(spec.tokenizer.weights if spec.tokenizer else {})}
    return {k: v[: v.find("@") + 9] for k, v in parts.items() if v.startswith(MADE_HERE)}


def _own_control(a: Key, b: Key) -> bool:
    """Whether run s of B is run s of A again, its reports given to other studies."""
    return b[0] in CONTROLS and b[1:] == a


def _plain(found: Comparison | Effect) -> dict[str, object]:
    """JSON without nan: a figure that is not defined is None."""
    return {
        k: None if isinstance(v, float) and not np.isfinite(v) else v
        for k, v in asdict(found).items()
    }


def _comparison(fields: dict[str, object]) -> Comparison:
    values = {k: float("nan") if v is None else v for k, v in fields.items()}
    for name in ("runs", "lone", "warnings"):
        values[name] = tuple(fields[name])  # type: ignore[arg-type]
    return Comparison(**values)  # type: ignore[arg-type]


def _named(found: Comparison, names: tuple[str, str]) -> Comparison:
    shown = dict(zip((found.a, found.b), names, strict=True))
    lone = tuple(shown[name] for name in found.lone)
    warnings = found.warnings
    for known, name in sorted(shown.items(), key=lambda item: -len(item[0])):
        warnings = tuple(w.replace(known, name) for w in warnings)
    return replace(found, a=names[0], b=names[1], lone=lone, warnings=warnings)
