"""Sections of reports: our texts with answers by hand, and the published parser's results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.data.mimic_cxr import mit_lcp
from bench.data.mimic_cxr.sections import sections
from bench.errors import DataError

TEXTS = yaml.safe_load((Path(__file__).parent / "data" / "report_sections.yaml").read_text())


def test_there_are_enough_texts_and_each_has_a_name() -> None:
    assert len({case["name"] for case in TEXTS}) == len(TEXTS) >= 60


@pytest.mark.parametrize("case", TEXTS, ids=lambda case: case["name"])
def test_ours_by_hand(case: dict[str, Any]) -> None:
    assert sections(case["text"]) == case["sections"]


@pytest.mark.parametrize("case", TEXTS, ids=lambda case: case["name"])
def test_mit_lcp_as_the_published_parser(case: dict[str, Any]) -> None:
    found = mit_lcp.sections(case["text"], "s1")
    sectioned = {k: " ".join(v.split()) for k, v in found.items() if k != "conclusion"}
    assert sectioned == case["mit-lcp"]


def test_the_published_conclusion_is_the_first_section_that_there_is() -> None:
    text = "\n FINDINGS:  One.\n \n IMPRESSION:  Two.\n \n IMPRESSION:  Three.\n"
    assert mit_lcp.sections(text)["conclusion"] == "Three."
    assert mit_lcp.sections("\n COMPARISON:  All is here.\n")["conclusion"] == "All is here."


def test_single_studies_of_the_published_lists() -> None:
    text = "x" * 400
    assert mit_lcp.sections(text, "s50525523") == {"conclusion": "x" * (349 - 201)}
    assert mit_lcp.sections(text, "s58235663") == {}
    named = "\n INDICATION:  The lungs are clear.\n"
    assert mit_lcp.sections(named, "s57936451") == {"conclusion": "The lungs are clear."}
    with pytest.raises(DataError, match="s57936451 has no section 'indication'"):
        mit_lcp.sections("\n HISTORY:  Cough.\n", "s57936451")


def test_sections_of_several_parts_are_joined_once_and_in_order() -> None:
    parts = [f" FINDINGS:  Part {n}.\n \n IMPRESSION:  End {n}.\n" for n in range(4)]
    found = sections("\n".join(parts))
    assert found["findings"] == "Part 0. Part 1. Part 2. Part 3."
    assert found["impression"] == "End 0. End 1. End 2. End 3."
