"""Colour on the terminal: where it is one, or as NO_COLOR and FORCE_COLOR say."""

from __future__ import annotations

import io

import pytest

from bench.__main__ import main
from bench.terminal import painted

GREEN, RED = "\x1b[32m", "\x1b[31m"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.parametrize(
    ("settings", "terminal", "is_coloured"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_where_there_is_colour(
    settings: dict[str, str], terminal: bool, is_coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    text = painted("ok  run", Terminal() if terminal else io.StringIO())
    assert text == (f"{GREEN}ok\x1b[0m  run" if is_coloured else "ok  run")


def test_only_a_state_that_begins_is_painted() -> None:
    for text in ("okay", "it is ok", "reversedly", ""):
        assert painted(text, Terminal()) == text
    assert painted("  reversed*", Terminal()) == f"  {RED}reversed\x1b[0m*"


def test_verbs_are_coloured_when_asked_and_plain_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said() -> str:
        assert main(["data", "check", "synthetic"]) == 0
        assert main(["run", "nonesuch"]) == 2
        return "".join(capsys.readouterr())

    text = said()
    assert "\x1b" not in text
    monkeypatch.setenv("FORCE_COLOR", "1")
    again = said()
    assert f"{GREEN}ok" in again
    assert f"{RED}error:" in again
    for code in (GREEN, RED, "\x1b[33m", "\x1b[0m"):
        again = again.replace(code, "")
    assert again == text
