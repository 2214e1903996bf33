"""ROUGE-1 and ROUGE-2, against values of rouge_score 0.1.2 (use_stemmer=False)."""

from __future__ import annotations

import pytest

from bench.errors import BenchError
from bench.metrics import registry
from bench.metrics.rouge_n import RougeN, f_measure, words

# RougeScorer(["rouge1", "rouge2"]).score(reference, hypothesis), F-measures; and by hand.
GOLDEN = [
    ("The lungs are clear.", "Lungs are clear", 6 / 7, 4 / 5),
    ("no effusion, no pneumothorax", "No pneumothorax", 2 / 3, 1 / 2),
    ("5.3 cm x-ray", "5 3 cm xray", 6 / 9, 4 / 7),
    ("", "Normal", 0.0, 0.0),
    ("one", "one", 1.0, 0.0),
]


@pytest.mark.parametrize(("said", "true", "one", "two"), GOLDEN)
def test_known_values(said: str, true: str, one: float, two: float) -> None:
    assert RougeN().statistics([said], [true])[0] == pytest.approx([one, two], abs=1e-12)


def test_the_corpus_score_is_the_mean() -> None:
    said, true, one, two = zip(*GOLDEN, strict=True)
    found = RougeN().corpus(RougeN().statistics(said, true))
    assert found["ROUGE-1"] == pytest.approx(sum(one) / len(one))
    assert found["ROUGE-2"] == pytest.approx(sum(two) / len(two))


def test_both_sides_are_alike_and_a_text_agrees_with_itself() -> None:
    a, b = words("Small left effusion; small scar."), words("No effusion. Small left scar.")
    for order in (1, 2):
        assert f_measure(a, b, order) == f_measure(b, a, order) < 1
        assert f_measure(a, a, order) == 1


def test_rouge_l_stays_a_family_of_its_own() -> None:
    assert registry.family("ROUGE-2") == registry.family("rouge-1") == "ROUGE"
    assert registry.family("ROUGE-L") == "ROUGE-L"
    with pytest.raises(BenchError, match="1 hypotheses for 2 references"):
        RougeN().statistics(["a"], ["a", "b"])
