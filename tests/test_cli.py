"""The command line: exit codes, and messages that name the thing, the nearest name and the fix."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import VERBS, main
from bench.config import names
from bench.data.study import Dataset
from bench.data.synthetic import load
from bench.errors import BenchError, RunError
from bench.metrics import ptb

TINY = ["dataset.train=6", "dataset.val=2", "dataset.test=3", "dataset.size=48", "budget=tiny"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("BENCH_OUT", "BENCH_CACHE", "BENCH_DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """call(*argv) -> exit code, stdout, stderr."""

    def run(*argv: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(list(argv))
        return code, *capsys.readouterr()

    return run


Call = Callable[..., tuple[int, str, str]]


def test_help_names_every_verb(call: Call) -> None:
    for argv in ([], ["--help"], ["-h"]):
        code, out, _ = call(*argv)
        assert code == 0
        for verb, (_, text) in VERBS.items():
            assert f"  {verb}" in out
            assert text in out


def test_version(call: Call) -> None:
    code, out, _ = call("--version")
    assert code == 0
    assert out.startswith("rrg-bench ")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["rnu"], ["unknown verb 'rnu'", "did you mean 'run'"]),
        (["run", "tabel2"], ["unknown suite 'tabel2'", "did you mean 'table2'"]),
        (["run", "table2", "dataset=iu_xry"], ["unknown dataset 'iu_xry'", "'iu_xray'"]),
        (["run", "table2", "budegt=tiny"], ["unknown setting 'budegt'", "did you mean 'budget'"]),
        (["run", "table2", *TINY, "dataset.trian=3"], ["'dataset.trian'", "'dataset.train'"]),
        (["run", "table2", *TINY, "--only", "BSE"], ["unknown row 'BSE'", "did you mean 'BASE'"]),
        (["run", "table2", "--metrics", "BLUE"], ["unknown metric 'BLUE'", "did you mean 'BLEU'"]),
        (["list", "modles"], ["unknown kind 'modles'", "did you mean 'models'"]),
        (["score", "x.csv", "datset=synthetic"], ["unknown setting 'datset'", "'dataset'"]),
        (["score", "x.csv", "dataset"], ["'dataset' is not a setting", "key=value"]),
        (["score", "x.csv", "dataset=synthtic"], ["unknown dataset 'synthtic'", "'synthetic'"]),
        (["score", "x.csv", "--metrics", "BLUE-4"], ["unknown metric 'BLUE-4'"]),
        (["run", "table2", "dataset=iu_xray", "--dry-run"], ["iu_xray", "fix:"]),
    ],
)
def test_a_users_error(call: Call, argv: list[str], words: list[str]) -> None:
    code, out, err = call(*argv)
    assert code == 2
    assert not out
    assert err.startswith("error: ")
    assert "Traceback" not in err
    for word in words:
        assert word in err
    assert not list(Path().iterdir()), "nothing is left behind by a mistake"


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (BenchError("no such thing", "do this"), 2, "error: no such thing\n  fix: do this\n"),
        (RunError("the loss is not finite"), 1, "error: the loss is not finite\n"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_exit_codes(
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    text: str,
) -> None:
    def fail(arguments: Any) -> int:
        raise error

    monkeypatch.setattr("bench.commands.list.run", fail)
    found, _, err = call("list")
    assert (found, err[: len(text)]) == (code, text)
    with pytest.raises(type(error)) if isinstance(error, BenchError) else _nothing():
        main(["list", "--debug"])


class _nothing:  # noqa: N801
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: Any) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("bench.commands.list.run", fail)
    with pytest.raises(ZeroDivisionError):
        main(["list"])


# --- list, plan --------------------------------------------------------------------------------


def test_list(call: Call) -> None:
    code, out, _ = call("list")
    assert code == 0
    for kind in ("models", "suites", "datasets", "metrics", "papers", "budgets", "sizes", "floors"):
        assert f"{kind}:\n" in out
    for group in ("model", "suite", "dataset", "paper"):
        for name in names(group):
            assert f"  {name}" in out
    _, alone, _ = call("list", "suites")
    assert alone.startswith("suites:\n")
    assert "UAR Table 2" in alone
    assert "models:" not in alone


def test_a_dry_run_writes_nothing(call: Call) -> None:
    code, out, _ = call("run", "table2", *TINY, "--only", "BASE,b", "--dry-run")
    assert code == 0
    said = " ".join(out.split())
    assert "2 trainings of 1,600 examples, 6 floors; 0 of 8 are done" in said
    assert max(map(len, out.splitlines())) <= 80
    for name in ("constant", "no_finding", "nearest", "BASE", "b"):
        assert f"\n{name} " in out
    assert out.count("to do") == 8
    assert not list(Path().iterdir())


def test_a_dry_run_says_what_it_waits_for(call: Call) -> None:
    code, out, _ = call("run", "table2", *TINY, "--only", "BASE,a", "--dry-run")
    assert code == 0
    assert "\nBASE " in out
    assert re.search(r"\na +waits for a pretraining\n", out)
    waiting = "(1 wait for a pretraining or trials), 1 pretraining, 6 floors"
    assert waiting in " ".join(out.split())
    _, out, _ = call("run", "table2", *TINY, "--only", "a", "--seeds", "3", "--dry-run")
    assert "3 trainings (3 wait for a pretraining or trials)" in " ".join(out.split())


def test_the_tokenizer_is_a_choice(call: Call) -> None:
    chosen = [*TINY, "tokenizer=openai", "--only", "a", "--dry-run"]
    code, _, err = call("run", "table2", *chosen)
    assert code == 2
    assert "no weights 'openai-dvae'" in err


# --- score -------------------------------------------------------------------------------------

SMALL = load(train=20, val=5, test=6, size=48)
IDS = [study.id for study in SMALL.split("test")]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setattr("bench.metrics.jobs.chosen_dataset", lambda settings, others: SMALL)
    monkeypatch.setattr(ptb, "tokenize", lambda texts: [t.replace(" .", "") for t in texts])
    return SMALL


def predictions(*lines: str) -> str:
    Path("p.csv").write_text("\n".join(["study_id,report", *lines, ""]))
    return "p.csv"


def perfect(ids: list[str] = IDS) -> list[str]:
    reports = {study.id: study.report for study in SMALL.split("test")}
    return [f'{i},"{reports[i]}"' for i in ids]


def test_score_as_json(call: Call, small: Dataset) -> None:
    file = predictions(*perfect())
    code, out, _ = call("score", file, "--json", "--metrics", "BLEU,CIDEr")
    assert code == 0
    found = json.loads(out)
    assert (found["dataset"], found["split"], found["missing"]) == ("synthetic", "test", [])
    scores = {(s["treatment"], s["metric"]): s for s in found["scores"]}
    assert {p for p, _ in scores} == {"r2gen@1", "full@1"}
    for (treatment, metric), score in scores.items():
        assert set(score) == {"treatment", "metric", "value", "n", "n_missing", "signature"}
        assert score["n"] == 6
        assert score["signature"].startswith(f"{metric}|refs:{treatment}|n:6|")
    assert scores["full@1", "BLEU-4"]["value"] == pytest.approx(1.0)


def test_score_takes_settings_of_the_dataset(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = "dataset.train=20", "dataset.val=5", "dataset.test=6", "dataset.size=48"
    code, out, _ = call("score", predictions(*perfect()), *sizes, "--metrics", "BLEU")
    assert code == 0
    assert out.startswith("synthetic test: 6 studies\n")
    code, _, err = call("score", "p.csv", "dataset.tests=6")
    assert code == 2
    assert "did you mean 'dataset.test'?" in err


def test_score_as_text(call: Call, small: Dataset) -> None:
    code, out, _ = call("score", predictions(*perfect()), "--metrics", "BLEU")
    assert code == 0
    assert out.startswith("synthetic test: 6 studies\n")
    assert "BLEU-4" in out


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (perfect(IDS[1:]), ["1 study of 6 without a report", IDS[0], "--missing empty"]),
        ([*perfect(), f"{IDS[2]},again"], ["1 study id given twice", IDS[2], "lines 4 and 8"]),
        ([*perfect(), "syn9-x,hello"], ["1 study id not in this split", "syn9-x"]),
        (["a", "b"], ["line 2: 1 fields instead of 2"]),
    ],
)
def test_files_that_are_refused(
    call: Call, small: Dataset, lines: list[str], words: list[str]
) -> None:
    code, out, err = call("score", predictions(*lines), "--metrics", "BLEU")
    assert (code, out) == (2, "")
    for word in [*words, "p.csv", "fix:"]:
        assert word in err


def test_missing_reports_can_be_scored_as_empty(call: Call, small: Dataset) -> None:
    file = predictions(*perfect(IDS[2:]))
    options = ("--metrics", "BLEU", "--missing", "empty", "--json")
    code, out, _ = call("score", file, *options)
    assert code == 0
    found = json.loads(out)
    assert found["missing"] == IDS[:2]
    assert {s["n_missing"] for s in found["scores"]} == {2}
    assert max(s["value"] for s in found["scores"]) < 1


def test_a_missing_file(call: Call, small: Dataset) -> None:
    code, _, err = call("score", "nowhere.csv", "--metrics", "BLEU")
    assert code == 2
    assert "cannot read nowhere.csv" in err
