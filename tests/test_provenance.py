"""What env.json says of machine, packages and commit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import provenance
from bench.provenance import environment


def test_environment() -> None:
    found = environment("cpu")
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
