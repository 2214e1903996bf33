"""The digest of the code that matters, on a made project; and what env.json says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import provenance
from bench.provenance import TRAINING, code_digest, environment

FILES = {
    "bench/__init__.py": "",
    "bench/train.py": "from bench.deep import Step\nimport os\n\ndef train():\n    return Step\n",
    "bench/deep/__init__.py": "from bench.deep.step import Step\n",
    "bench/deep/step.py": "class Step:\n    size = 1\n",
    "bench/lazy.py": "def f():\n    from bench.late import g\n    return g\n",
    "bench/late.py": "g = 1\n",
    "bench/other.py": "h = 1\n",
}
Edit = Callable[[str, str], None]


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edit]:
    """Write a file of a project of its own; the digests are read from there."""

    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        forget()

    def forget() -> None:
        provenance._imports.cache_clear()
        provenance._code_lines.cache_clear()

    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    for name, text in FILES.items():
        write(name, text)
    yield write
    forget()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bench/train.py", FILES["bench/train.py"].replace("\n\ndef", "\n# why\n\n\n\ndef")),
        ("bench/train.py", FILES["bench/train.py"].replace("    ret", "    # why\n\n    ret")),
        ("bench/deep/step.py", "# about steps\n\n" + FILES["bench/deep/step.py"] + "\n\n"),
        ("bench/deep/step.py", FILES["bench/deep/step.py"].replace("1\n", "1   \n")),
        ("bench/deep/step.py", FILES["bench/deep/step.py"].replace("1\n", "1  # one\n")),
        ("bench/deep/step.py", '"""Steps.\n\nMany."""\n' + FILES["bench/deep/step.py"]),
        (
            "bench/deep/step.py",
            FILES["bench/deep/step.py"].replace(":\n", ':\n    """A step."""\n\n', 1),
        ),
        ("bench/other.py", "h = 2\n"),
        ("bench/new.py", "x = 1\n"),
    ],
)
def test_comments_and_other_modules_do_not_count(edit: Edit, name: str, text: str) -> None:
    before = code_digest("bench.train")
    edit(name, text)
    assert code_digest("bench.train") == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bench/train.py", FILES["bench/train.py"].replace("return Step", "return Step()")),
        ("bench/train.py", FILES["bench/train.py"].replace("    return", "  return")),
        ("bench/deep/step.py", "class Step:\n    size = 2\n"),
        ("bench/deep/step.py", 'class Step:\n    size = 1\n    "no docstring here"\n'),
        ("bench/deep/step.py", 'class Step:\n    size = "1  # one"\n'),
        ("bench/deep/__init__.py", "from bench.deep.step import Step as Step\n"),
        ("bench/train.py", FILES["bench/train.py"] + "from bench import other\n"),
    ],
)
def test_code_counts(edit: Edit, name: str, text: str) -> None:
    before = code_digest("bench.train")
    edit(name, text)
    assert code_digest("bench.train") != before


def test_imports_inside_functions_count(edit: Edit) -> None:
    before = code_digest("bench.lazy")
    edit("bench/late.py", "g = 2\n")
    assert code_digest("bench.lazy") != before


def test_order_of_modules_does_not_count(edit: Edit) -> None:
    assert code_digest("bench.train", "bench.lazy") == code_digest("bench.lazy", "bench.train")
    assert code_digest("bench.train") != code_digest("bench.lazy")


def test_a_cycle_ends(edit: Edit) -> None:
    edit("bench/late.py", "import bench.lazy\n")
    assert code_digest("bench.late") == code_digest("bench.lazy")


def test_the_real_digest_covers_what_decides_a_training() -> None:
    covered = provenance._closure(TRAINING)
    for name in (
        "bench.train", "bench.decode", "bench.optimise", "bench.budget", "bench.checkpoint",
        "bench.data.batches", "bench.data.codes", "bench.data.images", "bench.data.resize",
        "bench.data.text", "bench.metrics.bleu", "bench.metrics.ngrams", "bench.spec",
    ):  # fmt: skip
        assert name in covered
    for name in (
        "bench.reporting.folder",
        "bench.reporting.tables",
        "bench.metrics.cider",
        "bench.run",
    ):
        assert name not in covered, "its change would retrain everything"


def test_models_bring_their_own_code() -> None:
    assert "baselines.transformer" in provenance._closure(("baselines.base",))
    assert code_digest("baselines.base", *TRAINING) != code_digest("uar.model", *TRAINING)


def test_environment() -> None:
    found = environment()
    assert {"commit", "python", "system", "cpu", "cores", "packages", "device"} <= set(found)
    assert found["packages"]["torch"]
    json.dumps(found)


def test_a_commit_with_changes_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"rev-parse": "a" * 40, "status": " M bench/train.py"}
    monkeypatch.setattr(provenance, "_git", lambda verb, *rest: answers[verb])
    assert provenance.commit() == "a" * 40 + "+dirty"
    answers["status"] = ""
    assert provenance.commit() == "a" * 40


def test_outside_a_checkout_there_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.commit() == ""
