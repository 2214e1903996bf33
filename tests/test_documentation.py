"""Every command that README, docs and guides show is one that the program takes."""

from __future__ import annotations

import argparse
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from bench.__main__ import VERBS

ROOT = Path(__file__).parents[1]
FILES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")),
         ROOT / "leaderboards" / "PROTOCOL.md", ROOT / "examples" / "README.md")  # fmt: skip
PLACEHOLDER = re.compile(r"\b[A-Z][A-Z0-9_]+\b|\.\.")  # FILE, NAME, A1,A2,..


def commands(path: Path) -> list[str]:
    """`bench ...` in code, inline or in blocks, without comments."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.S)
             for line in block.splitlines()]  # fmt: skip
    lines += [" ".join(x.split()) for x in re.findall(r"`(bench [^`]+)`", text)]
    found = [part.partition(" #")[0].strip() for line in lines for part in line.split("&&")]
    return [x.removeprefix("python -m ") for x in found if re.match(r"(python -m )?bench ", x)]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_shown_commands_are_taken(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in commands(path):
        _, verb, *rest = shlex.split(re.sub(r"[|>].*", "", command))
        if PLACEHOLDER.fullmatch(verb):
            continue
        assert verb in VERBS, command
        parser = argparse.ArgumentParser(exit_on_error=False)
        import_module(VERBS[verb][0]).add_arguments(parser)
        if not rest or PLACEHOLDER.search(command) or "--help" in rest:  # named, not called
            continue
        try:
            parser.parse_intermixed_args(rest)
        except (SystemExit, argparse.ArgumentError) as error:
            pytest.fail(f"{command}: {error} {capsys.readouterr().err}")


def test_the_readme_shows_commands() -> None:
    assert len(commands(ROOT / "README.md")) > 10
