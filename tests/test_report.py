"""reports/<suite>/ from made runs: what it says, and that it says it twice alike."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy import load

from bench.assess import assess
from bench.board import suite_rows
from bench.execute import PREDICTIONS, SHUFFLED, write_predictions
from bench.metrics import ptb
from bench.plan import Plan, Planned
from bench.report import Summary, report_folder, write_suite
from bench.spec import BudgetSpec, DataSpec, PartSpec, RunSpec
from bench.store import RunFolder, write_json
from bench.suite import Row, Suite, Table
from bench.workspace import Workspace

PARAMS = {"train": 12, "val": 2, "test": 50}
DATASET = load(**PARAMS)
DATA = DataSpec("made", "toy.load", DATASET.manifest, PARAMS)
# row -> share of test reports that are the reference itself; a row of two seeds
QUALITY = {"constant": (0.2,), "BASE": (0.3,), "good": (0.93, 0.94), "absent": ()}
SUITE = Suite(
    title="A suite of toys",
    rows=tuple(Row(name, "toy") for name in QUALITY if name != "constant"),
    tables={"t": Table("Toys", ("BASE", "good", "absent"))},
    floors=("constant",),
    baseline="BASE",
)


def reports(share: float, seed: int) -> list[str]:
    """References, or the reference of another study."""
    truth = [study.report for study in DATASET.split("test")]
    rng = np.random.default_rng(seed)
    keep = rng.random(len(truth)) < share
    return [t if k else truth[i - 7] for i, (t, k) in enumerate(zip(truth, keep, strict=True))]


def seal(planned: Planned, share: float, work: Workspace) -> None:
    """The folder of a run that was trained and scored, without training it."""
    spec, studies = planned.spec, DATASET.split("test")
    folder = RunFolder(work.out, spec.run_id)
    write_predictions(folder / PREDICTIONS, studies, reports(share, spec.seed))
    write_json(folder / "env.json", {"commit": "c0ffee"})
    if planned.origin == "trained":
        write_predictions(folder / SHUFFLED, studies, reports(0.1, 50 + spec.seed))
        write_json(folder / "train.json", {"steps": 3, "examples": 12, "parameters": 99})
        write_json(folder / "timing.json", {"device_seconds": 1.0})
    assess(spec, work, folder, ["BLEU", "CIDEr"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Plan, Workspace]]:
    place = tmp_path_factory.mktemp("made")
    work = Workspace(place / "runs", place / "cache")
    runs = []
    with pytest.MonkeyPatch.context() as patch:
        # Java would be asked for no more than this.
        patch.setattr(ptb, "tokenize", lambda texts: [t.replace(" .", "") for t in texts])
        for name, shares in QUALITY.items():
            kind = "floor" if name == "constant" else "train"
            part, budget = PartSpec("toy.Toy", {"row": name}), BudgetSpec("steps", 3.0)
            for seed, share in enumerate(shares):
                spec = RunSpec(kind, DATA, part, "", budget=budget, seed=seed)
                origin = "floor" if kind == "floor" else "trained"
                runs.append(Planned(name, origin, "toy", spec))
                seal(runs[-1], share, work)
        yield Plan("toys", SUITE, "made", tuple(runs)), work


@pytest.fixture(scope="module")
def written(
    made: tuple[Plan, Workspace], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("reports")
    write(made, folder)
    return content(folder)


def write(made: tuple[Plan, Workspace], folder: Path, cache: Path | None = None) -> list[Path]:
    plan, work = made
    work = replace(work, cache=cache or work.cache)
    return write_suite(Summary.of(plan, work), suite_rows(plan, work), folder)


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_files(written: dict[str, bytes]) -> None:
    assert set(written) == {
        "README.md", "scores.csv", "t.md", "t.tex", "t.csv", "t-full.md", "t-full.tex",
        "t-full.csv", "t-tests.csv", "ladder.png", "ladder.svg",
    }  # fmt: skip


def test_written_again_it_has_the_same_bytes(
    made: tuple[Plan, Workspace], written: dict[str, bytes], tmp_path: Path
) -> None:
    """Even where nothing of the first time is left: intervals are seeded by what they are of."""
    write(made, tmp_path / "again")
    assert content(tmp_path / "again") == written
    write(made, tmp_path / "afresh", tmp_path / "cache")
    assert content(tmp_path / "afresh") == written


def test_scores_are_long_and_exact(made: tuple[Plan, Workspace], written: dict[str, bytes]) -> None:
    plan, work = made
    rows = list(csv.DictReader(written["scores.csv"].decode().splitlines()))
    assert {r["variant"] for r in rows} == {"constant", "BASE", "good"}
    assert {r["origin"] for r in rows} == {"floor", "trained", "control"}
    assert {r["seed"] for r in rows if r["variant"] == "good"} == {"0", "1"}
    whole = {
        (r["variant"], r["seed"]): float(r["value"])
        for r in rows
        if (r["metric"], r["text"], r["stratum"]) == ("BLEU-4", "r2gen@1", "all")
        and r["origin"] != "control"
    }
    summary = Summary.of(plan, work)
    for row, seeds in (("constant", 1), ("BASE", 1), ("good", 2)):
        mean = np.mean([whole[row, str(seed)] for seed in range(seeds)])
        assert summary.figure(row, "BLEU-4", "r2gen@1").value == pytest.approx(mean, rel=1e-12)


def test_table_and_comparisons(written: dict[str, bytes]) -> None:
    lines = written["t.md"].decode().splitlines()
    assert any("| absent |" in line and line.count("not run") == 7 for line in lines)
    [good] = [line for line in lines if line.startswith("| good |")]
    assert "**" in good
    assert good.count("not run") == 2  # METEOR and ROUGE-L were not asked for
    text = written["README.md"].decode()
    assert "# A suite of toys" in text
    assert "Holm over" in text
    assert "| good | BASE | BLEU-4 |" in text
    assert "| good | constant report | CIDEr |" in text
    tests = list(csv.DictReader(written["t-tests.csv"].decode().splitlines()))
    found = {(t["a"], t["b"], t["score"]): t for t in tests}
    assert float(found["good", "BASE", "BLEU-4"]["difference"]) > 0.1
    assert float(found["good", "BASE", "BLEU-4"]["p_corrected"]) < 0.05
    assert {t["family"] for t in tests} == {str(len(tests))}
    assert ("BASE", "BASE", "BLEU-4") not in found


def test_the_gain_from_images(made: tuple[Plan, Workspace], written: dict[str, bytes]) -> None:
    gains = Summary.of(*made).gains()
    assert set(gains) == {(r, m) for r in ("BASE", "good") for m in ("BLEU-4", "CIDEr")}
    assert all(gain.difference > 0 for gain in gains.values())
    assert "### Image gain" in written["README.md"].decode()


def test_folders() -> None:
    assert report_folder(Path("r"), "table2", "synthetic") == Path("r/table2")
    assert report_folder(Path("r"), "table2", "iu_xray") == Path("r/table2-iu_xray")
