"""The embedded dataset: films, reports and ground truth agree, on every machine alike."""

from __future__ import annotations

import ast
import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.data import synthetic
from bench.data.study import SPLITS, Dataset
from bench.data.synthetic import ahead, cases, film, frontal, language
from bench.data.synthetic.canvas import Frame
from bench.errors import BenchError, DataError

# Regenerate: PYTHONPATH=tests:. python -c 'import test_synthetic; test_synthetic.regenerate()'
GOLDEN_MANIFEST = "38bf65e19e65a3da20811149a8519b74c8a645e828127c2e955ea6ca7650361b"
GOLDEN_PIXELS = {
    "syn0-test00000-1/frontal": "0fdc3a358989bee7",
    "syn0-test00000-1/lateral": "9668c199071ef429",
}

SAID = {
    "cardiomegaly": ("cardiomegaly", "ly enlarged", "enlargement"),
    "effusion": ("pleural effusion, ", "pleural effusions", "effusion is present", "amount of"),
    "pneumothorax": (" pneumothorax, ", "pneumothorax is identified, ", "pneumothorax on the"),
    "nodule": ("nodule", "mass"),
    "consolidation": ("lobe", "lingula"),
    "atelectasis": ("atelecta",),
    "fracture": ("fracture",),
    "device": ("pacemaker", "ternotomy", "port ", "catheter", "jugular line", "chest tube"),
}


def pixels(key: str, size: int = 64) -> str:
    return hashlib.sha256(synthetic.read(key, size).tobytes()).hexdigest()[:16]


def regenerate() -> None:
    print(synthetic.load().manifest, {key: pixels(key) for key in GOLDEN_PIXELS})


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return synthetic.load()


def with_finding(dataset: Dataset, name: str, count: int) -> list[str]:
    return [s.id for s in dataset.studies if name in (s.labels or ())][:count]


def test_golden_reports_and_pixels(dataset: Dataset) -> None:
    assert dataset.manifest == GOLDEN_MANIFEST
    assert {key: pixels(key) for key in GOLDEN_PIXELS} == GOLDEN_PIXELS


def test_counts_splits_and_patients(dataset: Dataset) -> None:
    assert [len(dataset.split(s)) for s in SPLITS] == [1200, 150, 300]
    assert len({s.id for s in dataset.studies}) == 1650
    patients = [{s.patient for s in dataset.split(name)} for name in SPLITS]
    assert not patients[0] & patients[1] | patients[0] & patients[2] | patients[1] & patients[2]
    assert len(patients[0]) < 1200  # some patients came more than once
    assert all([i.view for i in s.images] == ["frontal", "lateral"] for s in dataset.studies)


def test_a_smaller_split_is_the_beginning_of_a_larger_one(dataset: Dataset) -> None:
    small = synthetic.load(train=20, val=5, test=10)
    for name in SPLITS:
        assert small.split(name) == dataset.split(name)[: len(small.split(name))]
    assert small.manifest != dataset.manifest


def test_seed_and_size_make_another_dataset() -> None:
    base = synthetic.load(None, 0, 5, 2, 2)
    other, large = synthetic.load(None, 1, 5, 2, 2), synthetic.load(None, 0, 5, 2, 2, 160)
    assert len({base.manifest, other.manifest, large.manifest}) == 3
    assert {s.id for s in base.studies}.isdisjoint(s.id for s in other.studies)
    image = base.studies[0].images[0]
    assert base.fingerprint(image) != large.fingerprint(image)
    assert large.read(image).shape == (160, 160)


def test_any_film_is_reproducible_alone(dataset: Dataset) -> None:
    images = [i for s in dataset.studies[:6] for i in s.images]
    first = [dataset.read(i) for i in images]
    cases.case.cache_clear()
    cases.anatomy.cache_clear()
    for image, before in reversed(list(zip(images, first, strict=True))):
        again = dataset.read(image)
        assert again.dtype == np.uint8
        assert again.shape == (128, 128)
        np.testing.assert_array_equal(again, before)
    assert len({a.tobytes() for a in first}) == len(first)


def test_films_use_the_grey_scale(dataset: Dataset) -> None:
    for study in dataset.studies[:20]:
        for image in study.images:
            grey = dataset.read(image)
            assert grey.std() > 30
            assert 40 < grey.mean() < 200
            assert (grey == 255).mean() < 0.35


def test_prevalence_is_natural(dataset: Dataset) -> None:
    train = dataset.split("train")
    share = {n: np.mean([n in (s.labels or ()) for s in train]) for n in synthetic.CHEXPERT}
    assert 0.36 < share["normal"] < 0.46
    assert all(0.03 < share[n] < 0.35 for n in synthetic.FINDINGS), share
    both = np.mean([{"cardiomegaly", "effusion"} <= (s.labels or set()) for s in train])
    assert both > 1.5 * share["cardiomegaly"] * share["effusion"]


def test_reports_have_the_length_and_variety_of_real_ones(dataset: Dataset) -> None:
    train = [s.report for s in dataset.split("train")]
    words = np.array([len(r.split()) for r in train])
    sentences = np.array([r.count(".") for r in train])
    assert 25 < words.mean() < 45
    assert words.max() < 80
    assert sentences.min() >= 3
    assert np.mean(sentences <= 6) > 0.85
    assert 150 <= len({w.strip(".,").lower() for r in train for w in r.split()}) <= 250
    seen = set(train)
    shared = np.mean([s.report in seen for s in dataset.split("test")])
    assert 0.2 < shared < 0.5
    normal = [s.report in seen for s in dataset.split("test") if s.labels == {"normal"}]
    assert np.mean(normal) > shared


def test_the_report_says_what_is_there_and_nothing_else(dataset: Dataset) -> None:
    for study in dataset.studies:
        text = study.report
        assert "{" not in text
        assert "  " not in text
        assert text.endswith(".")
        for name, phrases in SAID.items():
            if name == "consolidation" and "nodule" in (study.labels or ()):
                continue  # both name lobes
            said = any(p in text for p in phrases)
            assert said == (name in (study.labels or ())), (name, study.id, text)


def test_the_report_names_side_and_zone(dataset: Dataset) -> None:
    for study in dataset.split("test"):
        for finding in cases.case(study.id).findings:
            if finding.side and finding.kind != "wires":
                both = len({f.side for f in cases.case(study.id).find(finding.name)}) == 2
                words = ("both", "bi") if both else (finding.side, "lingula")
                assert any(w in study.report.lower() for w in words), (finding, study.report)
        assert study.sections["impression"].endswith(".")


def test_heart_is_wide_exactly_in_cardiomegaly(dataset: Dataset) -> None:
    for study in dataset.studies:
        ratio = frontal.heart_ratio(cases.case(study.id))
        assert (ratio > 0.5) == ("cardiomegaly" in (study.labels or ()))
    drawn = []
    for name in with_finding(dataset, "cardiomegaly", 30):
        case = cases.case(name)
        body = frontal.Frontal(case, cases.exposure(name, "frontal"), 128)
        row = (body.heart() > 0.3).any(axis=0)
        width = row.sum() / (body.frame.sx * 64) / (2 * frontal.WALL)
        drawn.append(width - frontal.heart_ratio(case))
    assert np.abs(drawn).max() < 0.06


@pytest.mark.parametrize("name", synthetic.FINDINGS)
def test_boxes_hold_what_the_finding_changes(dataset: Dataset, name: str) -> None:
    """Oracle: the film drawn again without the finding differs mostly inside the box."""
    for study in with_finding(dataset, name, 6):
        case = cases.case(study)
        for k, finding in enumerate(synthetic.truth(study)):
            if finding.name != name:
                continue
            others = tuple(f for j, f in enumerate(case.findings) if j != k)
            for view, (x0, y0, x1, y1) in finding.boxes.items():
                assert 0 <= x0 < x1 <= 128
                assert 0 <= y0 < y1 <= 128
                shown = film.draw(case, view, 128).astype(float)
                plain = film.draw(replace(case, findings=others), view, 128).astype(float)
                change = np.abs(shown - plain)
                assert change.max() > 8
                inside = change[max(0, y0 - 4) : y1 + 4, max(0, x0 - 4) : x1 + 4].sum()
                assert inside > 0.5 * change.sum(), (study, finding, view)


def test_the_patients_right_is_on_the_images_left(dataset: Dataset) -> None:
    checked = 0
    for study in dataset.studies[:400]:
        for finding in cases.case(study.id).findings:
            if finding.name in ("effusion", "pneumothorax", "nodule", "consolidation"):
                box = next(
                    f.boxes["frontal"] for f in synthetic.truth(study.id) if _same(f, finding)
                )
                middle = (box[0] + box[2]) / 2
                assert (middle < 64) == (finding.side == "right"), (study.id, finding, box)
                checked += 1
    assert checked > 50


def _same(a: synthetic.Finding, b: synthetic.Finding) -> bool:
    return replace(a, boxes={}) == replace(b, boxes={})


def test_normal_studies_have_no_truth(dataset: Dataset) -> None:
    normal = next(s for s in dataset.studies if s.labels == {"normal"})
    assert synthetic.truth(normal.id) == ()
    assert synthetic.chexpert(normal) == {"No Finding"}
    nodule = next(s for s in dataset.studies if "nodule" in (s.labels or ()))
    assert "Lung Lesion" in synthetic.chexpert(nodule)


@pytest.mark.parametrize(
    "study", ["", "x", "syn0-train00012-9", "syn0-dev00001-1", "syn0-train1-1", "syn-test00000-1"]
)
def test_unknown_studies_are_refused(study: str) -> None:
    with pytest.raises(DataError, match="no study"):
        synthetic.truth(study)


def test_bad_requests_are_refused() -> None:
    with pytest.raises(DataError, match="no image"):
        synthetic.read("syn0-test00000-1/oblique")
    with pytest.raises(DataError, match="size=8"):
        synthetic.load(size=8)
    with pytest.raises(DataError, match="val"):
        synthetic.load(val=0)


def test_films_drawn_ahead_are_those_drawn_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "WORTH", 4)
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(ahead, "film", pytest.fail)  # of this process; children draw
    keys = [f"syn0-test0000{i}-1/{view}" for i in range(3) for view in film.VIEWS]
    films = ahead.Films()
    films.ahead([*keys, keys[0]], 40)
    for key in keys:
        assert (films(key, 40) == synthetic.keys.film(key, 40)).all()
        assert not films(key, 40).flags.writeable
    with pytest.raises(BenchError, match="no image"):
        films.ahead(["a/frontals", "b/frontals", "c/frontals", "d/frontals"], 40)


def test_few_films_are_not_worth_a_process_and_old_ones_make_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ahead, "_drawn", pytest.fail)
    monkeypatch.setattr(ahead, "KEPT", 2)
    drawn: list[str] = []
    monkeypatch.setattr(ahead, "film", lambda key, size: drawn.append(key) or np.zeros((1, 1)))
    films = ahead.Films()
    films.ahead(["a", "b"], 40)
    for key in ("a", "b", "b", "c", "b", "a"):
        films(key, 40)
    assert drawn == ["a", "b", "c", "a"]


def test_frame_maps_points_where_the_grid_says() -> None:
    frame = Frame(64, dx=0.1, dy=-0.05, sx=1.1, sy=0.9)
    x, y = frame.grid()
    px, py = frame.pixels(x[0, 20], y[33, 0])
    assert (px, py) == pytest.approx((20, 33), abs=1e-4)
    dot = frame.splat(np.array([x[0, 20]]), np.array([y[33, 0]]), np.array([1.0]))
    assert dot.sum() == pytest.approx(1.0)
    assert dot[33, 20] > 0.99


def test_every_phrase_can_be_filled() -> None:
    finding = cases.Finding("nodule", "left", "mid", "severe")
    for name, value in vars(language).items():
        phrases = value.values() if name == "DEVICE" else [value]
        for group in phrases:
            if name.isupper() and isinstance(group, tuple) and isinstance(group[0], str):
                assert all("{" not in p.format(**language._words(finding)) for p in group)


def test_pixels_use_exactly_rounded_operations_only() -> None:
    """No libm: its last bit differs between machines, and could move a grey level."""
    inexact = {"exp", "log", "sin", "cos", "tan", "tanh", "power", "arctan2", "hypot", "normal"}
    inexact |= {"standard_normal", "dot", "matmul", "einsum", "sum", "mean"}
    for path in Path(synthetic.__file__).parent.glob("*.py"):
        if path.stem == "information":  # it draws nothing
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Attribute) and node.attr in inexact), path
            assert not isinstance(node, ast.Pow | ast.MatMult), path


def test_imports_without_torch() -> None:
    code = "import sys, bench.data.synthetic; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
