"""The claims ledger: what stands in it, how a verdict comes about, and its four forms."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from math import log
from pathlib import Path

import pytest
from made import make

import bench.config
from bench.errors import BenchError
from bench.metrics import registry
from bench.reporting.claims import Claim, Entry, claims, ledger, printed
from bench.reporting.ledger import notes, sheet
from bench.reporting.sheet import render
from bench.reporting.summary import Summary
from bench.reporting.tables import Figure, build, language_scores
from bench.reporting.tables import render as render_table
from bench.suites.suite import load_suite
from bench.terminal import WIDTH

LEDGER = """
source: "Someone & others"
dataset: iu_xray
metrics: [BLEU-4, CIDEr]
claims:
  - {section: "1", text: "good beats fair", a: [good], b: [fair], all: true, primary: BLEU-4, paper: p}
  - {section: "1", text: "fair beats good", a: [fair], b: [good], metrics: [BLEU-4], paper: p}
  - {section: "1", text: "good is below fair", a: [good], b: [fair], metrics: [BLEU-4], direction: lower, family: false}
  - {section: "2", text: "good beats BASE", a: [good], b: [BASE], metrics: [CIDEr]}
  - {section: "2", text: "a factor helps", a: [good, good2], b: [fair, fair2], metrics: [BLEU-4], paper: p}
  - {section: "3", text: "absent beats fair", a: [absent], b: [fair], metrics: [BLEU-4]}
  - {section: "3", text: "good has a better METEOR", a: [good], b: [fair], metrics: [METEOR]}
  - {section: "3", text: "good is aligned", a: [good], b: [fair], metrics: [alignment]}
  - {section: "3", text: "good is beautiful", unmeasured: "beauty has no score"}
"""  # noqa: E501
PAPER = """
source: "Someone & others"
dataset: iu_xray
metrics: [BLEU-4, CIDEr]
rows: {good: [0.3, 0.4], fair: [0.1, 0.5], good2: [0.3, 0.1], fair2: [0.2, 0.1]}
"""
QUALITY = {
    "constant": (0.2,), "BASE": (0.3,), "absent": (),
    "good": (0.92, 0.94, 0.93), "fair": (0.5, 0.52, 0.48),
    "good2": (0.90, 0.91, 0.93), "fair2": (0.55, 0.52, 0.58),
}  # fmt: skip


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return Summary.of(*make(tmp_path_factory.mktemp("runs"), QUALITY))


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for group, name, text in (("claims", "uar", LEDGER), ("paper", "p", PAPER)):
        (tmp_path / group).mkdir()
        (tmp_path / group / f"{name}.yaml").write_text(text)
    monkeypatch.setattr(bench.config, "CONF", tmp_path)


@pytest.fixture
def entries(suite: Summary, conf: None) -> list[Entry]:
    return ledger(suite)


def test_verdicts(entries: list[Entry]) -> None:
    found = [(e.claim.text, e.metric, e.verdict.kind) for e in entries]
    assert found == [
        ("good beats fair", "BLEU-4", "confirmed"),
        ("good beats fair", "CIDEr", "confirmed"),
        ("good beats fair", "", "confirmed"),
        ("fair beats good", "BLEU-4", "reversed"),
        ("good is below fair", "BLEU-4", "reversed"),
        ("good beats BASE", "CIDEr", "one training"),
        ("a factor helps", "BLEU-4", "confirmed"),
        ("absent beats fair", "BLEU-4", "not run"),
        ("good has a better METEOR", "METEOR", "not run"),
        ("good is aligned", "alignment", "not run"),
        ("good is beautiful", "", "not measured yet"),
    ]


def test_the_family_is_of_contrasts(entries: list[Entry]) -> None:
    """One line each; cells, controls, and what could not be tested are outside."""
    counted = [(e.claim.text, e.metric) for e in entries if e.counted and e.verdict.p is not None]
    assert counted == [("good beats fair", ""), ("fair beats good", "BLEU-4"),
                       ("a factor helps", "BLEU-4")]  # fmt: skip
    assert {e.family for e in entries if e.counted} == {3}
    stars = [(e.claim.text, e.metric) for e in entries if e.star]
    assert stars == counted
    together = next(e for e in entries if e.claim.all and not e.metric)
    parts = [e.effect.p() for e in entries if e.claim == together.claim and e.effect]
    assert together.verdict.p == max(parts)


def test_sizes_are_those_of_the_papers_table(suite: Summary, entries: list[Entry]) -> None:
    """Of other data as logarithms of ratios; a text that its table belies is marked."""
    sizes = {(e.claim.text, e.metric): e.claimed for e in entries}
    assert all(e.ratio == bool(e.claim.paper) for e in entries)
    assert sizes["good beats fair", "BLEU-4"] == pytest.approx(log(0.3 / 0.1))
    assert sizes["fair beats good", "BLEU-4"] == pytest.approx(-log(0.3 / 0.1))
    assert sizes["a factor helps", "BLEU-4"] == pytest.approx((log(3) + log(1.5)) / 2)
    assert sizes["good is below fair", "BLEU-4"] is None
    assert [(e.claim.text, e.metric) for e in entries if e.disagrees] == [
        ("good beats fair", "CIDEr"), ("fair beats good", "BLEU-4"),
    ]  # fmt: skip
    here = [
        e for e in ledger(replace(suite, dataset="iu_xray")) if e.claim.text == "a factor helps"
    ]
    assert not here[0].ratio
    assert here[0].claimed == pytest.approx(0.15)
    assert here[0].effect is not None
    value = {r: suite.figure(r, "BLEU-4", "r2gen@1").value for r in QUALITY if r in suite.keys}
    expected = (value["good"] - value["fair"] + value["good2"] - value["fair2"]) / 2
    assert here[0].effect.value == pytest.approx(expected)


def test_notes(suite: Summary, entries: list[Entry]) -> None:
    said = notes(entries, suite)
    assert said[0] == (
        "10 claims, each in one metric: 1 not measured yet, 3 not run, 1 one training, "
        "3 confirmed, 2 reversed (reversed: 2 contrasts)."
    )
    assert said[1] == "1 claims on all metrics together: 1 confirmed."
    text = " ".join(said)
    assert "Holm over 3 contrasts" in text
    assert "0.2 of the 5 tested lines would be confirmed or reversed by chance" in text
    assert "The paper's sizes are of single runs on iu_xray; verdicts are about made." in said
    assert not any("single runs on" in x for x in notes(entries, replace(suite, dataset="iu_xray")))


def test_forms_say_the_same(suite: Summary, entries: list[Entry]) -> None:
    shown = sheet(entries, suite)
    rows = list(csv.DictReader(io.StringIO(render(shown, "csv"))))
    assert len(rows) == len(entries) == 11
    for row, entry in zip(rows, entries, strict=True):
        assert row["verdict"] == entry.verdict.kind
        if entry.effect is not None and entry.verdict.kind != "not run":
            ends = [float(row[k]) for k in ("low", "ours", "high")]
            assert ends == sorted(ends)
            # Interval and p agree about zero on every line.
            assert (float(row["p_no_effect"]) <= 0.05) == (ends[0] > 0 or ends[2] < 0)
    for form in ("text", "md", "html", "latex"):
        text = render(shown, form)
        for words in ("good beats fair", "one training", "beauty has no score", "reversed"):
            assert words in text, (form, words)
    lines = render(shown, "text").splitlines()
    assert max(map(len, lines)) <= WIDTH
    with pytest.raises(BenchError, match="unknown format 'mdd'"):
        render(shown, "mdd")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"a": ("x",), "metrics": ("BLEU-4",)}, "1 rows a, 0 rows b"),
        ({"a": ("x",), "b": ("y",)}, "0 metrics"),
        ({"a": ("x",), "b": ("y",), "metrics": ("BLEU-4",), "direction": "up"}, "direction"),
        ({"a": ("x",), "b": ("y",), "metrics": ("BLEU-4",), "primary": "CIDEr"}, "primary metric"),
    ],
)
def test_wrong_claims(wrong: dict, words: str) -> None:
    with pytest.raises(BenchError, match=words):
        Claim("1", "x", **wrong)


def test_the_papers_claims() -> None:
    """Rows, metrics and tables of the real ledger exist, and its disagreements are the known."""
    rows = {row.name for row in load_suite("claims").rows}
    disagree = set()
    for claim in claims():
        assert {*claim.a, *claim.b} <= rows, claim
        assert claim.unmeasured or all(registry.family(m) for m in claim.metrics)
        for metric in claim.metrics:
            for ratio in (True, False):
                size = printed(claim, metric, ratio)
                if size is not None and size <= 0:
                    disagree.add((claim.rows, metric))
    assert disagree == {("b - BASE", "BLEU-4"), ("d - c", "CIDEr"), ("e - d", "ROUGE-L")}
    assert sum(claim.all for claim in claims()) == 10
    [lsu] = [c for c in claims() if c.text == "LSU surpasses the base model on all metrics"]
    assert printed(lsu, "BLEU-4", ratio=False) == pytest.approx(0.033)
    [figure] = [c for c in claims() if c.metrics == ("alignment",) and c.b == ("BASE",)]
    assert printed(figure, "alignment", ratio=False) == pytest.approx(0.13)
    assert len([c for c in claims() if c.unmeasured]) == 3
    two = [c.rows for c in claims() if len(c.a) == 2]
    assert two[0] == "(a - BASE + e - d) / 2"
    assert len(two) == 4


# --- LaTeX -------------------------------------------------------------------------------------


def documents(
    suite: Summary, entries: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """The ledger and a paper table with every kind of line."""
    ours = render(sheet(entries, suite), "latex")
    monkeypatch.undo()
    table = load_suite("table2").tables["table2"]
    ticks = {row.name: row.ticks for row in load_suite("table2").rows}
    figures = {("UAR", m): Figure(0.2, 0.18, 0.22) for m in language_scores()}
    best = {m: frozenset({"UAR"}) for m in language_scores()}
    grid = build(table, ticks, figures, ["constant"], best, "iu_xray", "r2gen@1")
    return {"claims": ours, "table2": render_table(grid, "latex")}


def test_latex_is_balanced(
    suite: Summary, entries: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in documents(suite, entries, monkeypatch).values():
        opened: list[str] = []
        for kind, name in re.findall(r"\\(begin|end)\{(.+?)\}", text):
            if kind == "begin":
                opened.append(name)
            else:
                assert opened.pop() == name
        assert not opened
        plain = re.sub(r"\\[{}\\]", "", text)
        assert plain.count("{") == plain.count("}")
        declared = re.search(r"\\begin\{tabular\}\{(.+)\}\n", text)
        assert declared
        columns = re.sub(
            r">\{\\raggedright\\arraybackslash\}p\{\d+pt\}@\{\\hspace\{\d+pt\}\}", "p", declared[1]
        )
        assert set(columns) <= set("lrp")
        body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert rows
        assert all(len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1 for row in rows)
        signs = re.sub(r"\$\\\w+\$", "", text.partition("\n")[2])
        assert not re.search(r"(?<!\\)[%#$_^~]", signs)
        assert text.isascii(), set(re.findall(r"[^\x00-\x7f]", text))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_compiles(
    suite: Summary, entries: list[Entry], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    body = "\n".join(documents(suite, entries, monkeypatch).values())
    packages = r"\usepackage[margin=0.75in]{geometry}\usepackage{booktabs,amssymb,array,xcolor}"
    head = rf"\documentclass[twocolumn]{{article}}{packages}\begin{{document}}"
    (tmp_path / "x.tex").write_text(f"{head}\n{body}\n\\end{{document}}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
