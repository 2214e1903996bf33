"""The spec of a run: configuration, data manifest, weights, settings found by trials, and code."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.canonical import digest, from_dict
from bench.config import compose, load_yaml, names, tokenizer_name
from bench.data.registry import parameters, said
from bench.errors import BenchError, unknown
from bench.identity import run_code
from bench.metrics.clinical import labeler
from bench.runs.workspace import Workspace
from bench.spec import (
    SEEDED,
    BudgetSpec,
    DataSpec,
    DecodeSpec,
    OptimizerSpec,
    PartSpec,
    RunSpec,
    SelectionSpec,
    StageSpec,
    TrainSpec,
    TuningSpec,
)
from bench.store import RunFolder, read_json
from bench.suites.suite import Pretraining, Row
from bench.suites.tuning import alternatives, grid, shortened, tried
from bench.suites.typed import as_typed

# Overrides of how reports are written, on the test and on validation.
OF_SEARCH = re.compile(r"[+~]*(decode[.=@]|budget\.selection\.beam_size)")
# Overrides of the model, or of the encoder group, which gives a report generator another one.
OF_MODEL = re.compile(r"[+~]*(model|encoder)[.=@]")
PRETRAIN = "pretrain:"  # in a YAML: weights that the harness trains itself, by that model's YAML
SMOKE_STEPS = 2
# What a size preset may set for every model alike, instead of what is said of the model.
COMMON = ("rates", "schedule")


class NotPretrainedError(BenchError):
    """A row waits for a pretraining or trials that have not run."""


class Composer:
    """Turns rows into specs under one set of overrides."""

    def __init__(
        self,
        work: Workspace,
        pretrain: Callable[..., None] | None,
        overrides: list[str],
        smoke: bool = False,
        pretrainings: Mapping[str, Pretraining] | None = None,
    ) -> None:
        self.pretrainings = pretrainings or {}
        self.work, self._pretrain, self.overrides = work, pretrain, overrides
        self.smoke = smoke
        self.pretrained: dict[str, RunSpec] = {}
        self.trials: dict[str, RunSpec] = {}
        self._codes: dict[str, str] = {}  # asked for once a seed and trial of every row

    def config(
        self, more: Sequence[str], model: bool = True, encoder: bool = True
    ) -> dict[str, Any]:
        """`more` first: what the user says has the last word.

        What the user says of the model is meant for the suite's rows: not `model` leaves it out,
        for their floors, tokenizers and pretrained encoders; not `encoder` leaves out that alone.
        """
        given = [
            o
            for o in self.overrides
            if (model or not OF_MODEL.match(o)) and (encoder or not o.startswith("encoder="))
        ]
        return compose((*more, *given))

    def row(self, row: Row, seed: int = 0) -> RunSpec:
        """The spec of a row, with the settings that its trials have found."""
        config = self._of(row)
        if config["model"].get("kind", "train") != "train":
            raise BenchError(
                f"model {row.model!r} is a pretraining: it writes no reports",
                f"bench pretrain {row.model}",
            )
        self._refuse_other_search(row)
        tuning = self._tuned(config, row.share)
        if tuning is not None:
            config = tried(config, tuning.chosen)
        spec = replace(self.spec(config, seed + config["seed"]), tuning=tuning)
        if row.share == 1 or self.smoke:
            return spec
        spec = shortened(spec, row.share, f"{row.name}: share")
        looks = spec.selection.every_epochs * row.share  # as many as the whole training has
        return replace(spec, selection=replace(spec.selection, every_epochs=looks))

    def _refuse_other_search(self, row: Row) -> None:
        """BenchError where the user says how reports are written, and the row is named after it."""
        own, given = ([o for o in x if OF_SEARCH.match(o)] for x in (row.overrides, self.overrides))
        if own and given:
            raise BenchError(
                f"{given[0]}: the suite's rows say how they are written ({row.name}: {own[0]})",
                "leave it out, or take another suite",
            )

    def _of(self, row: Row) -> dict[str, Any]:
        """An encoder is for rows that have one; codes are of images as their tokenizer saw them."""
        own = [f"model={row.model}", *row.overrides]
        config = self.config(own)
        return self.config(own, encoder=False) if config["model"].get("codes") else config

    # --- tuning ---------------------------------------------------------------------------------

    def try_all(self, rows: Sequence[Row]) -> None:
        """Run every row's trials that are not sealed yet, side by side."""
        assert self._pretrain is not None
        specs = [spec for row in rows for _, spec in self._trials(self._of(row), row.share)]
        if specs:
            self._pretrain(*{spec.run_id: spec for spec in specs}.values())

    def _trials(
        self, config: Mapping[str, Any], share: float
    ) -> list[tuple[dict[str, Any], RunSpec]]:
        """What each trial of a row changes, and its run; all at the suite's first seed.

        share: of the budget, that the row has.
        """
        found = []
        for change in grid(config["tune"], alternatives(config["model"])):
            spec = self.spec(tried(config, change), config["seed"]).training
            if spec.selection.metric == "last":
                raise BenchError(
                    "tune is chosen on validation, which selection.metric=last never looks at",
                    "budget.selection.metric=BLEU-4, CIDEr or loss",
                )
            trial = spec if self.smoke else shortened(spec, config["tune_share"] * share)
            found.append((change, replace(trial, kind="trial")))
        return found

    def _tuned(self, config: Mapping[str, Any], share: float) -> TuningSpec | None:
        """The best of a row's trials on validation; of equals the one nearer to the YAML's."""
        trials = self._trials(config, share)
        if not trials:
            return None
        scores = [self._score(spec) for _, spec in trials]
        self.trials.update({spec.run_id: spec for _, spec in trials})
        best, _ = trials[scores.index(max(scores))]
        runs = tuple(spec.run_id for _, spec in trials)
        return TuningSpec(len(trials), float(config["tune_share"]), best, runs)

    def _score(self, trial: RunSpec) -> float:
        folder = RunFolder(self.work.out, trial.run_id)
        if folder.manifest is None:
            raise NotPretrainedError(f"its trials, of them {trial.run_id}", "run the suite")
        return float(read_json(folder / "train.json")["best"]["score"])

    def floor(self, name: str) -> RunSpec:
        """A floor's spec holds only what determines its reports."""
        if name not in names("floor"):
            raise unknown("floor", name, names("floor"))
        part = load_yaml("floor", name)
        params = dict(part.get("params", {}))
        if "labeler" in part:
            params["labeler"] = labeler.signature(part["labeler"])
        data, model = self._data(self.config([], model=False)), PartSpec(part["_target_"], params)
        code = run_code("floor", model, data=data.target, labeler=params.get("labeler", ""))
        return RunSpec(kind="floor", data=data, model=model, code=code)

    def pretraining(self, name: str, asked: bool = False, seed: int | None = None) -> RunSpec:
        """The spec of a pretraining at the budget preset's pretraining budget.

        `name`: of a pretraining model's YAML, or of the suite's `pretrainings`. asked: the user
        named it, so that overrides of the model are meant for it. `seed`: of the run that uses
        its weights; the configuration's where there is none.
        """
        given = self.pretrainings.get(name, Pretraining(name))
        config = self.config([f"model={given.model}", *given.overrides], model=asked)
        if config["model"].get("kind") != "pretrain":
            raise BenchError(f"model {name!r} is not a pretraining", "see `bench list models`")
        budget = dict(config["budget"]["pretrain"])
        budget |= budget.pop("models", {}).get(given.model, {})
        said = {o.partition("=")[0].lstrip("+~") for o in self.overrides} if asked else ()
        own = {k: v for k, v in budget.items() if f"budget.{k}" not in said}  # the user's stand
        config["budget"] = {**config["budget"], **own}
        return self.spec(config, config["seed"] if seed is None else seed)

    # --- parts ----------------------------------------------------------------------------------

    def spec(self, config: Mapping[str, Any], seed: int) -> RunSpec:
        with as_typed():
            return self._spec(config, seed)

    def _spec(self, config: Mapping[str, Any], seed: int) -> RunSpec:
        model, budget = config["model"], config["budget"]
        self._refuse_idle(config)
        # What needs no weights comes first: a wrong value is told before a pretraining is missed.
        train = _train(model, budget, config["size"], config.get("rate_factor", 1.0))
        part = self._part(model, seed)
        tokenizer = self._tokenizer(name, seed) if (name := tokenizer_name(config)) else None
        stages = _stages(model.get("stages", "plain"), budget)
        data = self._data(config)
        decode = {k: v for k, v in config["decode"].items() if v is not None}
        kind = model.get("kind", "train")
        return RunSpec(
            kind=kind,
            data=data,
            model=part,
            tokenizer=tokenizer,
            code=self._code_of(kind, *(p for p in (part, tokenizer) if p), data=data.target),
            train=train,
            stages=tuple(from_dict(StageSpec, s, "model.stages") for s in stages),
            budget=self._budget(budget, config["dataset"]),
            selection=from_dict(
                SelectionSpec,
                model.get("selection") or budget["selection"],
                "selection",
            ),
            decode=from_dict(DecodeSpec, {"max_length": data.max_length, **decode}, "decode"),
            deterministic=config["deterministic"],
            images=config["images"]["name"] if kind == "train" else "",
            seed=seed,
        )

    def _refuse_idle(self, config: Mapping[str, Any]) -> None:
        """BenchError for a setting that would do nothing here, or name nothing."""
        if (name := config["tokenizer"]) and name not in names("image_tokenizer"):
            raise unknown("image_tokenizer", str(name), names("image_tokenizer"))
        given = [o.partition("=")[0].lstrip("+~") for o in self.overrides]
        for part in COMMON if config["model"].get("kind") != "pretrain" else ():
            own = f"model.train.{part}"
            if config["size"].get(part) and any(f"{k}.".startswith(f"{own}.") for k in given):
                raise BenchError(
                    f"{own} does nothing here: the size preset has {part} for every model",
                    f"set size.{part}, or size.{part}=null to train with those of the model",
                )

    def _code_of(self, kind: str, *parts: PartSpec, data: str) -> str:
        key = digest([kind, data, *([part.target, part.params] for part in parts)])
        if key not in self._codes:
            self._codes[key] = run_code(kind, *parts, data=data)
        return self._codes[key]

    def _data(self, config: Mapping[str, Any]) -> DataSpec:
        entry = config["dataset"]
        params = said(parameters(entry))
        dataset = self.work.dataset(entry["_target_"], params)
        return DataSpec(
            name=entry["name"],
            target=entry["_target_"],
            params=params,
            manifest=dataset.manifest,
            max_length=dataset.max_length,
            min_count=dataset.min_count,
            cleaning=dataset.cleaning,
        )

    def _part(
        self, entry: Mapping[str, Any], seed: int, params: Mapping[str, Any] | None = None
    ) -> PartSpec:
        weights = {
            part: self.work.reference(self._sealed(name, seed))
            for part, name in (entry.get("weights") or {}).items()
            if not (entry.get("codes") or entry.get("features"))  # no backbone to fill
        }
        return PartSpec(
            entry["_target_"], {**(entry.get("params") or {}), **(params or {})}, weights
        )

    def _tokenizer(self, name: str, seed: int) -> PartSpec:
        """The image tokenizer; one that the harness trains takes its shape from that training."""
        entry = load_yaml("image_tokenizer", name)
        shapes = [
            self.pretraining(name.removeprefix(PRETRAIN)).model.params
            for name in (entry.get("weights") or {}).values()
            if name and name.startswith(PRETRAIN)
        ]
        return self._part(entry, seed, {k: v for shape in shapes for k, v in shape.items()})

    def _sealed(self, name: str | None, seed: int) -> str | None:
        """A weights' name, after the pretraining that it may stand for has been run.

        Pretraining follows the seed of the run that uses it, so that what is said of a row is not
        said of one tokenizer or encoder.
        """
        if name is None or not name.startswith(PRETRAIN):
            return name
        spec = self.pretraining(name.removeprefix(PRETRAIN), seed=seed)
        if spec.run_id not in self.pretrained:
            if self._pretrain is not None:
                self._pretrain(spec)
            elif RunFolder(self.work.out, spec.run_id).manifest is None:
                raise NotPretrainedError(
                    f"a pretraining, {spec.model.target} ({spec.run_id})",
                    "run the suite, or bench pretrain",
                )
            self.pretrained[spec.run_id] = spec
        return f"{SEEDED}{spec.run_id}"

    def _budget(self, budget: Mapping[str, Any], entry: Mapping[str, Any]) -> BudgetSpec:
        """The preset's; epochs are examples of as many passes over the split that is read."""
        if self.smoke:
            return BudgetSpec("steps", float(SMOKE_STEPS))
        given = {"unit": budget["unit"], "amount": budget["amount"]}
        if given["unit"] == "epochs":
            train = self.work.dataset(entry["_target_"], parameters(dict(entry))).split("train")
            given = {"unit": "examples", "amount": given["amount"] * len(train)}
        return from_dict(BudgetSpec, given, "budget")


def _stages(given: Any, budget: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Stages written out, or the name of a file of conf/stages, where the budget has no other."""
    if not isinstance(given, str):
        return given
    return load_yaml("stages", budget.get("stages", {}).get(given, given))["stages"]


def _train(
    model: Mapping[str, Any], budget: Mapping[str, Any], size: Mapping[str, Any], factor: float
) -> TrainSpec:
    """The model's own optimiser and clipping; batch, precision and crops of the budget preset.

    A size preset may set rates and schedule for every model alike (not for a pretraining): those
    published are of long trainings of large networks. A budget preset may hold the schedules that
    models have on its dataset, and the examples of their epochs.
    """
    own = model.get("train", {})
    common = {} if model.get("kind") == "pretrain" else size
    rates = common.get("rates") or own.get("rates") or OptimizerSpec().rates
    of_budget = budget.get("schedules", {}).get(model.get("name"))
    schedule = dict(common.get("schedule") or of_budget or own.get("schedule") or {})
    if schedule.get("name") == "step":
        schedule["epoch_size"] = budget.get("epoch_size") or 0
    if factor != 1:  # so that what a YAML says keeps its last digit
        rates = {group: float(rate) * factor for group, rate in rates.items()}
    optimizer = {**own.get("optimizer", {}), "rates": rates}
    given = {k: v for k, v in own.items() if k in ("clip", "accumulate")}
    shared = {k: budget[k] for k in ("batch", "precision", "crops", "threads")}
    fields = {"optimizer": optimizer, "schedule": schedule, **given, **shared}
    return from_dict(TrainSpec, fields, "model.train")
