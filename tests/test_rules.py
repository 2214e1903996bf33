from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from bench.config import load_yaml
from bench.metrics.clinical import rules, truth
from bench.metrics.clinical.observations import (
    BLANK,
    NEGATIVE,
    NO_FINDING,
    OBSERVATIONS,
    POSITIVE,
    UNCERTAIN,
)
from bench.scripts import rules_against_codes
from bench.stats import Plan, intervals

SENTENCES = Path(__file__).parent / "data" / "rule_sentences.txt"
CODES = "EC CM LO LL ED CO PN AT PX PE PO FX SD NF"
SHORT = {code: i for i, code in enumerate(CODES.split())}
SIGNS = {"+": POSITIVE, "-": NEGATIVE, "?": UNCERTAIN}


def cases() -> list[tuple[str, str, dict[int, int]]]:
    group, found = "", []
    for line in SENTENCES.read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"\[(.+)\]", line):
            group = heading[1]
        elif line and not line.startswith("#"):
            text, _, labels = line.partition("|")
            wanted = {SHORT[token[:2]]: SIGNS[token[2]] for token in labels.split()}
            found.append((group, text.strip(), wanted))
    return found


def right(text: str, wanted: dict[int, int]) -> bool:
    labels = rules.labeler().report(text)
    stray = [
        i
        for i, label in enumerate(labels)
        if i not in wanted and i != NO_FINDING and label in (POSITIVE, UNCERTAIN)
    ]
    return not stray and all(labels[i] == label for i, label in wanted.items())


def test_hand_written_sentences_are_at_least_95_percent_right() -> None:
    table = cases()
    wrong = [text for _, text, wanted in table if not right(text, wanted)]
    assert len(table) >= 120
    assert len({text for _, text, _ in table}) == len(table)
    assert len(wrong) <= 0.05 * len(table), wrong


def test_no_group_of_sentences_fails_as_a_whole() -> None:
    groups: dict[str, list[bool]] = {}
    for group, text, wanted in cases():
        groups.setdefault(group, []).append(right(text, wanted))
    assert {group for group, marks in groups.items() if np.mean(marks) < 0.8} == set()


@pytest.mark.parametrize("group", ["broken devices", "contrasts and answers"])
def test_kinds_that_were_wrong_once_are_right(group: str) -> None:
    mine = [(text, wanted) for name, text, wanted in cases() if name == group]
    assert len(mine) > 6
    assert [text for text, wanted in mine if not right(text, wanted)] == []


@pytest.mark.parametrize("text", ["", " ", ".", "...", "1. 2.", "\n\n", "__"])
def test_a_report_without_words_has_no_label_at_all(text: str) -> None:
    assert rules.labeler().report(text) == [BLANK] * 14


def test_the_strongest_mention_of_a_report_wins() -> None:
    read = rules.labeler().report
    effusion = OBSERVATIONS.index("Pleural Effusion")
    assert read("No effusion. Possible effusion.")[effusion] == UNCERTAIN
    assert read("Possible effusion. No effusion. Left effusion.")[effusion] == POSITIVE


def test_no_finding_excludes_every_asserted_or_suspected_observation() -> None:
    table = rules.labeler()([text for _, text, _ in cases()])
    pathologies = table[:, :12]
    asserted = ((pathologies == POSITIVE) | (pathologies == UNCERTAIN)).any(axis=1)
    assert not (asserted & (table[:, NO_FINDING] == POSITIVE)).any()


def test_case_space_and_repetition_do_not_matter() -> None:
    text = "The heart is enlarged.  No\npleural effusion."
    once = rules.labeler().report(text.replace("\n", " "))
    assert rules.labeler().report(text.upper().replace("\n", " ")) == once
    table = rules.labeler()([text.replace("\n", " ")] * 3 + ["Normal."])
    assert (table[:3] == once).all()
    assert table.shape == (4, 14)


def test_no_reports_give_an_empty_table() -> None:
    assert rules.labeler()([]).shape == (0, 14)


def test_several_processes_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PARALLEL_FROM", 2)
    reports = [text for _, text, _ in cases()][:20]
    one = np.array([rules.labeler().report(text) for text in reports])
    assert (rules.labeler()(reports, processes=2) == one).all()


def test_the_metric_of_equal_reports_is_one_and_its_signature_names_the_rules() -> None:
    metric = rules.ChexpertRules()
    reports = ["Cardiomegaly. Small left effusion.", "Normal chest."]
    scores = metric.corpus(metric.statistics(reports, reports))
    assert scores["chexpert-rules-F1-micro-14"] == 1
    signature = metric.signature("chexpert-rules-F1-micro-14", "raw", 2, "ab")
    assert f"rules:{rules.digest()}|convention:uncertain-negative" in signature
    assert signature.endswith("|v:1")


def test_the_variant_counts_uncertain_mentions() -> None:
    pair = (["Possible effusion."], ["Left effusion."])
    plain, variant = rules.ChexpertRules(), rules.ChexpertRulesUncertain()
    assert plain.corpus(plain.statistics(*pair))["chexpert-rules-F1-micro-5"] == 0
    assert variant.corpus(variant.statistics(*pair))["chexpert-rules-uncertain-F1-micro-5"] == 1


def code_row(problems: str, mesh: str) -> dict[str, str]:
    return {"Problems": problems, "MeSH": mesh}


def mapped(problems: str, mesh: str, columns: str) -> set[str]:
    mapping = load_yaml("labels", "iu_mesh")
    labels = truth.code_labels(code_row(problems, mesh), mapping, columns)
    return {name for name, label in zip(OBSERVATIONS, labels, strict=True) if label == POSITIVE}


def test_codes_map_with_and_without_their_qualifiers() -> None:
    assert mapped("normal", "normal", "problems") == {"No Finding"}
    assert mapped("Opacity", "Opacity/lung/upper lobe/right/round", "problems") == {"Lung Opacity"}
    assert mapped("Density", "Density/lung/base/right", "problems") == set()
    assert mapped("Density", "Density/lung/base/right", "mesh") == {"Lung Opacity"}
    assert mapped("Cardiac Shadow", "Cardiac Shadow/obscured/severe", "mesh") == set()
    assert mapped("Catheters, Indwelling", "Catheters, Indwelling/right", "mesh") == {
        "Support Devices",
        "No Finding",
    }
    assert mapped("Density", "Density/ribs/right/focal", "mesh") == set()


def test_every_mapped_name_is_an_observation() -> None:
    mapping = load_yaml("labels", "iu_mesh")
    assert set(mapping["observations"]) == set(OBSERVATIONS)
    assert len(mapping["ten"]) == 10
    assert all(entry["reason"] for entry in mapping["observations"].values())


def test_the_table_of_agreement_has_the_intervals_of_bench_stats() -> None:
    """Made studies of known counts: 30 right and 10 wrong calls of cardiomegaly, 10 missed."""
    texts = ("The heart is enlarged.",) * 40 + ("Clear lungs.",) * 60
    labels = np.zeros((100, 14), np.int8)
    labels[[*range(30), *range(40, 50)], OBSERVATIONS.index("Cardiomegaly")] = POSITIVE
    labels[50:, NO_FINDING] = POSITIVE
    coded = rules_against_codes.Coded(tuple(range(100)), texts, labels)
    table = rules_against_codes.compare(coded, "negative")
    found = rules_against_codes.agreement(coded, table)
    assert found == intervals(
        rules_against_codes.Agreement(), table, Plan(tuple(map(str, range(100))))
    )
    heart = found["Cardiomegaly"]
    assert heart.value == pytest.approx(60 / 80)
    assert 0.6 < heart.low < heart.value < heart.high < 0.9
    lines = rules_against_codes.render(coded, "negative").splitlines()
    assert len(lines) == 2 + 14 + 2
    assert lines[3] == (
        f"| Cardiomegaly \\* | 0.750 | {heart.low:.3f}–{heart.high:.3f} | 30 | 10 | 10 |"
    )
    assert lines[-2].startswith("| micro, the ten (\\*) | 0.750 | ")


@pytest.mark.real
@pytest.mark.skipif("BENCH_DATA" not in os.environ, reason="needs IU X-ray in $BENCH_DATA")
@pytest.mark.parametrize("columns", ["problems", "mesh"])
def test_agreement_with_the_experts_codes_on_even_uids(columns: str) -> None:
    path = Path(os.environ["BENCH_DATA"]) / "iu_xray" / "indiana_reports.csv"
    coded = rules_against_codes.load(path, "even", columns)
    sums = rules_against_codes.compare(coded, "negative").sum(axis=0)
    assert rules_against_codes.f1s(sums)[14] >= 0.935
