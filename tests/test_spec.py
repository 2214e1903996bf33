"""Specs: canonical JSON, identity, errors of plain data."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.canonical import canonical_json, digest, from_dict, to_dict
from bench.errors import BenchError
from bench.spec import (
    SEEDED,
    BudgetSpec,
    ClipSpec,
    DataSpec,
    DecodeSpec,
    OptimizerSpec,
    PartSpec,
    RunSpec,
    ScheduleSpec,
    SelectionSpec,
    StageSpec,
    TrainSpec,
    TuningSpec,
)

SPEC = RunSpec(
    kind="train",
    data=DataSpec("made", "toy.load", "ab12", {"train": 4, "size": 32}),
    model=PartSpec("toy.Toy", {"d": 8, "image": {"size": 64}}, {"visual": "random"}),
    code="c0de",
    tokenizer=PartSpec("toy.Frozen"),
    budget=BudgetSpec("steps", 100.0),
)

# A different valid value of every field; a field that is missing here fails the test.
OTHER: dict[type, dict[str, Any]] = {
    RunSpec: {
        "kind": "pretrain", "code": "other", "tokenizer": None, "deterministic": False,
        "protocol": "v9", "images": "common",
        "tuning": TuningSpec(2, 0.5, {"rate": 2.0}, ("ab-s0",)),
        "stages": (StageSpec("a", 0.5), StageSpec("b", 0.5)),
    },
    DataSpec: {
        "name": "x", "target": "x.load", "manifest": "x", "params": {"train": 5}, "text": "full@1",
        "max_length": 61, "min_count": 4, "cleaning": "mimic",
    },
    PartSpec: {"target": "x.Y", "params": {"d": 9}, "weights": {"visual": "a@b"}},
    TrainSpec: {"batch": 32, "accumulate": 2, "precision": "bf16", "crops": 5, "threads": 3},
    OptimizerSpec: {
        "name": "adam", "rates": {"rest": 1.0}, "betas": (0.9, 0.99), "eps": 1e-8,
        "weight_decay": 0.0, "amsgrad": True, "no_decay": ("mask",),
    },
    ScheduleSpec: {
        "name": "step", "every_epochs": 1.0, "factor": 0.8, "floor": 0.1, "warmup": 0.05,
        "epoch_size": 7,
    },
    ClipSpec: {"kind": "value", "amount": 0.1},
    BudgetSpec: {"unit": "examples", "amount": 200.0},
    SelectionSpec: {"metric": "loss", "evaluations": 6, "studies": 3, "beam_size": 2,
                    "every_epochs": 0.5, "share": 0.25},
    DecodeSpec: {
        "method": "sample", "beam_size": 4, "max_length": 61, "length_penalty": 0.5,
        "no_repeat_ngram": 3, "temperature": 0.7, "top_k": 5, "early_stop": False,
    },
}  # fmt: skip


def variants(value: Any, change: Any) -> list[tuple[str, RunSpec]]:
    """Every spec that differs from SPEC in one field of `value` or inside it."""
    found = []
    for field in dataclasses.fields(value):
        now = getattr(value, field.name)

        def put(new: Any, name: str = field.name) -> RunSpec:
            return change(replace(value, **{name: new}))

        if field.name in OTHER[type(value)]:
            found.append((field.name, put(OTHER[type(value)][field.name])))
        if dataclasses.is_dataclass(now):
            found += [(f"{field.name}.{n}", s) for n, s in variants(now, put)]
        elif field.name not in OTHER[type(value)] and field.name != "seed":
            raise AssertionError(f"give another value of {type(value).__name__}.{field.name}")
    return found


VARIANTS = variants(SPEC, lambda spec: spec)


@pytest.mark.parametrize(("name", "spec"), VARIANTS, ids=[name for name, _ in VARIANTS])
def test_every_field_is_part_of_the_identity(name: str, spec: RunSpec) -> None:
    assert spec.spec_id != SPEC.spec_id


def test_all_identities_differ() -> None:
    assert len({spec.spec_id for _, spec in VARIANTS}) == len(VARIANTS) > 40


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(StageSpec)])
def test_every_field_of_a_stage_is(field: str) -> None:
    other = {
        "name": "x", "share": 0.9999995, "losses": {"ce": 2.0}, "switches": {"refine": True},
        "start": "best",
    }  # fmt: skip
    stage = replace(StageSpec(), **{field: other[field]})
    assert replace(SPEC, stages=(stage,)).spec_id != SPEC.spec_id


def test_a_seed_is_another_run_of_the_same_spec() -> None:
    other = replace(SPEC, seed=3)
    assert other.spec_id == SPEC.spec_id
    assert other.run_id == f"{SPEC.spec_id[:16]}-s3" != SPEC.run_id
    assert SPEC.run_id.endswith("-s0")


def test_derived_seeds() -> None:
    seeds = {
        s.derived_seed(purpose)
        for s in (SPEC, replace(SPEC, seed=1), replace(SPEC, decode=DecodeSpec(top_k=1)))
        for purpose in ("order", "noise", "initial")
    }
    assert len(seeds) == 9
    assert all(0 <= seed < 2**56 for seed in seeds)
    assert SPEC.derived_seed("order") == replace(SPEC).derived_seed("order")


def test_digests_do_not_draw_other_noise() -> None:
    """Changed code, data or weights that ought not to matter must show the same losses."""
    seed = SPEC.derived_seed("noise")
    for other in (
        replace(SPEC, code="x"),
        replace(SPEC, data=replace(SPEC.data, manifest="x")),
        replace(SPEC, model=replace(SPEC.model, weights={"visual": "a@b"})),
        replace(SPEC, tokenizer=PartSpec("toy.Frozen", weights={"dvae": "run:x@y"})),
    ):
        assert other.derived_seed("noise") == seed
        assert other.spec_id != SPEC.spec_id


def test_weights_that_follow_the_seed_leave_a_row_one_spec() -> None:
    """Each seed has a tokenizer of its own; the pretraining that made it is part of the row."""

    def at(seed: int, name: str = "ab", sha: str = "12") -> RunSpec:
        part = PartSpec("toy.Frozen", weights={"dvae": f"{SEEDED}{name}-s{seed}@{sha}"})
        return replace(SPEC, seed=seed, tokenizer=part)

    assert at(0).spec_id == at(1, sha="34").spec_id
    assert at(0).spec_id != at(0, name="cd").spec_id
    fixed = replace(SPEC, tokenizer=PartSpec("toy.Frozen", weights={"dvae": "run:ab-s0@12"}))
    assert fixed.spec_id != at(0).spec_id


def test_a_later_field_leaves_the_ids_of_older_rows() -> None:
    assert not {"images", "tuning"} & set(to_dict(SPEC))
    assert "beam_size" not in to_dict(SPEC)["selection"]
    assert "epoch_size" not in to_dict(SPEC)["train"]["schedule"]
    assert to_dict(replace(SPEC, images="common"))["images"] == "common"


def test_how_settings_were_found_draws_no_other_noise() -> None:
    tuned = replace(SPEC, tuning=TuningSpec(1, 0.5, {"rate": 1.0}, ("ab-s0",)), images="common")
    assert tuned.derived_seed("noise") == SPEC.derived_seed("noise")
    assert tuned.spec_id != SPEC.spec_id


def test_key_order_does_not_count() -> None:
    turned = replace(
        SPEC,
        data=replace(SPEC.data, params={"size": 32, "train": 4}),
        model=replace(SPEC.model, params={"image": {"size": 64}, "d": 8}),
    )
    assert turned.spec_id == SPEC.spec_id
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": (1, 2), "a": 1}) != digest({"a": 1})


def test_canonical_json() -> None:
    value = {"b": (1, 2.5, None, True), "a": {"ü": "x/y"}, "c": ClipSpec()}
    assert canonical_json(value) == (
        '{"a":{"\\u00fc":"x/y"},"b":[1,2.5,null,true],"c":{"amount":0.0,"kind":"none"}}'
    )
    assert digest(value) == hashlib.sha256(canonical_json(value).encode()).hexdigest()
    assert canonical_json(json.loads(canonical_json(SPEC))) == canonical_json(SPEC)
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="Out of range"):
            canonical_json({"x": bad})


def test_identity_is_the_same_in_another_process_and_folder(tmp_path: Path) -> None:
    code = (
        "import json, sys; from bench.canonical import from_dict\n"
        "from bench.spec import RunSpec\n"
        "print(from_dict(RunSpec, json.loads(sys.stdin.read())).run_id)"
    )
    root = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(to_dict(SPEC)),
        cwd=tmp_path,
        env={"PYTHONPATH": root, "PYTHONHASHSEED": "7", "HOME": "/nowhere"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == SPEC.run_id


# --- plain data --------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [SPEC, *(spec for _, spec in VARIANTS)])
def test_round_trip(spec: RunSpec) -> None:
    again = from_dict(RunSpec, json.loads(json.dumps(to_dict(spec))))
    assert again == spec
    assert again.spec_id == spec.spec_id


@pytest.mark.parametrize(
    ("cls", "data", "words"),
    [
        (DecodeSpec, {"beam_sise": 3}, ["key in decode 'beam_sise'", "did you mean 'beam_size'"]),
        (TrainSpec, {"optimizer": {"rate": {}}}, ["decode.optimizer", "did you mean 'rates'"]),
        (DecodeSpec, {"beam_size": "three"}, ["decode.beam_size: expected int, got 'three'"]),
        (DecodeSpec, {"beam_size": True}, ["expected int, got True"]),
        (DecodeSpec, {"beam_size": 2.5}, ["expected int, got 2.5"]),
        (DecodeSpec, {"early_stop": 1}, ["expected bool, got 1"]),
        (DecodeSpec, {"temperature": "warm"}, ["expected float, got 'warm'"]),
        (TrainSpec, {"optimizer": 3}, ["decode.optimizer: expected a mapping, got 3"]),
        (OptimizerSpec, {"betas": 0.9}, ["decode.betas: expected a list, got 0.9"]),
        (OptimizerSpec, {"rates": {"rest": None}}, ["decode.rates.rest: expected float"]),
        (StageSpec, {"losses": ["ce"]}, ["decode.losses: expected a mapping"]),
        (DataSpec, {"name": "x"}, ["decode:", "target"]),
    ],
)
def test_errors_of_plain_data(cls: type, data: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(BenchError) as caught:
        from_dict(cls, data, "decode")
    for word in words:
        assert word in str(caught.value)


def test_numbers_as_yaml_writes_them() -> None:
    assert from_dict(OptimizerSpec, {"eps": "1e-9"}).eps == 1e-9
    assert from_dict(ClipSpec, {"amount": 1}).amount == 1.0
    assert from_dict(DecodeSpec, {"beam_size": 3.0}) == DecodeSpec(beam_size=3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "trainn"}, "unknown kind 'trainn'.*did you mean 'train'"),
        ({"budget": BudgetSpec("step", 1)}, "did you mean 'steps'"),
        ({"train": TrainSpec(precision="fp16")}, "known: bf16, fp32"),
        ({"train": TrainSpec(optimizer=OptimizerSpec("sgd"))}, "known: adam, adamw"),
        ({"train": TrainSpec(clip=ClipSpec("norms"))}, "did you mean 'norm'"),
        ({"train": TrainSpec(schedule=ScheduleSpec("cosin"))}, "did you mean 'cosine'"),
        ({"train": TrainSpec(batch=6, accumulate=4)}, "not a multiple"),
        ({"train": TrainSpec(batch=0)}, "train.batch=0"),
        ({"selection": SelectionSpec("BLEU")}, "did you mean 'BLEU-4'"),
        ({"decode": DecodeSpec("greedy")}, "known: beam, sample"),
        ({"decode": DecodeSpec(beam_size=0)}, "decode.beam_size=0"),
        ({"decode": DecodeSpec(temperature=0.0)}, "decode.temperature=0"),
        ({"stages": (StageSpec(start="first"),)}, "did you mean|known: best, last"),
        ({"stages": (StageSpec(share=0.5),)}, "do not add up to 1"),
        ({"budget": BudgetSpec("steps", 0)}, "is not enough for one step"),
        ({"budget": BudgetSpec("examples", 8)}, "8 examples is not enough for one step of 16"),
    ],
)
def test_impossible_specs_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BenchError, match=f"(?s){words}"):
        replace(SPEC, **change)


def test_a_floor_has_no_budget() -> None:
    assert replace(SPEC, kind="floor", budget=BudgetSpec()).budget.amount == 0
