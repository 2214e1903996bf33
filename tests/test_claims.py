"""The claims ledger: what stands in it, how a verdict comes about, and its four forms."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from made import make

import bench.config
from bench.config import load_yaml
from bench.errors import BenchError
from bench.metrics import registry
from bench.reporting.claims import HEAD, Entry, claims, ledger, notes, render
from bench.reporting.summary import Summary
from bench.reporting.tables import Figure, build, language_scores
from bench.reporting.tables import render as render_table
from bench.stats.compare import VERDICTS
from bench.suites.suite import load_suite

LEDGER = """
source: "Someone & others"
dataset: iu_xray
claims:
  - {section: "1", text: "good beats BASE", a: good, b: BASE, metric: BLEU-4, direction: higher, paper: 0.1}
  - {section: "1", text: "good is below BASE", a: good, b: BASE, metric: CIDEr, direction: lower, paper: null}
  - {section: "2", text: "BASE beats a constant", a: BASE, b: constant, metric: BLEU-4, direction: higher}
  - {section: "2", text: "absent beats BASE", a: absent, b: BASE, metric: BLEU-4, direction: higher}
  - {section: "3", text: "good has a better METEOR", a: good, b: BASE, metric: METEOR, direction: higher}
  - {section: "3", text: "good is aligned", a: good, b: BASE, metric: alignment, direction: higher}
"""  # noqa: E501


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return Summary.of(*make(tmp_path_factory.mktemp("runs")))


@pytest.fixture
def entries(suite: Summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "uar.yaml").write_text(LEDGER)
    monkeypatch.setattr(bench.config, "CONF", tmp_path)
    return ledger(suite)


def test_verdicts(entries: list[Entry]) -> None:
    assert [entry.verdict for entry in entries] == [
        "confirmed", "contradicted", "not distinguishable", "not run", "not run", "not run",
    ]  # fmt: skip
    tested = [e.found for e in entries if e.found is not None]
    assert [c.family for c in tested] == [3, 3, 3]
    assert all(c.p_corrected >= c.p for c in tested)


def test_notes(entries: list[Entry]) -> None:
    said = notes(entries, "made")
    assert said[0] == (
        "6 claims of Someone & others: 1 confirmed, 1 contradicted, 1 not distinguishable, "
        "3 not run."
    )
    assert "Holm over the 3 claims" in said[1]
    assert any("Verdicts on made are about made" in note for note in said)
    assert not any("Verdicts on" in note for note in notes(entries, "iu_xray"))


def test_forms_say_the_same(entries: list[Entry]) -> None:
    rows = list(csv.reader(io.StringIO(render(entries, "csv"))))
    assert rows[0] == list(HEAD)
    assert len(rows) == 7
    said = notes(entries, "made")
    for form in ("md", "html", "latex"):
        text = render(entries, form, said).replace("--", "–")
        for row in rows[1:]:
            for cell in row:
                shown = cell.replace("<", r"\textless{}") if form == "latex" else cell
                assert shown in text or cell.replace("<", "&lt;") in text, (form, cell)
    assert "confirmed" in rows[1]
    with pytest.raises(BenchError, match="unknown format 'mdd'"):
        render(entries, "mdd")


def test_the_papers_claims() -> None:
    """Rows, metrics and directions of the real ledger exist; its differences are the tables'."""
    rows = {row.name for row in load_suite("claims").rows}
    printed = {}
    for name in ("uar_table2", "uar_table3", "uar_table4"):
        paper = load_yaml("paper", name)
        for row, values in paper["rows"].items():
            printed[row] = dict(zip(paper["metrics"], values, strict=True))
    for claim in claims():
        assert {claim.a, claim.b} <= rows, claim
        assert claim.direction in ("higher", "lower")
        assert registry.family(claim.metric)
        if claim.metric in language_scores() and claim.paper is not None:
            difference = printed[claim.a][claim.metric] - printed[claim.b][claim.metric]
            assert claim.paper == pytest.approx(difference, abs=1e-9), claim
    sections = Counter(claim.section for claim in claims())
    assert set(sections) == {"4.2", "5.1", "5.2", "5.3"}
    assert len(VERDICTS) == 4


# --- LaTeX -------------------------------------------------------------------------------------


def documents(entries: list[Entry], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The ledger and a paper table with every kind of line."""
    monkeypatch.undo()
    table = load_suite("table2").tables["table2"]
    ticks = {row.name: row.ticks for row in load_suite("table2").rows}
    figures = {("UAR", m): Figure(0.2, 0.18, 0.22) for m in language_scores()}
    best = {m: frozenset({"UAR"}) for m in language_scores()}
    grid = build(table, ticks, figures, ["constant"], best, "iu_xray", "r2gen@1")
    said = notes(entries, "made")
    return {"claims": render(entries, "latex", said), "table2": render_table(grid, "latex")}


def test_latex_is_balanced(entries: list[Entry], monkeypatch: pytest.MonkeyPatch) -> None:
    for text in documents(entries, monkeypatch).values():
        opened: list[str] = []
        for kind, name in re.findall(r"\\(begin|end)\{(.+?)\}", text):
            if kind == "begin":
                opened.append(name)
            else:
                assert opened.pop() == name
        assert not opened
        plain = re.sub(r"\\[{}\\]", "", text)
        assert plain.count("{") == plain.count("}")
        [columns] = re.findall(r"\\begin\{tabular\}\{([lcr]+)\}", text)
        body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert rows
        assert all(len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1 for row in rows)
        assert not re.search(r"(?<!\\)[%#$_^~]", text.partition("\n")[2].replace("{!}{%", "{!}{"))
        assert text.isascii(), set(re.findall(r"[^\x00-\x7f]", text))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_compiles(
    entries: list[Entry], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    body = "\n".join(documents(entries, monkeypatch).values())
    head = r"\documentclass{article}\usepackage{booktabs,amssymb,graphicx}\begin{document}"
    (tmp_path / "x.tex").write_text(f"{head}\n{body}\n\\end{{document}}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
