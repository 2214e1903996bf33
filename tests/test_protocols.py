"""What rows see under the two image protocols, and whose epochs a schedule counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.config import names
from bench.data.study import Dataset, Study
from bench.engine.optimiser import rate_factor
from bench.runs.workspace import Workspace
from bench.spec import RunSpec
from bench.store import RunFolder
from bench.suites.composer import Composer
from bench.suites.suite import Row, load_suite

DATA = ["dataset.train=6", "dataset.val=2", "dataset.test=3", "dataset.size=48"]
SHOWN = ("size", "resize", "mode", "evaluate", "flip", "filter", "views")
BUDGETS = ("tiny", "small", "medium", "paper")


def specs(folder: Path, suite: str, *overrides: str) -> dict[str, RunSpec]:
    def pretrain(*todo: RunSpec) -> None:
        for spec in todo:
            path = RunFolder(folder, spec.run_id).path
            path.mkdir(parents=True, exist_ok=True)
            (path / "weights.safetensors").write_text("codes")

    found, work = load_suite(suite), Workspace(folder, folder)
    composer = Composer(work, pretrain, [*DATA, *overrides], pretrainings=found.pretrainings)
    return {row.name: composer.row(row) for row in found.rows if not row.needs}


@pytest.mark.parametrize("suite", [s for s in names("suite") if s != "single"])
def test_common_rows_see_the_same_pixels(tmp_path: Path, suite: str) -> None:
    found = specs(tmp_path, suite, "budget=tiny")
    images = {str([s.model.params["image"][key] for key in SHOWN]) for s in found.values()}
    assert len(images) == 1
    assert {s.model.params["image"]["flip"] for s in found.values()} == {0.0}
    assert {s.model.params.get("apart", False) for s in found.values()} == {False}
    assert {s.images for s in found.values()} == {"common"}


@pytest.mark.parametrize("budget", BUDGETS)
def test_published_rows_see_their_own(
    tmp_path: Path, budget: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workspace, "reference", lambda self, name: f"{name}@0")
    found = specs(tmp_path, "table1", f"budget={budget}", "images=published")
    uar, r2gen = (found[name].model.params for name in ("UAR", "R2Gen"))
    assert r2gen["image"]["size"] == 2 * uar["image"]["size"]
    if budget == "paper":
        assert [r2gen["image"][k] for k in SHOWN[:5]] == [224, 256, "short", "squash", 0.5]
        assert [uar["image"][k] for k in SHOWN[:5]] == [112, 128, "squash", "squash", 0.0]
    assert r2gen["apart"] is True
    for name in ("R2GenCMN", "ST", "Att2in", "AdaAtt", "TopDown"):
        assert found[name].model.params["image"] == r2gen["image"]
    assert found["BASE"].model.params["image"] == uar["image"]
    assert {s.images for s in found.values()} == {"published"}


def test_imagenet_weights_get_the_pixels_that_they_were_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.model import build_model, image_spec

    monkeypatch.setattr(Workspace, "reference", lambda self, name: f"{name}@0")
    composer = Composer(Workspace(tmp_path, tmp_path), None, [*DATA, "budget=tiny"])
    seen = {}
    for encoder in ("imagenet_resnet50", "mgca_resnet"):
        more = (f"encoder={encoder}", "model.weights.visual=null")
        spec = composer.row(Row("BASE", "base", more))
        seen[encoder] = image_spec(build_model(spec.model, {"visual": None}, 30, 60, None))
    assert seen["imagenet_resnet50"].mean == (0.485, 0.456, 0.406)
    assert seen["imagenet_resnet50"].std == (0.229, 0.224, 0.225)
    assert seen["mgca_resnet"].mean == (0.5, 0.5, 0.5)


# --- MIMIC-CXR -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["r2gen", "r2gencmn", "base", "st"])
@pytest.mark.parametrize("read", [270790, 151199])
def test_epochs_on_mimic_cxr_are_of_what_is_read(
    tmp_path: Path, model: str, read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 epochs of R2Gen's 270,790 items, or of the frontal studies: never 53.7 of these."""
    study = Study("s", "p", "train", (), "")
    data = Dataset("mimic_cxr", (study,) * read, "m", lambda image: None, "mimic", 10, 100)
    monkeypatch.setattr(Workspace, "dataset", lambda *_: data)
    composer = Composer(Workspace(tmp_path, tmp_path), None, [*DATA, "budget=paper_mimic"])
    config = composer.config([f"model={model}", "model.weights.visual=null"])
    config["model"]["weights"] = {}
    spec = composer.spec(config, 0)
    assert (spec.budget.unit, spec.budget.amount) == ("examples", 30 * read)
    assert spec.selection.evaluations == 30
    schedule, last = spec.train.schedule, spec.budget.amount - 16
    if model == "r2gen":  # 0.8 after each of 29 epochs
        epoch = last / (schedule.epoch_size or read)
        assert rate_factor(schedule, 1.0, epoch) == pytest.approx(0.8**29)
