"""Parameters of models: each has a range, and what does not go together shows before a plan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.canonical import to_dict
from bench.config import compose, names
from bench.errors import BenchError
from bench.runs.workspace import Workspace
from bench.settings import refuse_odd_parameters
from bench.suites.composer import Composer


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            "model=base model.params.layers=-1",
            "model.params.layers=-1\n  fix: give a number from 1",
        ),
        ("model=base size.layers=0", "size.layers=0"),
        ("model=base size.layers=2.5", "size.layers=2.5: expected a whole number"),
        ("model=base size.layers=abc", "size.layers=abc: expected a number"),
        ("model=base size.d=7 size.heads=2", "size.d=7 is not a multiple of size.heads=2"),
        ("model=base size.d=100000000", "size.d=1e+08"),
        ("model=st size.d=0", "size.d=0"),
        ("model=base size.d=null", "size.d=null: size.d is needed"),
        ("model=base size.image.resize=null", "size.image.resize=null: size.image.resize is"),
        ("model=uar model.params.layers=null", "model.params.layers=null: model.params.layers is"),
        ("model=uar size.dropout=1.5", "size.dropout=1.5\n  fix: give a number from 0 to 0.99"),
        ("model=att2in size.visual_dropout=nan", "size.visual_dropout=nan"),
        ("model=uar size.basis=0", "size.basis=0"),
        ("model=r2gencmn size.basis=-5", "size.basis=-5"),
        ("model=r2gencmn model.params.topk=0", "model.params.topk=0"),
        ("model=r2gen model.params.slots=0", "model.params.slots=0"),
        ("model=uar +model.params.refiner.k=-3", "model.params.refiner.k=-3"),
        ("model=uar model.params.cra=off", "model.params.cra is not one value but size, heads"),
        ("model=base size.image=5", "size.image is not one value but size, resize"),
        ("model=base size.image.size=80", "size.image.size=80 is more than size.image.resize=54"),
        ("model=base model.params.image.mode=odd", "unknown model.params.image.mode 'odd'"),
        ("model=base model.params.image.filter=odd", "unknown model.params.image.filter 'odd'"),
        ("model=base model.params.image.flip=2", "model.params.image.flip=2"),
        ("model=base size.rates.rest=-1", "size.rates.rest=-1"),
        ("model=base encoder=mgca_vit size.mgca.vit.patch=0", "size.mgca.vit.patch=0"),
        ("model=base encoder=mgca_vit backbone_params.encoder.depth=0", "depth=0"),
        ("model=dvae size.dvae.width=0", "size.dvae.width=0"),
        ("model=dvae size.dvae.codebook_size=1", "size.dvae.codebook_size=1"),
        ("model=dvae +model.params.kl_ramp=-1", "model.params.kl_ramp=-1"),
        ("model=mgca size.mgca.resnet.width=-4", "size.mgca.resnet.width=-4"),
        ("model=mgca model.params.prototypes=1", "model.params.prototypes=1"),
        ("model=mgca_vit size.mgca.vit.heads=5", "size.mgca.vit.width=96 is not a multiple of"),
    ],
)
def test_a_parameter_out_of_its_range_is_refused_at_composition(settings: str, said: str) -> None:
    with pytest.raises(BenchError) as caught:
        compose(["budget=tiny", *settings.split()])
    assert said in str(caught.value)


@pytest.mark.parametrize("size", names("size"))
def test_the_projects_own_presets_are_in_range(size: str) -> None:
    for model in names("model"):
        compose([f"model={model}", f"size={size}"])


def test_values_as_in_the_yaml_and_other_names_are_free() -> None:
    refuse_odd_parameters({"layers": 0, "anything": -1}, {"layers": 0}, "model.params")
    with pytest.raises(BenchError, match=r"model\.params\.layers=0"):
        refuse_odd_parameters({"layers": 0}, {"layers": 2}, "model.params")


UNFIT = [
    ("model=base +model.params.unknown=1", "unexpected keyword argument 'unknown'"),
    ("model=base model.params.backbone=nothing", "unknown backbone 'nothing'"),
    ("model=r2gencmn model.params.topk=9000", "R2GenCMN takes no training step"),
    (
        "model=uar model.params.lsu=false model.params.cra.heads=3",
        "is not a multiple of heads 3",
    ),
    ("model=uar model.params.lsu=false model.params.tir=odd", "not one of paper"),
    ("model=base +size.rates.nothing=1", "unknown parameter group 'nothing'"),
    ("model=base model.train.rates.rest=1e-3", "does nothing here: the size preset has rates"),
    ("model=base model.stages=[{name:x,losses:{a:1}}]", "weights the loss 'a'"),
    ("model=base model.stages=[{name:x,switches:{a:true}}]", "Base takes none"),
]


@pytest.mark.parametrize(("settings", "said"), UNFIT)
def test_what_only_the_model_knows_is_said_before_the_plan(
    settings: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [f"--out={tmp_path / 'runs'}", f"--cache={tmp_path / 'cache'}"]
    small = ["dataset.train=8", "dataset.val=2", "dataset.test=2"]
    assert main(["run", "single", "budget=tiny", *settings.split(), *small, *places]) == 2
    out, error = capsys.readouterr()
    assert said in error
    assert not out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("dvae size.image.size=5", "DVAE takes no training step"),
        ("dvae +model.params.unknown=0", "unexpected keyword"),
    ],
)
def test_pretrainings_too(
    settings: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [f"--out={tmp_path / 'runs'}", f"--cache={tmp_path / 'cache'}"]
    assert main(["pretrain", *settings.split(), "budget=tiny", *places]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_strangers_spec_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = Workspace(tmp_path / "runs", tmp_path / "cache")
    data = ["dataset.train=8", "dataset.val=2", "dataset.test=2"]
    spec = to_dict(Composer(work, None, ["budget=tiny", *data]).pretraining("dvae"))
    spec["model"]["params"]["width"] = -1
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    assert main(["execute", str(tmp_path / "spec.json"), f"--out={work.out}"]) == 2
    assert "uar.dvae.DVAE" in capsys.readouterr().err
    assert not work.out.exists()


@pytest.mark.parametrize("model", ["base", "topdown", "dvae", "mgca"])
def test_what_fits_is_let_through(model: str, tmp_path: Path) -> None:
    from bench.perf.trial import refuse_unfit
    from bench.suites.suite import Row

    work = Workspace(tmp_path / "runs", tmp_path / "cache")
    data = ["dataset.train=8", "dataset.val=2", "dataset.test=2"]
    composer = Composer(work, None, ["budget=tiny", *data])
    pretraining = model in ("dvae", "mgca", "mgca_vit")
    spec = composer.pretraining(model) if pretraining else composer.row(Row(model, model))
    refuse_unfit([spec], work)
    assert not work.out.exists()


def test_a_pretraining_is_tried_with_the_weights_that_it_begins_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text encoder of somebody's BERT cannot be built without its file."""
    from test_mgca_model import pretrained

    from bench.perf.trial import refuse_unfit

    pretrained(tmp_path, former=False)
    work = Workspace(tmp_path / "runs", tmp_path / "cache")
    data = ["dataset.train=8", "dataset.val=2", "dataset.test=2"]
    spec = Composer(work, None, ["budget=tiny", *data]).pretraining("mgca")
    params = {**spec.model.params, "text": {"source": "pretrained", "layers": 2, "max_pieces": 32}}
    part = replace(spec.model, params=params, weights={"text": "bert@0"})
    monkeypatch.setattr(Workspace, "path", lambda *_: tmp_path / "w.safetensors")
    refuse_unfit([replace(spec, model=part)], work)
    with pytest.raises(BenchError, match="needs a BERT's weights file"):
        refuse_unfit([replace(spec, model=replace(part, weights={}))], work)


@pytest.mark.parametrize("size", names("size"))
@pytest.mark.parametrize("model", ["mgca", "mgca_vit"])
def test_networks_from_random_weights_have_a_rate_of_their_own(model: str, size: str) -> None:
    if size == "r2gen":
        pytest.skip("for R2Gen alone: it has no MGCA")
    entry = compose([f"model={model}", f"size={size}"])["model"]
    pretrained = entry["params"]["text"]["source"] == "pretrained"
    assert (entry["weights"]["text"] is not None) == pretrained
    small = entry["params"]["encoder"].get("width") is not None
    assert entry["train"]["rates"]["rest"] == (1e-3 if small else 2e-5)
    assert pretrained != small
