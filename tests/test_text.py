"""R2Gen's cleaning with its accidents, the vocabulary, the treatments."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.study import Dataset, Study
from bench.data.text import (
    TREATMENTS,
    UNK,
    Treatment,
    Vocabulary,
    clean,
    clean_hypothesis,
    normalise,
    one_space,
    treatment,
    vocabulary,
)
from bench.errors import BenchError

# Characters that the rules treat specially, and some that they must leave alone.
TEXT = st.text("ab 123456. .. __\n\"'/\\:;<=>?@AZ[]-#$|~`^{}()%,+&*!ΣİX\u00a0", max_size=60)
REPORTS = TEXT | st.text(max_size=40)
R2GEN = Treatment("r2gen@1", "iu", 60, ptb=False)


def obvious(report: str, cleaning: str) -> str:
    """The cleaning again, slow and literal: loops and two regular expressions."""
    report = re.sub(r"[\s\u200b\ufeff\u180e]+", " ", re.sub("[\u200c\u200d\u2060]", "", report))
    if cleaning == "mimic":
        for _ in range(7):
            report = report.replace("__", "_")
    for _ in range(3 if cleaning == "iu" else 8):
        report = report.replace("..", ".")
    report = report.replace("1. ", "")
    for before in (". ", " "):
        for number in "2345":
            report = report.replace(f"{before}{number}. ", ". ")
    sentences = []
    for sentence in report.strip().lower().split(". "):
        kept = "".join(c for c in sentence if c not in "\"/\\'").strip().lower()
        sentences.append(re.sub(r"[.,?;*!%^&_+()\]{}:;<=>?@A-Z\[]", "", kept))
    return " . ".join(sentences) + " ."


@given(REPORTS, st.sampled_from(["iu", "mimic"]))
def test_clean_equals_the_obvious_version(report: str, cleaning: str) -> None:
    assert clean(report, cleaning) == obvious(report, cleaning)


@pytest.mark.parametrize(
    ("report", "cleaned"),
    [
        ("The x-ray shows a 5.3 cm mass.", "the x-ray shows a 53 cm mass ."),
        ("Degenerative T1. Lungs clear.", "degenerative tlungs clear ."),
        ("It measures 2.1. There is more.", "it measures 2there is more ."),
        ("Grade 2. Stable.", "grade . stable ."),
        ("AP/PA of the patient's chest", "appa of the patients chest ."),
        ("1. Clear lungs. 2. No effusion.", "clear lungs . no effusion ."),
        ("Clear... No effusion", "clear . no effusion ."),
        ("Clear. . No effusion.", "clear . . no effusion ."),
        ("XXXX [seen]; (at 50%)?", "xxxx seen at 50 ."),
        ("#$|~` stay", "#$|~` stay ."),
        ("", "."),
    ],
)
def test_accidents_are_kept(report: str, cleaned: str) -> None:
    assert normalise(clean(report, "iu")) == cleaned


def test_mimic_drops_deidentification_marks() -> None:
    report = " As compared to ___,\n the lungs  are clear.\nNo effusion."
    assert normalise(clean(report, "mimic")) == "as compared to the lungs are clear . no effusion ."


# Every character of white space that Python knows, and those that no reader sees.
WHITE = [c for c in map(chr, range(0x3001)) if c.isspace()] + ["\u200b", "\ufeff", "\u180e", "\r\n"]
PLAIN = "Heart normal. 1. Clear lungs. 2. No effusion. Grade 2. Stable <unk>. AP/PA 5.3 cm"


@given(st.lists(st.lists(st.sampled_from(WHITE), min_size=1, max_size=3).map("".join), min_size=14))
def test_white_space_of_all_kinds_is_one_thing(spaces: list[str]) -> None:
    odd = "".join(a + b for a, b in zip(PLAIN.split(" "), [*spaces[:14], ""], strict=False))
    for cleaning in ("iu", "mimic"):
        assert clean(odd, cleaning) == clean(PLAIN, cleaning)
        assert clean_hypothesis(odd, cleaning) == clean_hypothesis(PLAIN, cleaning)


@pytest.mark.parametrize("white", WHITE)
def test_white_space_of_each_kind_ends_a_sentence(white: str) -> None:
    for cleaning in ("iu", "mimic"):
        assert clean_hypothesis(f"clear.{white}no effusion.", cleaning) == "clear . no effusion ."


@pytest.mark.parametrize("joiner", "\u200c\u200d\u2060")
def test_joiners_separate_nothing(joiner: str) -> None:
    assert clean_hypothesis(f"cardio{joiner}megaly", "iu") == "cardiomegaly"


@given(REPORTS, st.sampled_from(["iu", "mimic"]))
def test_capitals_decide_nothing(report: str, cleaning: str) -> None:
    lower = report.lower()
    if lower.upper().lower() == lower:
        assert clean_hypothesis(lower.upper(), cleaning) == clean_hypothesis(lower, cleaning)


def test_a_private_character_is_no_unknown_word() -> None:
    assert clean_hypothesis("\ue000 a <unk> \ue001 b", "iu") == "\ue000 a <unk> \ue001 b"


@given(REPORTS, st.sampled_from(["iu", "mimic"]))
def test_hypothesis_cleaning_is_idempotent(report: str, cleaning: str) -> None:
    once = clean_hypothesis(report, cleaning)
    assert clean_hypothesis(once, cleaning) == once


@given(REPORTS, st.integers(2, 20))
def test_references_pass_as_hypotheses_unchanged(report: str, limit: int) -> None:
    """Also when thresholded and cut in the middle of a sentence: R2Gen's own output is such."""
    cut = Treatment("r2gen@1", "iu", limit, ptb=False)
    words = Vocabulary.build(["a b . . a"], 2)
    reference = cut.reference(report, words)
    assert cut.hypothesis(reference) == reference


@given(REPORTS)
def test_raw_report_as_hypothesis_equals_its_full_reference(report: str) -> None:
    full = Treatment("full@1", "iu", None, ptb=True)
    raw = full.hypothesis(report)
    unchanged = raw == normalise(one_space(report)).lower()
    assert unchanged or raw == full.reference(report, Vocabulary((UNK,)))


def test_unk_survives_in_hypotheses() -> None:
    assert R2GEN.hypothesis("A <unk> is seen. <unk>.") == "a <unk> is seen . <unk> ."


def test_empty_hypothesis_stays_empty() -> None:
    assert R2GEN.hypothesis(" \n") == ""


def test_vocabulary_threshold_order_and_ids() -> None:
    words = Vocabulary.build(["b a a .", "a b z ."], 2)
    assert words.words == (".", UNK, "a", "b")
    assert len(words) == 4
    assert words.encode("a z b", 60) == [0, 3, words.unk, 4, 0]


def test_long_reports_lose_their_end() -> None:
    words = Vocabulary.build(["a . a ."], 1)
    ids = words.encode("a . a . a .", 4)
    assert ids == [0, 3, 1, 3]
    assert words.decode(ids) == "a . a"


def test_decode_stops_at_the_first_zero_after_the_start() -> None:
    words = Vocabulary.build(["a b"], 1)
    assert words.decode([0, 2, 3, 0, 2]) == "a b"
    assert words.decode([2, 0, 3]) == "a"
    assert words.decode(np.array([0, 0, 2])) == ""


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "<unk>", "."])).map(" ".join), max_size=5))
def test_vocabulary_round_trips(reports: list[str]) -> None:
    words = Vocabulary.build(reports, 1)
    for report in reports:
        assert words.decode(words.encode(report, 1000)) == report


def test_vocabulary_file(tmp_path: Path) -> None:
    words = Vocabulary.build(["b a a ."], 1)
    words.save(tmp_path / "vocabulary.txt")
    again = Vocabulary.load(tmp_path / "vocabulary.txt")
    assert (again, again.digest) == (words, words.digest)
    assert words.digest != Vocabulary.build(["b a a"], 1).digest
    (tmp_path / "vocabulary.txt").write_text("b\na\n")
    with pytest.raises(BenchError, match="not a vocabulary"):
        Vocabulary.load(tmp_path / "vocabulary.txt")


def dataset(cleaning: str = "iu") -> Dataset:
    reports = {"train": ["Clear lungs.", "Clear lungs.", "Clear heart."], "test": ["Rare lungs."]}
    studies = tuple(
        Study(f"{split}{i}", f"{split}{i}", split, (), report)
        for split, texts in reports.items()
        for i, report in enumerate(texts)
    )

    def read(_: object) -> np.ndarray:
        raise AssertionError("no images here")

    return Dataset("made", studies, "", read, cleaning=cleaning, min_count=2, max_length=3)


def test_treatments_of_a_dataset() -> None:
    made = dataset()
    words = vocabulary(made)
    assert words.words == (".", UNK, "clear", "lungs")
    test = made.split("test")[0].report
    assert treatment("r2gen@1", made).reference(test, words) == "<unk> lungs"
    assert treatment("full@1", made).reference(test, words) == "rare lungs ."
    assert [treatment(name, made).ptb for name in TREATMENTS] == [False, True]


def test_unknown_names_are_answered_with_the_valid_ones() -> None:
    with pytest.raises(BenchError, match="did you mean 'r2gen@1'") as error:
        treatment("r2gen@2", dataset())
    assert "full@1" in str(error.value)
    with pytest.raises(BenchError, match="unknown cleaning"):
        clean("", "chexpert")


@pytest.mark.real
def test_iu_vocabulary_is_760() -> None:
    root = os.environ.get("BENCH_DATA")
    if not root:
        pytest.skip("BENCH_DATA is not set")
    annotation = json.loads((Path(root) / "iu_xray" / "annotation.json").read_text())
    reports = (clean(entry["report"], "iu") for entry in annotation["train"])
    assert len(Vocabulary.build(reports, 3)) == 760
