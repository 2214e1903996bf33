"""The alignment score and its control: in features, in a run's folder, in tables and figures."""

from __future__ import annotations

import numpy as np
import pytest
from made import DATASET, make

from bench.metrics import registry
from bench.metrics.alignment import aligned, control
from bench.metrics.scoring import Scored
from bench.reporting import alignment_tables, tables
from bench.reporting.summary import Summary
from bench.runs.features import FEATURES
from bench.runs.prediction import ALIGNMENT
from bench.runs.score import TABLES, assess
from bench.runs.workspace import Workspace
from bench.store import RunFolder
from bench.suites.plan import Plan


def features(n: int = 30, shared: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(n, 8))
    return images, shared * images + rng.normal(size=(n, 8))


def slow(images: np.ndarray, reports: np.ndarray) -> list[list[float]]:
    """The definitions, pair by pair."""
    n = len(images)
    cosine = [
        [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for b in reports] for a in images
    ]
    low, high = min(map(min, cosine)), max(map(max, cosine))
    scaled = [[(c - low) / (high - low) for c in row] for row in cosine]
    found = []
    for i in range(n):
        own, mine = scaled[i][i], [scaled[i][j] for j in range(n) if j != i]
        every = [scaled[k][j] for k in range(n) for j in range(n) if j != k]
        found.append([
            float(own > 0.5), sum(m > 0.5 for m in mine) / len(mine),
            sum(own > e for e in every) / len(every), sum(own > m for m in mine) / len(mine),
        ])  # fmt: skip
    return found


@pytest.mark.parametrize("shared", [0.0, 0.7, 3.0])
def test_against_the_definitions(shared: float) -> None:
    given = features(shared=shared)
    found = np.concatenate([aligned(*given), control(*given)], axis=1)
    assert np.allclose(found, slow(*given))


def test_what_the_control_tells() -> None:
    """A score near 1 of features that tell nothing, and one of features that tell all."""
    images, _ = features(400)
    noise = 1 + 0.01 * np.random.default_rng(1).normal(size=(2, 400, 8))
    blind = control(*noise).mean(axis=0)
    assert blind[1:] == pytest.approx([0.5, 0.5], abs=0.05)
    assert abs(aligned(*noise).mean() - blind[0]) < 0.1
    same = control(images, images).mean(axis=0)
    assert same[1:] == pytest.approx([1, 1])
    assert same[0] < 0.6
    constant = np.ones((5, 3))
    assert control(constant, constant)[:, 1:] == pytest.approx(0.5)  # ties count one half
    assert control(constant[:1], constant[:1]).tolist() == [[0.5, 0.5, 0.5]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Workspace]:
    """The suite of toys: one row with marks alone, as old runs have, one with the control."""
    plan, work = make(tmp_path_factory.mktemp("aligned"))
    given = features(len(DATASET.split("test")), 0.7)
    marks, others = aligned(*given)[:, 0], control(*given)
    for planned in plan.runs:
        folder = RunFolder(work.out, planned.spec.run_id)
        (folder / "manifest.json").unlink()  # of a run that is not finished yet
        if planned.name == "BASE":
            (folder / ALIGNMENT).write_text("".join(f"{int(m)}\n" for m in marks))
        if planned.name == "good":
            rows = zip(marks, others, strict=True)
            lines = [f"{int(m)} {' '.join(map(str, row))}\n" for m, row in rows]
            (folder / ALIGNMENT).write_text("".join(lines))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bench.metrics.ptb.tokenize", lambda texts: list(texts))
            assess(planned.spec, work, folder, ("BLEU",))
    return plan, work


def test_a_run_keeps_what_it_has(made: tuple[Plan, Workspace]) -> None:
    plan, work = made
    given = features(len(DATASET.split("test")), 0.7)
    for planned in plan.runs:
        scored = Scored.load(RunFolder(work.out, planned.spec.run_id) / TABLES)
        found = {f for text, f in scored.statistics if text == FEATURES}
        assert found == {"constant": set(), "BASE": {"alignment"},
                         "good": {"alignment", "alignment-control"}}[planned.name]  # fmt: skip
        if planned.name == "good":
            for i, name in enumerate(registry.load("alignment-control").scores):
                expected = control(*given)[:, i].mean()
                assert scored.value(name, FEATURES) == pytest.approx(expected)


def test_table(made: tuple[Plan, Workspace]) -> None:
    summary = Summary.of(*made)
    found = alignment_tables.grid(summary, summary.suite.tables["t"])
    assert found is not None
    cells = {line.name: [c.text for c in line.cells] for line in found.lines}
    assert list(cells) == ["BASE", "good"]
    assert cells["BASE"][1:] == ["not kept"] * 3
    assert "not kept" not in cells["good"]
    assert any(note.startswith("not kept: runs from before") for note in found.notes)
    assert "own pairs > .5" in tables.render(found, "text")
