"""MGCA's encoders as backbones: frozen means frozen; the suites; what a row has cost."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.canonical import to_dict
from bench.config import load_yaml
from bench.engine.optimiser import build_optimizer
from bench.reporting import costs
from bench.runs.workspace import Workspace
from bench.spec import OptimizerSpec, RunSpec
from bench.store import RunFolder, file_digest, write_json
from bench.suites.composer import Composer
from bench.suites.plan import Plan, make_plan
from bench.suites.suite import Row
from bench.targets import resolve
from mgca.backbone import Backbone
from mgca.image import image_encoder

TINY = ["dataset.train=6", "dataset.val=2", "dataset.test=3", "dataset.size=48", "budget=tiny"]
RESNET = {"name": "resnet_small", "width": 4}
VIT = {"name": "vit", "size": 32, "patch": 16, "width": 16, "depth": 1, "heads": 2}
SMALL = {"d": 16, "heads": 2, "d_ff": 16, "layers": 1}
DECODERS = {
    "baselines.base.Base": SMALL,
    "baselines.r2gen.R2Gen": SMALL,
    "baselines.r2gencmn.R2GenCMN": {**SMALL, "rows": 8, "topk": 4},
    "uar.model.UAR": {**SMALL, "lsu": False, "tir": False, "cra": {"size": 8, "heads": 2}},
}


def weights_of(folder: Path, encoder: dict[str, Any]) -> Path:
    """A sealed pretraining's file: the encoder under the prefix that MGCA gives it."""
    torch.manual_seed(3)
    state = image_encoder(encoder).model.state_dict()
    file = folder / "weights.safetensors"
    save_file({f"image_encoder.model.{k}": v.contiguous() for k, v in state.items()}, file)
    return file


def studies() -> Any:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 9, (3, 7), generator=generator)
    tokens[:, 0] = tokens[:, -1] = 0
    images = torch.randn(3, 2, 3, 32, 32, generator=generator)
    return SimpleNamespace(
        images=images, tokens=tokens, lengths=torch.full((3,), 7), texts=[""], whole=None
    )


def generator_of(target: str, file: Path, encoder: dict[str, Any], freeze: bool) -> Any:
    torch.manual_seed(1)
    return resolve(target)(
        vocab_size=10, max_length=7, weights={"visual": file}, freeze=freeze,
        backbone="mgca.backbone.Backbone", backbone_params={"encoder": encoder},
        image={"size": 32, "resize": 36, "views": 2}, **DECODERS[target],
    )  # fmt: skip


def state_of(model: Any) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.visual.backbone.state_dict().items()}


@pytest.mark.parametrize("encoder", [RESNET, VIT], ids=lambda c: c["name"])
@pytest.mark.parametrize("target", DECODERS)
def test_a_frozen_encoder_stays_what_it_is(target: str, encoder: dict, tmp_path: Path) -> None:
    """No gradient, no weight decay, no running statistics of batch norm."""
    model = generator_of(target, weights_of(tmp_path, encoder), encoder, freeze=True)
    before = state_of(model)
    groups = model.groups()
    inside = {id(p) for p in model.visual.backbone.parameters()}
    assert not inside & {id(p) for group in groups.values() for p in group}
    spec = OptimizerSpec(rates={"rest": 0.1, "visual": 0.1}, weight_decay=0.5)
    optimizer = build_optimizer(groups, spec, getattr(model, "GROUPS", ()))
    for group in optimizer.param_groups:
        group["lr"] = group["base"]
    model.train()
    assert not any(m.training for m in model.visual.backbone.modules())
    for _ in range(2):
        loss = torch.stack(list(model.loss(studies()).values())).sum()
        loss.backward()
        optimizer.step()
    assert all(p.grad is None for p in model.visual.backbone.parameters())
    assert model.visual.project.weight.grad is not None
    after = state_of(model)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("encoder", [RESNET, VIT], ids=lambda c: c["name"])
def test_a_fine_tuned_encoder_starts_from_its_weights_and_moves(
    encoder: dict, tmp_path: Path
) -> None:
    file = weights_of(tmp_path, encoder)
    model = generator_of("baselines.base.Base", file, encoder, freeze=False)
    expected = Backbone(file, encoder=encoder).state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in state_of(model).items())
    assert {"visual", "rest"} == set(model.groups())
    model.train().loss(studies())["ce"].backward()
    assert all(p.grad is not None for p in model.groups()["visual"])


def test_an_encoder_by_name_or_as_a_mapping() -> None:
    torch.manual_seed(0)
    one = Backbone(encoder="resnet_small", width=4)
    torch.manual_seed(0)
    other = Backbone(encoder=RESNET)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(one.eval()(images), other.eval()(images))


# --- suites ------------------------------------------------------------------------------------


class Pretrained:
    """Stands for pretraining: a file of weights and what they cost."""

    def __init__(self, out: Path) -> None:
        self.out, self.specs = out, list[RunSpec]()

    def __call__(self, spec: RunSpec) -> None:
        self.specs.append(spec)
        folder = RunFolder(self.out, spec.run_id)
        write_json(folder / "spec.json", to_dict(spec))
        (folder / "weights.safetensors").write_text(spec.run_id)
        cost(folder, 320)


def cost(folder: RunFolder, examples: int) -> None:
    write_json(folder / "train.json", {"examples": examples, "flops": 1e9 * examples})
    write_json(folder / "timing.json", {"device_seconds": examples / 16, "evaluation": 8.0})
    write_json(folder / "env.json", {"device": "cpu", "threads": 2})


def planned(name: str, folder: Path, *more: str) -> tuple[Plan, Pretrained]:
    pretrain = Pretrained(folder)
    work = Workspace(folder, folder)
    return make_plan(name, [*TINY, *more], work, pretrain), pretrain


def trained(plan: Plan) -> dict[str, RunSpec]:
    return {p.name: p.spec for p in plan.runs if p.origin == "trained"}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Pretrained]:
    return planned("encoders", tmp_path_factory.mktemp("runs"))


def test_encoders_frozen_and_fine_tuned_under_two_decoders(
    encoders: tuple[Plan, Pretrained],
) -> None:
    plan, pretrain = encoders
    specs = trained(plan)
    kinds = ("random", "imagenet", "mgca_resnet", "mgca_vit")
    assert set(specs) == {
        f"{d}_{k}{f}" for d in ("base", "r2gen") for k in kinds for f in ("", "_frozen")
    }
    for name, spec in specs.items():
        assert spec.model.params.get("freeze", False) == name.endswith("_frozen")
    assert [s.model.params["encoder"]["name"] for s in pretrain.specs] == ["resnet_small", "vit"]
    assert len({repr(spec.budget) for spec in specs.values()}) == 1
    images = [{**spec.model.params["image"]} for spec in specs.values()]
    assert all(image == images[0] for image in images)


def test_rows_name_the_digest_of_their_weights(encoders: tuple[Plan, Pretrained]) -> None:
    plan, pretrain = encoders
    specs = trained(plan)
    for kind, spec in zip(("mgca_resnet", "mgca_vit"), pretrain.specs, strict=True):
        file = RunFolder(pretrain.out, spec.run_id) / "weights.safetensors"
        reference = f"seeded:{spec.run_id}@{file_digest(file)}"
        for decoder in ("base", "r2gen"):
            row = specs[f"{decoder}_{kind}_frozen"].model
            assert row.weights == {"visual": reference}
            assert row.params["backbone_params"] == {"encoder": spec.model.params["encoder"]}
    assert specs["base_random"].model.weights == {"visual": "random"}
    assert specs["base_imagenet"].model.weights["visual"].startswith("efficientnet-lite0@57934")


def test_rows_without_their_weights_are_left_out(
    encoders: tuple[Plan, Pretrained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert any("base_resnet50: left out, no weights" in line for line in encoders[0].left_out)
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    name = "resnet50-0676ba61.pth"
    (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(Workspace, "reference", lambda self, name: f"{name}@0")
    plan, _ = planned("encoders", tmp_path / "runs")
    assert not plan.left_out
    assert trained(plan)["r2gen_resnet50"].model.weights == {"visual": "resnet50-imagenet@0"}


def test_the_alignments_each_have_a_pretraining(
    encoders: tuple[Plan, Pretrained], tmp_path: Path
) -> None:
    plan, pretrain = planned("mgca", tmp_path)
    terms = [tuple(s.model.params.get("terms", ("ita", "cta", "cpa"))) for s in pretrain.specs]
    assert terms == [("ita",), ("ita", "cta"), ("ita", "cpa"), ("ita", "cta", "cpa")]
    for spec, own in zip(pretrain.specs, terms, strict=True):
        assert set(spec.stages[0].losses) == set(own)
    assert pretrain.specs[-1] == encoders[1].specs[0]  # one run serves both suites
    assert len({spec.run_id for spec in trained(plan).values()}) == 5


def test_another_encoder_for_any_suite(tmp_path: Path) -> None:
    """`encoder=` on the command line reaches report generators, not the pretraining itself."""
    pretrain = Pretrained(tmp_path)
    composer = Composer(Workspace(tmp_path, tmp_path), pretrain, [*TINY, "encoder=mgca_vit"])
    for model in ("base", "r2gencmn", "st"):
        spec = composer.row(Row(model, model))
        assert spec.model.params["backbone"] == "mgca.backbone.Backbone"
        assert spec.model.weights["visual"].startswith(f"seeded:{pretrain.specs[0].run_id}@")
    assert len(pretrain.specs) == 1
    codes = composer.pretraining("dvae")
    assert "backbone" not in codes.model.params


def test_a_pretraining_may_have_a_budget_of_its_own(tmp_path: Path) -> None:
    composer = Composer(Workspace(tmp_path, tmp_path), None, [*TINY, "budget=small"])
    own = load_yaml("budget", "small")["pretrain"]
    assert composer.pretraining("mgca").budget.amount == own["models"]["mgca"]["amount"]
    assert composer.pretraining("dvae").budget.amount == own["amount"]


# --- cost --------------------------------------------------------------------------------------


def test_what_rows_have_cost(tmp_path: Path) -> None:
    plan, _ = planned("encoders", tmp_path)
    names = ["base_random", "base_imagenet", "base_mgca_resnet_frozen"]
    keys = {}
    for name in names:
        spec = trained(plan)[name]
        folder = RunFolder(tmp_path, spec.run_id)
        write_json(folder / "spec.json", to_dict(spec))
        cost(folder, 1600)
        keys[name] = (spec.run_id,)
    suite = SimpleNamespace(keys=keys, trained=names, contrasts=SimpleNamespace(out=tmp_path))
    random, imagenet, ours = costs.costs(suite)
    assert random.pretraining == costs.Spent()
    assert imagenet.pretraining is None
    assert ours.pretraining == costs.Spent(320, 320e9, 20)
    assert ours.training == costs.Spent(1600, 1600e9, 100)
    reference = trained(plan)["base_mgca_resnet_frozen"].model.weights["visual"]
    assert reference.startswith(f"{ours.initial.removeprefix('visual:')}-s0@")
    text = costs.section(suite)
    assert f"| {ours.initial} | 1,600 | 1.60e+12 | 100.0 | 320 | 3.20e+11 | 20.0 |" in text
    assert text.count("| 0.06 core-hours |") == 3  # (100 + 8) s on two threads
    assert "behind these rows: 0.20 core-hours.\n" in text  # and the pretraining's (20 + 8) s
    assert "efficientnet-lite0@57934424 | 1,600 | 1.60e+12 | 100.0 | – | – | – |" in text
    rows = list(csv.DictReader(io.StringIO(costs.to_csv([random, imagenet, ours]))))
    assert [row["pretraining_examples"] for row in rows] == ["0.0", "", "320.0"]
