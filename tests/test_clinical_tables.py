"""Clinical columns and figures of a suite, from made runs whose counts are known."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from toy import load

from bench.figures import numbered
from bench.metrics import registry
from bench.metrics.predictions import PREDICTIONS
from bench.reporting import clinical_tables
from bench.reporting.summary import Summary
from bench.runs.reports import write_predictions
from bench.runs.score import assess
from bench.runs.workspace import Workspace
from bench.spec import BudgetSpec, DataSpec, PartSpec, RunSpec
from bench.store import RunFolder, write_json
from bench.suites.plan import Plan, Planned
from bench.suites.suite import Row, Suite, Table

PARAMS = {"train": 12, "val": 2, "test": 60}
DATASET = load(**PARAMS)
DATA = DataSpec("made", "toy.load", DATASET.manifest, PARAMS)
NORMAL = "the heart is normal . the lungs are clear ."
# row -> for each seed the share of reports that are the reference; the others are normal
SHARES = {"no_finding": (0.0,), "poor": (0.3,), "good": (0.9, 0.95)}
TABLE = Table("Toys", ("poor", "good", "absent"), paper="uar_table2", ticks=("LSU",))
SUITE = Suite(
    title="A suite of toys",
    rows=(Row("poor", "toy"), Row("good", "toy", ticks=("LSU",)), Row("absent", "toy")),
    tables={"t": TABLE},
    floors=("no_finding",),
)


def reports(share: float, seed: int) -> list[str]:
    keep = np.random.default_rng(seed).random(PARAMS["test"]) < share
    return [s.report if k else NORMAL for s, k in zip(DATASET.split("test"), keep, strict=True)]


def planned(name: str, seed: int, metrics: list[str], work: Workspace) -> Planned:
    kind = "floor" if name == "no_finding" else "train"
    part = PartSpec("toy.Toy", {"row": name})
    spec = RunSpec(kind, DATA, part, "", budget=BudgetSpec("steps", 3.0), seed=seed)
    folder = RunFolder(work.out, spec.run_id)
    write_predictions(
        folder / PREDICTIONS, DATASET.split("test"), reports(SHARES[name][seed], seed)
    )
    write_json(folder / "env.json", {"commit": ""})
    assess(spec, work, folder, metrics)
    return Planned(name, "floor" if kind == "floor" else "trained", "toy", spec)


def made(place: Path, metrics: list[str]) -> Summary:
    work = Workspace(place / "runs", place / "cache")
    runs = [
        planned(n, s, metrics, work) for n, shares in SHARES.items() for s in range(len(shares))
    ]
    return Summary.of(Plan("toys", SUITE, "made", tuple(runs)), work)


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return made(tmp_path_factory.mktemp("made"), ["chexpert-rules"])


def test_a_table_of_clinical_columns(summary: Summary, tmp_path: Path) -> None:
    [text] = clinical_tables.sections(summary, "t", TABLE, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "t-clinical.md", "t-clinical.tex", "t-clinical.csv",
    }  # fmt: skip
    assert text == (tmp_path / "t-clinical.md").read_text()
    assert text.startswith("### Clinical efficacy: Toys\n")
    rows = {r["row"]: r for r in csv.DictReader((tmp_path / "t-clinical.csv").open())}
    assert set(rows) == {"poor", "good", "absent", "always No Finding"}
    assert (rows["good"]["LSU"], rows["poor"]["LSU"]) == ("1", "")
    heads = ["micro-F1, 14", "macro-F1, 14", "micro-F1, 5", "example F1, 14"]
    assert [h for h in rows["good"] if "F1" in h] == [
        f"chexpert-rules {h}{end}" for h in heads for end in ("", " low", " high")
    ]
    assert set(rows["absent"].values()) >= {"not run"}
    for row in ("poor", "good", "always No Finding"):
        key = {"always No Finding": "no_finding"}.get(row, row)
        for head, score in zip(
            heads, ("micro-14", "macro-14", "micro-5", "example-14"), strict=True
        ):
            figure = summary.figure(key, f"chexpert-rules-F1-{score}", "raw")
            column = f"chexpert-rules {head}"
            found = [float(rows[row][column + end]) for end in ("", " low", " high")]
            assert found == [figure.value, figure.low, figure.high]
            assert found[1] <= found[0] <= found[2]
    assert summary.figure("good", "chexpert-rules-F1-micro-14", "raw").value > 0.8
    assert "paper" not in text.partition("- Ours")[0]  # no published number is of this labeler
    assert "**" not in text  # a row of one training is not called better than another


def test_a_value_is_the_mean_over_seeds(summary: Summary) -> None:
    metric = registry.load("chexpert-rules")
    truth = [s.report for s in DATASET.split("test")]
    each = [
        metric.corpus(metric.statistics(reports(share, seed), truth))["chexpert-rules-F1-macro-14"]
        for seed, share in enumerate(SHARES["good"])
    ]
    found = summary.figure("good", "chexpert-rules-F1-macro-14", "raw")
    assert found.value == pytest.approx(np.mean(each), rel=1e-12)


def test_what_is_not_there_is_said_in_one_line(summary: Summary, tmp_path: Path) -> None:
    """The same on every machine, whatever weights it has: the line speaks of the runs."""
    [text] = clinical_tables.sections(summary, "t", TABLE, tmp_path)
    [line] = [x for x in text.splitlines() if "not available" in x]
    assert line.startswith("- CheXbert and RadGraph: not available: these runs were scored without")
    assert "`bench weights list`" in line
    [macro] = [x for x in text.splitlines() if "macro-F1 over 14 can exceed" in x]
    truth = registry.load("chexpert-rules").label([s.report for s in DATASET.split("test")])
    known = int((truth == 1).any(axis=0).sum())
    assert f"{14 - known} of the 14 occur in no reference" in macro


def test_columns_of_a_labeler_that_runs_were_scored_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CheXbert's weights are not needed to print what was scored with them."""
    from bench.metrics.clinical.chexbert import CheXbert
    from bench.metrics.clinical.rules import labeler

    with monkeypatch.context() as patch:
        patch.setattr(CheXbert, "require", lambda self: None)
        patch.setattr(CheXbert, "label", lambda self, texts: labeler()(texts))
        patch.setattr(CheXbert, "source", lambda self: "ckpt:made")
        summary = made(tmp_path, ["chexpert-rules", "chexbert"])
    [text] = clinical_tables.sections(summary, "t", TABLE, tmp_path)
    assert "chexbert micro-F1, 14" in text
    assert "- RadGraph: not available" in text
    assert "CheXbert" not in text.partition("- RadGraph")[2]


def test_runs_without_clinical_scores_have_no_table(tmp_path: Path) -> None:
    summary = made(tmp_path, ["diversity"])
    assert clinical_tables.sections(summary, "t", TABLE, tmp_path / "r") == []
    assert not (tmp_path / "r").exists()


# --- figures -----------------------------------------------------------------------------------


def test_ids_of_a_figure_do_not_hang_on_the_last_digit() -> None:
    def svg(clip: str) -> bytes:
        return f'<g clip-path="url(#{clip})"/><clipPath id="{clip}"/><path id="line2d_1"/>'.encode()

    one, other = (numbered(svg(x), "ladder") for x in ("p0123456789", "pabcdef0123"))
    assert one == other == svg("ladder-0")
