"""`bench doctor`, and the words of `bench score` for what is not here."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from bench import weights
from bench.__main__ import main
from bench.commands import doctor as doctor_command
from bench.config import CONF
from bench.data.synthetic import load
from bench.identity import OWN
from bench.metrics import available, cache, ptb, registry
from bench.terminal import WIDTH

SMALL = load(train=20, val=5, test=6, size=48)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_folder", None)  # what `bench score` sets lasts for a process
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_WEIGHTS", "weights")
    for name in ("BENCH_OUT", "BENCH_CACHE", "BENCH_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("bench.metrics.jobs.chosen_dataset", lambda settings, others: SMALL)
    monkeypatch.setattr("bench.commands.doctor.open_dataset", lambda name: SMALL)
    monkeypatch.setattr(ptb, "tokenize", lambda texts: list(texts))


def put(name: str) -> None:
    """An empty file where the weights of that name would be."""
    path = weights.folder() / Path(weights.entry(name).file).name
    path.parent.mkdir(exist_ok=True)
    path.touch()


def doctor(capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    """One line a finding, as it is without a terminal's width."""
    assert main(["doctor", *options]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= WIDTH or "FILE" in out
    return re.sub(r"\n {17}(?!fix: )\s*", " ", out).splitlines()


def test_missing_weights_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    lines = doctor(capsys)
    for name, waiting in (
        ("chexbert", "for the metric chexbert and 6 presets of it"),
        ("radgraph", "for the metric radgraph"),
        ("radgraph-xl", "for the metric radgraph-xl"),
    ):
        [line] = [x for x in lines if f"`bench weights add {name} FILE`" in x]
        assert line.startswith(f"missing weights  {name}, {waiting}: ")
    assert not [x for x in lines if x.startswith("missing metric")]
    assert [x for x in lines if x.startswith("ok      metric   chexpert-rules: ")]
    assert not [x for x in lines if "package" in x and x.startswith("ok")]
    assert len(doctor(capsys, "--all")) > len(lines)


def test_weights_that_are_here_bring_their_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    put("chexbert")
    put("bert-base-uncased-vocab")  # with the wrong digest
    lines = doctor(capsys)
    assert "ok      weights  chexbert" in lines
    broken = [x for x in lines if x.startswith("missing metric   chexbert")]
    assert len(broken) == 7
    assert all("'bert-base-uncased-vocab' are not what they should be" in x for x in broken)


def test_a_package_of_the_project_that_was_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Named where code imports it, at once or in a function, or where YAML has it as a target."""
    assert doctor_command.absent_modules(doctor_command.ROOT, CONF) == []
    for name in OWN:
        copy = shutil.copytree(doctor_command.ROOT / name, tmp_path / name)
    assert copy.parent == tmp_path
    for gone in ("bench/reporting", "bench/commands/plot.py", "uar/model.py"):
        path = tmp_path / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    absent = doctor_command.absent_modules(tmp_path, tmp_path / "bench" / "conf")
    assert {"bench.reporting.folder", "bench.commands.plot", "uar.model"} <= set(absent)
    assert {name.rpartition(".")[0] for name in absent} <= {
        "bench", "bench.reporting", "bench.commands", "uar",
    }  # fmt: skip
    monkeypatch.setattr(doctor_command, "ROOT", tmp_path)
    [line] = [x for x in doctor(capsys) if x.startswith("missing package  of the project itself")]
    assert "bench.commands.plot" in line


def test_what_metrics_need() -> None:
    assert available.weights_of("chexbert-miura") == ("chexbert", "bert-base-uncased-vocab")
    assert (
        available.lacking("radgraph-xl") == available.weights_of("radgraph-xl") == ("radgraph-xl",)
    )
    assert available.lacking("BLEU") == ()
    assert available.here() == ()
    put("radgraph-xl")
    assert available.here() == ("radgraph-xl",)
    assert [n for n in registry.names() if not available.reads_text(n)] == [
        "alignment", "alignment-control", "attention-box",
        "image-information", "image-information-within", "image-attribution",
    ]  # fmt: skip


def predictions() -> str:
    lines = [f'{s.id},"{s.report}"' for s in SMALL.split("test")]
    Path("p.csv").write_text("\n".join(["study_id,report", *lines, ""]))
    return "p.csv"


def test_score_says_each_missing_metric_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["score", predictions(), "--metrics", "BLEU,chexpert-rules,chexbert,radgraph"]
    assert main(given) == 3  # what was asked for by name is missing
    lines = capsys.readouterr().out.splitlines()
    for name in ("chexbert", "radgraph"):
        [line] = [x for x in lines if x.startswith(name)]
        assert line.startswith(f"{name}: not available: no weights '{name}': weights/{name}.")
        assert f"`bench weights add {name} FILE`" in line
    assert [x for x in lines if x.startswith("chexpert-rules-F1-micro-14 ")]
    assert main([*given, "--json"]) == 3
    scores = json.loads(capsys.readouterr().out)["scores"]
    absent = [s for s in scores if "unavailable" in s]
    assert [s["metric"] for s in absent] == ["chexbert", "radgraph"]
    assert not any("value" in s for s in absent)


def test_by_default_weighted_metrics_are_asked_for() -> None:
    from bench.metrics.registry import ALWAYS, EXPECTED, scored

    assert scored(ALWAYS, EXPECTED) == (
        "BLEU", "METEOR", "ROUGE-L", "CIDEr", "diversity", "chexpert-rules", "chexpert-rules-truth",
        "chexbert", "radgraph",
    )  # fmt: skip


def test_a_metric_of_features_cannot_score_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", predictions(), "--metrics", "alignment"]) == 2
    assert "computed from a model's features" in capsys.readouterr().err
