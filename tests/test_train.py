"""The training loop: resume, stages, selection, budgets, accumulation."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy import Toy, load

from bench.data.batches import Pixels, Split
from bench.data.study import Dataset
from bench.data.text import treatment, vocabulary
from bench.engine.train import Training
from bench.errors import RunError
from bench.model import image_spec
from bench.spec import (
    BudgetSpec,
    ClipSpec,
    DataSpec,
    DecodeSpec,
    OptimizerSpec,
    PartSpec,
    RunSpec,
    SelectionSpec,
    StageSpec,
    TrainSpec,
)
from bench.store import RunFolder

RESULTS = ("weights.safetensors", "curve.csv", "losses.csv", "train.json")
TWO_STAGES = (
    StageSpec("coarse", 0.5, {"ce": 1.0}, {"extra": False}),
    StageSpec("fine", 0.5, {"ce": 1.0, "extra": 0.5}, {"extra": True}, "best"),
)
SPEC = RunSpec(
    kind="train",
    data=DataSpec("made", "toy.load", "made"),
    model=PartSpec("toy.Toy"),
    code="",
    train=TrainSpec(
        batch=4,
        optimizer=OptimizerSpec(rates={"rest": 0.02}, weight_decay=0.01),
        clip=ClipSpec("norm", 1.0),
    ),
    budget=BudgetSpec("steps", 12),
    selection=SelectionSpec(evaluations=4),
    decode=DecodeSpec(max_length=12),
)
DATASET = load()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def prepare(tmp_path: Path, cache: Path) -> Iterator[Callable[..., Training]]:
    """prepare(name, spec): a training in its own folder; the same name is the same folder."""

    def make(
        name: str,
        spec: RunSpec = SPEC,
        initial: int = 0,
        say: Callable[[str], None] = lambda line: None,
        dataset: Dataset = DATASET,
        model: type[Toy] = Toy,
        **options: Any,
    ) -> Training:
        torch.manual_seed(initial)
        words = vocabulary(dataset)
        built = model(len(words) + 1, **{"dropout": 0.3, **options})
        splits = {}
        for part in ("train", "val"):
            studies = dataset.split(part)
            views = Pixels.open(dataset, studies, image_spec(built), part == "train", cache)
            splits[part] = Split(dataset, studies, words, dataset.max_length, views)
        folder, rule = RunFolder(tmp_path, name), treatment("r2gen@1", dataset)
        training = Training(spec, built, splits, words, rule, folder, "cpu", say)
        # Specs that differ draw other noise; here they are to differ in nothing else.
        training.order_seed, training.noise_seed = 10 + spec.seed, 20 + spec.seed
        return training

    torch.use_deterministic_algorithms(True)
    yield make
    torch.use_deterministic_algorithms(False)


def results(training: Training) -> dict[str, bytes]:
    return {name: (training.folder / name).read_bytes() for name in RESULTS}


def curve(training: Training) -> list[dict[str, str]]:
    with (training.folder / "curve.csv").open() as file:
        return list(csv.DictReader(file))


def facts(training: Training) -> dict[str, Any]:
    return json.loads((training.folder / "train.json").read_text())


def weights(training: Training) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in training.model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[k], b[k]) for k in a)


class Snapshots:
    """The weights before each step, by the step's number, and scripted validation scores."""

    def __init__(self, training: Training, scores: list[float] | None = None) -> None:
        self.before: dict[int, dict[str, Tensor]] = {}
        self._training, self._step = training, training._one_step
        training._one_step = self._watched  # type: ignore[method-assign]
        if scores is not None:
            script = iter(scores)
            training.validation_bleu = lambda: next(script)  # type: ignore[method-assign]

    def _watched(self) -> None:
        self.before[self._training.meter.steps] = weights(self._training)
        self._step()


class DeathError(Exception):
    """Stands for a process that ends."""


# --- resume ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stages", [(StageSpec(),), TWO_STAGES], ids=["one stage", "two stages"])
def test_a_killed_training_ends_with_the_same_bytes(
    prepare: Callable[..., Training], stages: tuple[StageSpec, ...]
) -> None:
    spec = replace(SPEC, stages=stages)
    whole = prepare("whole", spec)
    whole.run()
    for moment in (0, 2, 3, 7, 11):
        killed = prepare(f"killed at {moment}", spec)
        step = killed._one_step

        def dying(step: Callable[[], None] = step, it: Training = killed, at: int = moment) -> None:
            if it.meter.steps == at:
                raise DeathError
            step()

        killed._one_step = dying  # type: ignore[method-assign]
        with pytest.raises(DeathError):
            killed.run()
        # Nothing that a checkpoint does not hold may matter, such as this process's noise.
        # (Before the first checkpoint the initial weights are the seed's.)
        resumed = prepare(f"killed at {moment}", spec, initial=0 if moment < 3 else 99)
        resumed.run()
        assert results(resumed) == results(whole), moment


def test_killed_after_each_checkpoint(prepare: Callable[..., Training]) -> None:
    """`say` speaks right after a checkpoint is written; the last one ends the budget."""
    spec = replace(SPEC, stages=TWO_STAGES)
    whole = prepare("whole", spec)
    whole.run()

    def dying(line: str) -> None:
        raise DeathError

    many = prepare("many", spec, say=dying)
    for _ in range(4):
        with pytest.raises(DeathError):
            many.run()
        many = prepare("many", spec, initial=99)
        many.say = lambda line: None if line.startswith("resumed") else dying(line)
    many = prepare("many", spec, initial=99)
    many.run()
    assert results(many) == results(whole)


def test_a_seed_decides_a_training(prepare: Callable[..., Training]) -> None:
    first, second, other = (
        prepare("first"),
        prepare("second"),
        prepare("other", replace(SPEC, seed=1)),
    )
    for training in (first, second, other):
        training.run()
    assert results(first) == results(second)
    assert results(first)["curve.csv"] != results(other)["curve.csv"]


def test_first_steps_again(prepare: Callable[..., Training]) -> None:
    training = prepare("whole", replace(SPEC, stages=TWO_STAGES))
    training.run()
    kept = (training.folder / "losses.csv").read_text().splitlines()
    assert len(kept) == 13
    again = prepare("again", replace(SPEC, stages=TWO_STAGES)).first_losses(2)
    names = kept[0].split(",")
    for line, row in zip(kept[1:], again, strict=False):
        found = {k: float(v) for k, v in zip(names, line.split(","), strict=True) if v}
        assert found == row
    assert [row["step"] for row in again] == [1, 2]


# --- learning, losses, stages ------------------------------------------------------------------


def test_it_learns(prepare: Callable[..., Training]) -> None:
    training = prepare("long", replace(SPEC, budget=BudgetSpec("steps", 60)), dropout=0.0)
    training.run()
    losses = [float(row["ce"]) for row in curve(training)]
    assert losses[-1] < 0.6 * losses[0]


def test_weights_of_losses(prepare: Callable[..., Training]) -> None:
    stage = StageSpec(losses={"ce": 0.5, "extra": 3.0})
    training = prepare("weighted", replace(SPEC, stages=(stage,), budget=BudgetSpec("steps", 3)))
    training.run()
    for row in training.losses:
        assert row["loss"] == pytest.approx(0.5 * row["ce"] + 3 * row["extra"], rel=1e-6)


def test_a_loss_of_weight_zero_changes_nothing(prepare: Callable[..., Training]) -> None:
    def trained(name: str, losses: dict[str, float]) -> dict[str, Tensor]:
        training = prepare(name, replace(SPEC, stages=(StageSpec(losses=losses),)))
        training.run()
        return weights(training)

    without = trained("without", {"ce": 1.0})
    assert same(without, trained("zero", {"ce": 1.0, "extra": 0.0}))
    assert not same(without, trained("with", {"ce": 1.0, "extra": 1.0}))


def test_a_missing_loss_is_refused(prepare: Callable[..., Training]) -> None:
    training = prepare("missing", replace(SPEC, stages=(StageSpec(losses={"ce": 1, "mask": 1}),)))
    with pytest.raises(RunError, match="'mask', but the model gives only ce, extra"):
        training.run()


def test_switches_of_a_model_without_any(prepare: Callable[..., Training]) -> None:
    class Plain(Toy):
        switch = None  # type: ignore[assignment]

    training = prepare("plain", replace(SPEC, stages=TWO_STAGES))
    training.model = torch.nn.Identity()
    with pytest.raises(RunError, match="'coarse' has switches, but Identity takes none"):
        training._enter_stage()


@pytest.mark.parametrize(("start", "begins_at"), [("best", 3), ("last", 6)])
def test_a_stage_starts_where_it_says(
    prepare: Callable[..., Training], start: str, begins_at: int
) -> None:
    stages = (TWO_STAGES[0], replace(TWO_STAGES[1], start=start))
    training = prepare(start, replace(SPEC, stages=stages))
    seen = Snapshots(training, [0.9, 0.1, 0.2, 0.95])
    ends: dict[int, dict[str, Tensor]] = {}
    training.say = lambda line: ends.update({training.meter.steps: weights(training)})
    training.run()
    assert same(seen.before[6], ends[begins_at])
    assert training.model.switched == [False, True, True]
    assert [row["stage"] for row in curve(training)] == ["coarse", "coarse", "fine", "fine"]


def test_what_is_sealed_has_been_through_every_stage(prepare: Callable[..., Training]) -> None:
    training = prepare("early", replace(SPEC, stages=TWO_STAGES))
    seen = Snapshots(training, [0.9, 0.1, 0.3, 0.2])
    assert training.run().step == 9  # the first stage's best is better
    assert same(weights(training), seen.before[9])
    assert training.model.extra is True
    assert facts(training)["best"]["stage"] == "fine"
    assert facts(training)["best"]["switches"] == {"extra": True}


# --- selection ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "scores", "chosen"),
    [
        ("BLEU-4", [0.1, 0.3, 0.2, 0.1], 6),
        ("BLEU-4", [0.2, 0.2, 0.2, 0.2], 12),
        ("last", None, 12),
    ],
    ids=["best", "last of equals", "last"],
)
def test_selection(
    prepare: Callable[..., Training], metric: str, scores: list[float] | None, chosen: int
) -> None:
    spec = replace(SPEC, selection=SelectionSpec(metric=metric, evaluations=4))
    training = prepare(metric, spec)
    seen = Snapshots(training, scores)
    last: list[dict[str, Tensor]] = []
    training.say = lambda line: last.append(weights(training))
    assert training.run().step == chosen
    assert same(weights(training), seen.before.get(chosen, last[-1]))
    assert facts(training)["best"]["step"] == chosen


def test_selection_by_validation_loss(prepare: Callable[..., Training]) -> None:
    spec = replace(SPEC, selection=SelectionSpec(metric="loss", evaluations=4))
    training = prepare("loss", spec)
    training.run()
    rows = curve(training)
    best = max(rows, key=lambda row: float(row["selection"]))
    assert facts(training)["best"]["step"] == int(best["step"])
    training.model.eval()
    assert -training.validation_loss() == pytest.approx(float(best["selection"]), rel=1e-6)


def test_evaluation_leaves_no_trace(prepare: Callable[..., Training]) -> None:
    """Looking at validation more often must not change what is learned."""
    ends = []
    for count in (1, 6):
        spec = replace(SPEC, selection=SelectionSpec("last", evaluations=count))
        training = prepare(f"{count} looks", spec)
        training.run()
        assert len(curve(training)) == count
        ends.append(weights(training))
    assert same(*ends)


# --- budgets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "amount", "steps"), [("steps", 7, 7), ("examples", 30, 7), ("examples", 4, 1)]
)
def test_budgets(prepare: Callable[..., Training], unit: str, amount: float, steps: int) -> None:
    training = prepare(unit, replace(SPEC, budget=BudgetSpec(unit, amount)))
    training.run()
    found = facts(training)
    assert (found["steps"], found["examples"]) == (steps, 4 * steps)
    assert int(curve(training)[-1]["step"]) == steps


def test_a_budget_of_flops(prepare: Callable[..., Training]) -> None:
    one = prepare("one", replace(SPEC, budget=BudgetSpec("steps", 1)))
    one.run()
    each = facts(one)["flops"]
    assert each > 0
    training = prepare("flops", replace(SPEC, budget=BudgetSpec("flops", 3.5 * each)))
    training.run()
    assert facts(training)["steps"] == 3


def test_a_budget_of_seconds_counts_training_alone(
    prepare: Callable[..., Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1
        return now

    training = prepare("seconds", replace(SPEC, budget=BudgetSpec("device_seconds", 5)))
    monkeypatch.setattr("bench.engine.train.time.perf_counter", clock)
    training.run()
    assert facts(training)["steps"] == 5
    timing = json.loads((training.folder / "timing.json").read_text())
    assert timing["device_seconds"] == 5
    assert timing["evaluation"] >= 4


# --- steps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_gradients(prepare: Callable[..., Training], parts: int) -> None:
    """Equal to the whole batch's where every report has as many words."""
    dataset = load(sentences=2)
    gradients, terms = [], []
    for count in (1, parts):
        spec = replace(SPEC, train=replace(SPEC.train, accumulate=count))
        training = prepare(f"{count} parts", spec, dataset=dataset, dropout=0.0)
        training._enter_stage()
        batch = training.splits["train"].training_batch(0, 4, 0, 0.0, "cpu")
        assert len(set(batch.lengths.tolist())) == 1
        terms.append({k: float(v) for k, v in training._gradients(batch).items()})
        gradients.append([p.grad for p in training.parameters])
    assert terms[0] == pytest.approx(terms[1], rel=1e-5)
    for whole, summed in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, summed, rtol=1e-4, atol=1e-7)


def test_a_loss_that_is_not_finite(prepare: Callable[..., Training]) -> None:
    training = prepare("nan")
    with torch.no_grad():
        training.model.out.bias[2] = torch.nan
    with pytest.raises(RunError, match="not finite at step 1"):
        training.run()
    assert not (training.folder / "train.json").exists()


def test_bf16_keeps_float32_weights(prepare: Callable[..., Training]) -> None:
    spec = replace(SPEC, train=replace(SPEC.train, precision="bf16"), budget=BudgetSpec("steps", 3))
    half, full = prepare("bf16", spec), prepare("fp32", replace(SPEC, budget=spec.budget))
    half.run()
    full.run()
    assert {v.dtype for v in weights(half).values()} == {torch.float32}
    assert half.losses[0]["ce"] == pytest.approx(full.losses[0]["ce"], rel=0.03)
    assert half.losses[0]["ce"] != full.losses[0]["ce"]
