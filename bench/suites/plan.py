"""A suite's rows as run specs: configuration, data manifest, weights' digests and code together.

Pretraining comes first: a spec that uses pretrained weights holds their digest, so it can be
written down only when they exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import weights
from bench.config import compose, load_yaml, names
from bench.data.registry import parameters
from bench.errors import BenchError, unknown
from bench.identity import run_code
from bench.metrics.clinical import labeler
from bench.runs.workspace import Workspace
from bench.spec import (
    BudgetSpec,
    DataSpec,
    DecodeSpec,
    OptimizerSpec,
    PartSpec,
    RunSpec,
    SelectionSpec,
    StageSpec,
    TrainSpec,
    from_dict,
)
from bench.store import RunFolder
from bench.suites.suite import Pretraining, Row, Suite, load_suite

# Overrides of the model, or of the encoder group, which gives a report generator another one.
OF_MODEL = re.compile(r"[+~]*(model|encoder)[.=@]")
PRETRAIN = "pretrain:"  # in a YAML: weights that the harness trains itself, by that model's YAML
SMOKE_STEPS = 2


class NotPretrainedError(BenchError):
    """A row waits for a pretraining that has not run."""


@dataclass(frozen=True)
class Planned:
    """A row of a suite and the run behind it."""

    name: str
    origin: str  # trained, floor
    model: str
    spec: RunSpec


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

    def distinct(self) -> list[Planned]:
        """One entry per run: rows that share a run train it once."""
        return list({planned.spec.run_id: planned for planned in self.runs}.values())


def make_plan(
    name: str,
    overrides: Sequence[str],
    work: Workspace,
    pretrain: Callable[[RunSpec], None] | None,
    only: Sequence[str] = (),
    seeds: int = 1,
    smoke: bool = False,
) -> Plan:
    """Specs of all rows of suite `name`.

    `pretrain` runs a pretraining that is not sealed yet; None leaves out the rows that wait for
    one (their specs cannot be written down), which is right for whoever only reads.
    """
    suite = load_suite(name)
    rows, left_out = _available(_chosen(suite, only))
    composer = Composer(work, pretrain, list(overrides), smoke, suite.pretrainings)
    runs: list[Planned] = []
    waiting: list[str] = []
    for row in rows:
        try:
            specs = [composer.row(row, seed) for seed in range(seeds)]
        except NotPretrainedError as error:
            waiting.append(f"{row.name}: waits for a pretraining, {error.message}")
            continue
        runs += [Planned(row.name, "trained", row.model, spec) for spec in specs]
    floors = [Planned(f, "floor", f"floor_{f}", composer.floor(f)) for f in suite.floors]
    config = composer.config([], model=False)
    return Plan(
        name,
        suite,
        config["dataset"]["name"],
        (*floors, *runs),
        tuple(composer.pretrained.values()),
        left_out,
        tuple(waiting),
        config["budget"]["threads"] or 0,
    )


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


class Composer:
    """Turns rows into specs under one set of overrides."""

    def __init__(
        self,
        work: Workspace,
        pretrain: Callable[[RunSpec], None] | None,
        overrides: list[str],
        smoke: bool = False,
        pretrainings: Mapping[str, Pretraining] | None = None,
    ) -> None:
        self.pretrainings = pretrainings or {}
        self.work, self._pretrain, self.overrides = work, pretrain, overrides
        self.smoke = smoke
        self.pretrained: dict[str, RunSpec] = {}

    def config(self, more: Sequence[str], model: bool = True) -> dict[str, Any]:
        """`more` first: what the user says has the last word.

        What the user says of the model is meant for the suite's rows: not `model` leaves it out,
        for their floors, tokenizers and pretrained encoders.
        """
        given = [o for o in self.overrides if model or not OF_MODEL.match(o)]
        return compose((*more, *given))

    def row(self, row: Row, seed: int = 0) -> RunSpec:
        config = self.config([f"model={row.model}", *row.overrides])
        return self.spec(config, seed + config["seed"])

    def floor(self, name: str) -> RunSpec:
        """A floor's spec holds only what determines its reports."""
        if name not in names("floor"):
            raise unknown("floor", name, names("floor"))
        part = load_yaml("floor", name)
        params = dict(part.get("params", {}))
        if "labeler" in part:
            params["labeler"] = labeler.signature(part["labeler"])
        data, target = self._data(self.config([], model=False)), part["_target_"]
        code = run_code("floor", target, data=data.target, labeler=params.get("labeler", ""))
        return RunSpec(kind="floor", data=data, model=PartSpec(target, params), code=code)

    def pretraining(self, name: str, asked: bool = False) -> RunSpec:
        """The spec of a pretraining at the budget preset's pretraining budget.

        `name`: of a pretraining model's YAML, or of the suite's `pretrainings`. asked: the user
        named it, so that overrides of the model are meant for it.
        """
        given = self.pretrainings.get(name, Pretraining(name))
        config = self.config([f"model={given.model}", *given.overrides], model=asked)
        if config["model"].get("kind") != "pretrain":
            raise BenchError(f"model {name!r} is not a pretraining", "see `bench list models`")
        budget = dict(config["budget"]["pretrain"])
        own = budget.pop("models", {}).get(given.model, {})
        config["budget"] = {**config["budget"], **budget, **own}
        return self.spec(config, config["seed"])

    # --- parts ----------------------------------------------------------------------------------

    def spec(self, config: Mapping[str, Any], seed: int) -> RunSpec:
        model, budget = config["model"], config["budget"]
        part = self._part(model)
        tokenizer = self._tokenizer(config) if model.get("codes") else None
        targets = [p.target for p in (part, tokenizer) if p]
        stages = _stages(model.get("stages", "plain"), budget)
        data = self._data(config)
        decode = {k: v for k, v in config["decode"].items() if v is not None}
        kind = model.get("kind", "train")
        return RunSpec(
            kind=kind,
            data=data,
            model=part,
            tokenizer=tokenizer,
            code=run_code(kind, *targets, data=data.target),
            train=_train(model, budget, config["size"]),
            stages=tuple(from_dict(StageSpec, s, "model.stages") for s in stages),
            budget=self._budget(budget),
            selection=from_dict(
                SelectionSpec,
                model.get("selection") or budget["selection"],
                "selection",
            ),
            decode=from_dict(DecodeSpec, {"max_length": data.max_length, **decode}, "decode"),
            deterministic=config["deterministic"],
            seed=seed,
        )

    def _data(self, config: Mapping[str, Any]) -> DataSpec:
        entry = config["dataset"]
        params = parameters(entry)
        dataset = self.work.dataset(entry["_target_"], params)
        return DataSpec(
            name=entry["name"],
            target=entry["_target_"],
            params=params,
            manifest=dataset.manifest,
            max_length=dataset.max_length,
            min_count=dataset.min_count,
        )

    def _part(self, entry: Mapping[str, Any], params: Mapping[str, Any] | None = None) -> PartSpec:
        weights = {
            part: self.work.reference(self._sealed(name))
            for part, name in (entry.get("weights") or {}).items()
            if not entry.get("codes")  # a model that reads codes has no backbone to fill
        }
        return PartSpec(
            entry["_target_"], {**(entry.get("params") or {}), **(params or {})}, weights
        )

    def _tokenizer(self, config: Mapping[str, Any]) -> PartSpec:
        """The image tokenizer; one that the harness trains takes its shape from that training."""
        entry = load_yaml("image_tokenizer", config["tokenizer"])
        shapes = [
            self.pretraining(name.removeprefix(PRETRAIN)).model.params
            for name in (entry.get("weights") or {}).values()
            if name and name.startswith(PRETRAIN)
        ]
        return self._part(entry, {k: v for shape in shapes for k, v in shape.items()})

    def _sealed(self, name: str | None) -> str | None:
        """A weights' name, after the pretraining that it may stand for has been run."""
        if name is None or not name.startswith(PRETRAIN):
            return name
        spec = self.pretraining(name.removeprefix(PRETRAIN))
        if spec.run_id not in self.pretrained:
            if self._pretrain is not None:
                self._pretrain(spec)
            elif RunFolder(self.work.out, spec.run_id).manifest is None:
                raise NotPretrainedError(
                    f"{spec.model.target} ({spec.run_id})", "run the suite, or bench pretrain"
                )
            self.pretrained[spec.run_id] = spec
        return f"run:{spec.run_id}"

    def _budget(self, budget: Mapping[str, Any]) -> BudgetSpec:
        if self.smoke:
            return BudgetSpec("steps", float(SMOKE_STEPS))
        given = {"unit": budget["unit"], "amount": budget["amount"]}
        return from_dict(BudgetSpec, given, "budget")


def _stages(given: Any, budget: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Stages written out, or the name of a file of conf/stages, where the budget has no other."""
    if not isinstance(given, str):
        return given
    return load_yaml("stages", budget.get("stages", {}).get(given, given))["stages"]


def _train(
    model: Mapping[str, Any], budget: Mapping[str, Any], size: Mapping[str, Any]
) -> TrainSpec:
    """The model's own optimiser and clipping; batch, precision and crops of the budget preset.

    A size preset may set rates and schedule for every model alike (not for a pretraining): those
    published are of long trainings of large networks. A budget preset may hold the schedules that
    models have on its dataset.
    """
    own = model.get("train", {})
    common = {} if model.get("kind") == "pretrain" else size
    rates = common.get("rates") or own.get("rates") or OptimizerSpec().rates
    of_budget = budget.get("schedules", {}).get(model.get("name"))
    schedule = common.get("schedule") or of_budget or own.get("schedule") or {}
    optimizer = {**own.get("optimizer", {}), "rates": rates}
    given = {k: v for k, v in own.items() if k in ("clip", "accumulate")}
    shared = {k: budget[k] for k in ("batch", "precision", "crops", "threads")}
    fields = {"optimizer": optimizer, "schedule": schedule, **given, **shared}
    return from_dict(TrainSpec, fields, "model.train")
