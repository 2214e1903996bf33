"""What a pretraining is worth: from `bench pretrain` to its figures, and `bench probe`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.__main__ import main
from bench.config import load_yaml
from bench.data.study import Image, Study
from bench.data.synthetic import load
from bench.errors import MissingError
from bench.metrics.clinical import truth
from bench.metrics.clinical.observations import OBSERVATIONS
from bench.pretraining import appraise
from bench.runs.workspace import Workspace
from bench.store import RunFolder, file_digest

SMALL = (
    "dataset=synthetic", "dataset.train=40", "dataset.val=12", "dataset.test=16",
    "dataset.size=48", "budget=tiny", "budget.pretrain.amount=40", "budget.pretrain.batch=8",
    "budget.pretrain.threads=1", "size.mgca.resnet.width=4", "size.mgca.image={size:32,resize:36}",
)  # fmt: skip
TEXT = ("model.shapes.convnet.text={layers:1,width:16,heads:2,pieces:120,max_pieces:24}",)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("transfer")


def run(place: Path, *command: str) -> int:
    return main([*command, "--out", str(place / "runs"), "--cache", str(place / "cache")])


@pytest.fixture(scope="module")
def sealed(place: Path) -> Iterator[RunFolder]:
    threads = torch.get_num_threads()
    assert run(place, "pretrain", "mgca", *SMALL, *TEXT) == 0
    [path] = (place / "runs").iterdir()
    yield RunFolder(place / "runs", path.name)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def test_a_pretraining_is_measured_before_it_is_sealed(sealed: RunFolder) -> None:
    assert not sealed.verify()
    assert {"pretraining.json", "figures/curves.png", "figures/curves.svg"} <= set(sealed.files())
    found = json.loads((sealed / "pretraining.json").read_text())
    rows = {(r["direction"], r["metric"]): r for r in found["retrieval"]}
    assert {m for _, m in rows} == {"recall@1", "recall@5", "recall@10"}
    for row in rows.values():
        assert 0 <= row["ci_low"] <= row["value"] <= row["ci_high"] <= 1
        assert row["times_chance"] == pytest.approx(row["value"] / row["chance"])
    probed = found["probe"]
    kinds = {(r["weights"], r["fraction"]) for r in probed["rows"]}
    assert kinds == {(w, f) for w in ("pretrained", "random") for f in (0.01, 0.1, 1.0)}
    means = [r for r in probed["rows"] if r["finding"] == "mean"]
    assert len(means) == 6
    assert probed["seeds"] == [0, 1, 2]
    assert [d["fraction"] for d in probed["differences"]] == [0.01, 0.1, 1.0]
    for d in probed["differences"]:
        assert d["ci_low"] <= d["value"] <= d["ci_high"]
        ours, random = (
            next(r for r in means if r["weights"] == w and r["fraction"] == d["fraction"])
            for w in ("pretrained", "random")
        )
        assert d["value"] == pytest.approx(ours["value"] - random["value"])


def test_what_pretrain_prints(
    sealed: RunFolder, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second call trains nothing, and figures that are gone are measured again."""
    weights = file_digest(sealed / "weights.safetensors")
    before = (sealed / "pretraining.json").read_bytes()
    (sealed / "pretraining.json").unlink()
    assert run(place, "pretrain", "mgca", *SMALL, *TEXT) == 0
    out = capsys.readouterr().out
    assert f"sha256 {weights}" in out
    assert "retrieval among 16 test studies" in out
    assert "100% of labels: mean AUROC" in out
    assert "figures/curves.png" in out
    assert (sealed / "pretraining.json").read_bytes() == before
    assert not sealed.verify()


def test_probe_of_a_run_is_what_was_sealed(
    sealed: RunFolder, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = place / "figures.json"
    assert run(place, "probe", sealed.run_id[:8], "--json", str(file)) == 0
    found, known = (json.loads(p.read_text()) for p in (file, sealed / "pretraining.json"))
    assert found["probe"] == known["probe"]
    assert found["retrieval"] == known["retrieval"]
    capsys.readouterr()
    assert run(place, "probe", sealed.run_id[:8], *SMALL, "dataset.test=14") == 0
    assert "retrieval among 14 test studies" in capsys.readouterr().out


def test_probe_of_random_and_of_given_weights(
    sealed: RunFolder,
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(place / "weights"))
    assert run(place, "probe", "random", *SMALL, *TEXT) == 0
    out = capsys.readouterr().out
    assert "random 100%" in out
    assert "pretrained" not in out
    main(["weights", "add", "mine", str(sealed / "weights.safetensors")])
    assert run(place, "probe", "mine", *SMALL, *TEXT) == 0
    given = capsys.readouterr().out
    sealed_text = appraise.render(json.loads((sealed / "pretraining.json").read_text()))
    assert sealed_text.splitlines()[-1] in given
    assert run(place, "probe", "mine", *SMALL, *TEXT, "model=mgca_vit") == 2
    assert "does not fit this image encoder" in capsys.readouterr().err
    assert run(place, "probe", "mein", *SMALL, *TEXT) == 2
    assert "did you mean 'mine'" in capsys.readouterr().err


def test_random_controls_differ_by_seed_alone(sealed: RunFolder, place: Path) -> None:
    from bench.store import load_spec

    work = Workspace(place / "runs", place / "cache")
    spec = load_spec(sealed)
    first, again, other = (appraise.frozen(spec, work, None, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.features["test"], again.features["test"])
    assert not np.array_equal(first.features["test"], other.features["test"])
    assert first.counts.shape == (appraise.RESAMPLES, 16)


# --- retrieval rows ----------------------------------------------------------------------------


def test_retrieval_rows_of_a_perfect_space() -> None:
    texts = [f"report {i}" for i in range(20)]
    counts = np.random.default_rng(0).multinomial(20, np.full(20, 0.05), size=50)
    rows = appraise.retrieval_rows(np.eye(20), np.eye(20), texts, counts)
    assert len(rows) == 6
    for row in rows:
        assert row["value"] == row["ci_low"] == row["ci_high"] == 1
        assert row["chance"] == pytest.approx(int(row["metric"].partition("@")[2]) / 20)


# --- labels ------------------------------------------------------------------------------------


def test_labels_of_the_embedded_dataset_are_its_truth() -> None:
    studies = load(train=30, val=1, test=1).split("train")
    known, values = truth.observations("synthetic", studies)
    assert known.all()
    assert values.shape == (30, 14)
    normal = [study.labels == {"normal"} for study in studies]
    assert values[:, OBSERVATIONS.index("No Finding")].tolist() == normal
    heart = ["cardiomegaly" in (study.labels or ()) for study in studies]
    assert values[:, OBSERVATIONS.index("Cardiomegaly")].tolist() == heart


def iu(*terms: str) -> Study:
    found = frozenset(terms) if terms else None
    return Study("CXR1", "p", "train", (Image("a", "frontal"),), "Clear.", found)


@pytest.mark.parametrize(
    ("study", "expected"),
    [
        (iu("normal"), {"No Finding"}),
        (iu("cardiomegaly", "pulmonary atelectasis"), {"Cardiomegaly", "Atelectasis"}),
        (iu("catheters, indwelling"), {"Support Devices", "No Finding"}),
        (iu("scoliosis"), set()),
        (iu("no indexing"), None),
        (iu(), None),
    ],
)
def test_expert_codes(study: Study, expected: set[str] | None) -> None:
    assert truth.expert_codes(study) == expected


def test_expert_codes_know_every_term_of_the_mapping() -> None:
    mapping = load_yaml("labels", "iu_mesh")
    for name, entry in mapping["observations"].items():
        for term in entry["problems"]:
            assert name in (truth.expert_codes(iu(term.lower())) or ())


def test_no_labels_are_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingError, match="'mimic_cxr' has no labels apart from its reports"):
        truth.observations("mimic_cxr", [iu()])
    with pytest.raises(MissingError, match="none of the 1 studies of iu_xray"):
        truth.observations("iu_xray", [iu()])
    assert "no linear probe: none here" in appraise.render({"probe": {"unavailable": "none here"}})
