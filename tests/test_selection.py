"""Where a local report goes: beside its runs, each selection of settings in a folder of its own."""

from __future__ import annotations

import shlex
from itertools import combinations
from pathlib import Path

import pytest

from bench.__main__ import VERBS
from bench.commands import run
from bench.reporting.selection import Selection, report_folder

R = Path("r")
MANY = tuple(f"size.image.part{n}=32" for n in range(9))  # too long for a folder's name


def test_folders() -> None:
    assert report_folder(R, "table2", "synthetic") == R / "table2"
    assert report_folder(R, "table2", "iu_xray") == R / "table2-iu_xray"
    assert Selection("table2", "synthetic").folder(R) == R / "table2"
    given = Selection("table2", "iu_xray", ("budget=tiny",), ("d", "BASE"), 5, True)
    assert given.folder(R) == R / "table2-iu_xray,budget=tiny,only=BASE+d,seeds=5,smoke"


def test_each_selection_has_a_folder_of_its_own() -> None:
    some = [
        Selection("table2", "synthetic", overrides, only, seeds, smoke)
        for overrides in ((), ("a=b", "c=d"), ("a=b,c=d",), ("a=b",), ("a=[b,c]",), MANY)
        for only in ((), ("BASE",))
        for seeds in (1, 5)
        for smoke in (False, True)
    ]
    for a, b in combinations(some, 2):
        assert a.folder(R) != b.folder(R), (a, b)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a=b", "c=d"), ("c=d", "a=b")),
        (("dataset=synthetic", "a=b"), ("a=b",)),
    ],
)
def test_the_same_settings_have_one_folder(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    folders = {Selection("table2", "synthetic", given).folder(R) for given in (one, other)}
    assert len(folders) == 1


def test_names_fit_a_file_system() -> None:
    folder = Selection("table2", "synthetic", (*MANY, "~decode.x", "dataset.root=/a b")).folder(R)
    assert folder.parent == R
    assert len(folder.name) < 100


def test_the_command_gives_the_same_selection() -> None:
    import argparse

    given = Selection("table2", "iu_xray", ("a=[b, c]", "~x"), ("BASE", "(d)"), 5, True)
    words = shlex.split(given.command)
    assert words[:2] == ["bench", "run"]
    assert words[1] in VERBS
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    read = parser.parse_intermixed_args(words[2:])
    again = Selection(
        read.suite, "iu_xray", tuple(read.overrides), run._only(read), read.seeds, read.smoke
    )
    assert again.command == given.command
    assert again.folder(R) == given.folder(R)
