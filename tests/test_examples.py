"""The example model outside the tree, as its README says: run, scored, verified, reported."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.store import RunFolder, load_spec, read_json

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SMALL = (
    "dataset.train=48", "dataset.val=8", "dataset.test=12", "dataset.size=48", "budget=tiny",
    "budget.unit=steps", "budget.amount=12", "budget.batch=8", "decode.max_length=8",
    "model.params.width=4", "model.params.d=16", "model.params.image.size=32",
    "model.params.image.resize=36",
)  # fmt: skip


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The two variables of the README, and a folder to work in."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("BENCH_CONF", str(EXAMPLES / "conf"))
    monkeypatch.setenv("BENCH_DEVICE", "cpu")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


def bench(folder: Path, *arguments: str) -> int:
    return main([*arguments, "--out", str(folder / "runs"), "--cache", str(folder / "cache")])


def test_the_example_is_short_and_on_its_own() -> None:
    text = (EXAMPLES / "tiny_captioner.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 80
    assert "import bench" not in text
    assert "from bench" not in text


def test_run_score_verify_report_reproduce(
    outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["single", "model=tiny_captioner", *SMALL]
    reports = ["--reports", str(outside / "reports")]
    assert bench(outside, "run", *asked, "--jobs", "1", "--metrics", "BLEU,CIDEr", *reports) == 0
    assert "tiny_captioner" in capsys.readouterr().out
    folders = [RunFolder(outside / "runs", p.name) for p in (outside / "runs").glob("*-s0")]
    [made] = [f for f in folders if load_spec(f).model.target.startswith("tiny_captioner.")]
    assert len(folders) == 7
    losses = (made / "losses.csv").read_text().splitlines()
    assert len(losses) == 13
    assert float(losses[-1].split(",")[-1]) < float(losses[1].split(",")[-1])
    assert any(s["metric"] == "BLEU-4" and "value" in s for s in read_json(made / "scores.json"))

    assert bench(outside, "verify", made.run_id, "--rerun", "3", "--rescore") == 0
    assert "losses of 3 steps compared bit for bit" in capsys.readouterr().out
    assert bench(outside, "report", *asked, "--reports", str(outside / "again")) == 0
    [report] = (outside / "again").rglob("README.md")
    assert "Best trained row by BLEU-4: **tiny_captioner**" in report.read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["reproduce", made.run_id, "--out", str(outside / "runs")]) == 0
    assert "# tiny_captioner is not part of the project" in capsys.readouterr().out


def test_without_the_package_the_error_says_where_to_put_it(
    outside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (outside / "model").mkdir()
    (outside / "model" / "lost.yaml").write_text("name: lost\n_target_: nowhere.Model\n")
    monkeypatch.setenv("BENCH_CONF", str(outside))
    assert bench(outside, "run", "single", "model=lost", "--dry-run") == 2
    error = capsys.readouterr().err
    assert "no module 'nowhere' was found" in error
    assert "`_target_`" in error
    assert "PYTHONPATH" in error
