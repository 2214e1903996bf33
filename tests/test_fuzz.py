"""A thousand damaged inputs, the same each time; `python tests/fuzz.py 10000` makes more."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz import NAMED, RIGHT, Fuzzer
from fuzz_kinds import KINDS, SLOW

CASES = 70  # of each kind


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_damaged_input_is_answered_or_named(kind: object, tmp_path: Path) -> None:
    fuzzer = Fuzzer([kind], tmp_path)  # type: ignore[list-item]
    fuzzer.run(CASES)
    for failure in fuzzer.failures[:3]:
        print(failure.kind, failure.number, failure.text)
    assert not fuzzer.failures
    assert {outcome for _, outcome in fuzzer.outcomes} <= {RIGHT, NAMED}


def test_settings_too(tmp_path: Path) -> None:
    fuzzer = Fuzzer(SLOW, tmp_path)
    fuzzer.run(20)
    assert not fuzzer.failures, fuzzer.failures[0].text


def test_the_undamaged_is_right(tmp_path: Path) -> None:
    for number, kind in enumerate((*KINDS, *SLOW)):
        folder = tmp_path / str(number)
        folder.mkdir()
        kind.make(folder)
        kind.read(folder)
