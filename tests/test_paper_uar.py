"""Every `file:name` of uar/PAPER.md is there, and every equation and decision has its line."""

from __future__ import annotations

import importlib
import inspect
import re
from functools import reduce
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAPER = (ROOT / "uar" / "PAPER.md").read_text(encoding="utf-8")
REFERENCES = sorted(set(re.findall(r"`((?:uar|baselines)/\w+\.py:[\w.]+)`", PAPER)))


@pytest.mark.parametrize("reference", REFERENCES)
def test_reference_exists(reference: str) -> None:
    file, _, name = reference.partition(":")
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    found = reduce(getattr, name.split("."), module)
    if inspect.isfunction(found) or inspect.isclass(found):
        assert Path(inspect.getsourcefile(inspect.unwrap(found)) or "").name == Path(file).name


def test_every_equation_has_a_line() -> None:
    assert [int(n) for n in re.findall(r"^\| (\d+) \|", PAPER, re.MULTILINE)[:13]] == list(
        range(1, 14)
    )
    assert len(REFERENCES) > 20


def test_every_decision_has_a_line() -> None:
    decisions = PAPER.partition("## Decisions")[2]
    numbers = set(map(int, re.findall(r"^\| (\d+) \|", decisions, re.MULTILINE)))
    assert numbers | {32, 33, 34} == set(range(1, 37))


def test_every_option_named_is_a_parameter() -> None:
    from baselines.base import Captioner
    from baselines.generator import UAR_IMAGE, Generator
    from uar.cra import CRA
    from uar.losses import Triplet
    from uar.model import UAR
    from uar.tir import TIR

    own = {
        name for part in (Generator, Captioner, UAR) for name in inspect.signature(part).parameters
    }
    known = {
        "cra": inspect.signature(CRA).parameters,
        "triplet": inspect.signature(Triplet).parameters,
        "refiner": inspect.signature(TIR).parameters,
        "image": UAR_IMAGE,
    }
    rows = re.findall(r"^\| \d+ \|[^|]*\|([^|]*)\|", PAPER.partition("## Decisions")[2], re.M)
    options = [option for row in rows for option in re.findall(r"`([\w.]+)`", row)]
    assert len(options) > 20
    for option in options:
        group, dot, name = option.partition(".")
        assert (name in known[group]) if dot else (option in own), option
