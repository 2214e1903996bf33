"""`bench check` and the boards beside the protocol's own."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.commands import check
from bench.reporting.selection import reports_of
from bench.runs.workspace import Workspace
from bench.spec import PROTOCOL


def test_every_board_is_held_to_its_runs_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (PROTOCOL, "tuned"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "synthetic.csv").write_text("")
    asked: list[tuple[Path, Path]] = []

    def seen(board: Path, reports: Path, base: str, work: object) -> Iterator[str]:
        asked.append((board, reports))
        yield f"board {board.name}: wrong"

    monkeypatch.setattr(check, "BOARDS", tmp_path)
    monkeypatch.setattr(check, "_board_problems", seen)
    given = argparse.Namespace(board=tmp_path / PROTOCOL, reports=Path("reports"), base="HEAD")
    problems = list(check._all_boards(given, Workspace()))
    assert problems == [f"board {PROTOCOL}: wrong", "board tuned: wrong"]
    assert asked == [(tmp_path / PROTOCOL, Path("reports")),
                     (tmp_path / "tuned", Path("reports/tuned"))]  # fmt: skip
    assert reports_of(tmp_path / PROTOCOL, Path("reports")) == Path("reports")
    assert reports_of(tmp_path / "tuned", Path("reports")) == Path("reports/tuned")


def test_another_board_is_checked_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(check, "_board_problems", lambda board, *rest: asked.append(board) or ())
    given = argparse.Namespace(board=tmp_path / "mine", reports=Path("reports"), base="HEAD")
    assert list(check._all_boards(given, Workspace())) == []
    assert asked == [tmp_path / "mine"]
