"""Paper tables: what stands in a cell, and how it is printed in four forms."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import bench.config
from bench.errors import BenchError
from bench.reporting.latex import tex
from bench.reporting.layout import Cell, Column, Row, Sheet
from bench.reporting.sheet import render as print_sheet
from bench.reporting.tables import MACRO_NOTE, Figure, Grid, Line, build, render
from bench.suites.suite import Table
from bench.terminal import WIDTH

METRICS = ("BLEU-4", "CIDEr")
PAPER = """
source: "Someone & others, 2023"
dataset: iu_xray
note: "rounded to 3 digits"
metrics: [BLEU-4, ROUGE-L]
rows:
  BASE: [0.100, 0.3]
  a: [0.200, 0.4]
  f: [null, 0.4]
"""


@pytest.fixture(autouse=True)
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "p.yaml").write_text(PAPER)
    (tmp_path / "floor").mkdir()
    (tmp_path / "floor" / "constant.yaml").write_text("title: constant report\n")
    monkeypatch.setattr(bench.config, "CONF", tmp_path)


def grid(dataset: str = "iu_xray") -> Grid:
    figures = {
        ("BASE", "BLEU-4"): Figure(0.1234, 0.115, 0.13, (0.11, 0.14)),
        ("BASE", "CIDEr"): Figure(1.2, 1.1, 1.3),
        ("a", "BLEU-4"): Figure(0.19, 0.185, 0.195, (0.17, 0.205)),
        ("f", "BLEU-4"): Figure(0.05, 0.04, 0.06),
        ("constant", "BLEU-4"): Figure(0.17, 0.16, 0.18),
    }
    table = Table("A | table & more", ("BASE", "a", "f", "UAR"), "p", ("LSU", "TIR"))
    ticks = {"a": ("LSU",), "UAR": ("LSU", "TIR")}
    best = {"BLEU-4": frozenset({"a", "constant"})}
    return build(table, ticks, figures, ["constant"], best, dataset, "r2gen@1", METRICS)


def cells(grid: Grid, row: str) -> dict[str, list[str]]:
    """kind -> texts of the lines of one row."""
    found, name = {}, ""
    for line in grid.lines:
        name = line.name or name
        if name == row:
            found[line.kind] = [c.text for c in line.cells]
    return found


def test_cells() -> None:
    found = grid()
    assert cells(found, "BASE") == {
        "paper": [".100", "–"],
        "ours": [".123 ±.007", "1.200 ±.100"],
        "delta": ["+.023", "–"],
        "verdict": ["above paper", "–"],
    }
    # Not in the interval of our mean, but where one more training of ours may well lie.
    assert cells(found, "a")["verdict"] == ["agrees", "–"]
    assert cells(found, "a")["delta"] == ["-.010", "–"]
    assert cells(found, "f")["paper"] == ["–", "–"]
    assert cells(found, "UAR") == {"ours": ["not run", "not run"]}
    assert cells(found, "constant report") == {"floor": [".170 ±.010", "not run"]}


def test_a_paper_above_where_ours_would_be() -> None:
    for next_run, said in (((0.05, 0.15), "below paper"), (None, "one training")):
        figures = {("a", "BLEU-4"): Figure(0.1, 0.09, 0.11, next_run)}
        found = build(Table("T", ("a",), "p"), {}, figures, [], {}, "iu_xray", "r2gen@1", METRICS)
        assert cells(found, "a")["verdict"] == [said, "–"]


def test_numbers_of_other_data_do_not_stand_beside_ours() -> None:
    found = grid("synthetic")
    assert cells(found, "BASE") == {"ours": [".123 ±.007", "1.200 ±.100"]}
    assert any("are of iu_xray and cannot be compared with ours of synthetic" in n
               for n in found.notes)  # fmt: skip
    assert not any("cannot be compared" in note for note in grid().notes)


def test_bold_and_ticks() -> None:
    lines = grid().lines
    bold = {(line.name, line.kind, i) for line in lines for i, c in enumerate(line.cells) if c.bold}
    assert bold == {("", "ours", 0), ("constant report", "floor", 0)}
    assert next(line.ticks for line in lines if line.name == "UAR") == (True, True)
    assert next(line.ticks for line in lines if line.name == "BASE") == (False, False)


def test_bold_has_a_reason() -> None:
    assert any(n.startswith("Bold: the one row or floor that is better") for n in grid().notes)
    figures = {("a", "BLEU-4"): Figure(0.1, 0.09, 0.11)}
    found = build(Table("T", ("a",), "p"), {}, figures, [], {}, "iu_xray", "r2gen@1", METRICS)
    assert any(n.startswith("No row is in bold") for n in found.notes)


def test_the_rows_own_paper_and_its_rescored_predictions(tmp_path: Path) -> None:
    own = 'source: "Own"\ndataset: iu_xray\nmetrics: [CIDEr]\nrows: {a: [0.7], BASE: [null]}\n'
    (tmp_path / "paper" / "own.yaml").write_text(own)
    table = Table("T", ("BASE", "a"), "p", ("LSU",), ("own",))
    again = {("a", "BLEU-4"): Figure(0.15, 0.1, 0.2)}
    found = build(table, {"a": ("LSU",)}, {}, [], {}, "iu_xray", "r2gen@1", METRICS, rescored=again)
    assert cells(found, "a") == {
        "paper": [".200", "–"],
        "own paper": ["–", ".700"],
        "rescored": [".150 ±.050", "not run"],
        "ours": ["not run", "not run"],
        "delta": ["–", "–"],
        "verdict": ["–", "–"],
    }
    assert "own paper" not in cells(found, "BASE")
    first = next(line for line in found.lines if line.name == "a")
    assert (first.kind, first.ticks) == ("paper", (True,))
    assert {"Own paper: Own.", "Rescored: predictions of that system, scored here like our own."} <= set(found.notes)  # fmt: skip # noqa: E501


def test_macro_averages_come_with_a_warning_that_the_record_bears_out() -> None:
    found = build(Table("T", ("a",)), {}, {}, [], {}, "iu_xray", "raw", ["macro-F1, 14"])
    assert MACRO_NOTE in found.notes
    assert MACRO_NOTE not in grid().notes
    record = json.loads((Path(__file__).parent / "golden" / "stats_check.json").read_text())
    held, differences = {}, []
    for case in record["cases"]:
        for figure in case["figures"]:
            if figure["score"] == "macro-F1" and figure["interval"] == "percentile":
                held[case["case"]["n"]] = figure["covers"]
                differences.append(figure["covers_difference"])
    assert f"{held[100]:.0%}".replace("%", " %") in MACRO_NOTE
    assert f"{held[590]:.0%} at 590".replace("%", "").replace("  ", " ") in MACRO_NOTE.replace(
        " %", ""
    )
    assert f"({np.mean(differences):.0%})".replace("%", " %") in MACRO_NOTE


# --- printing ----------------------------------------------------------------------------------

NASTY = Grid(
    title=r"50 % of a_b & {c} <d> \e | f",
    ticks=("a|b",),
    metrics=("x_y",),
    lines=(
        Line("R&D <i>", (True,), "ours", (Cell("$1 | #2", bold=True, numbers=(1.0, 0.5, 2.0)),)),
        Line("", (), "delta", (Cell("~^"),)),
    ),
    notes=("50 % <b>", "–"),
)


def columns(line: str) -> list[str]:
    """Cells of a Markdown row; an escaped pipe is text."""
    return [c.strip().replace(r"\|", "|") for c in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown() -> None:
    lines = [line for line in render(NASTY, "md").splitlines() if line.startswith("|")]
    assert [columns(line) for line in lines] == [
        ["row", "a|b", "line", "x_y"],
        ["---", "---", "---", "---:"],
        ["R&D <i>", "✓", "ours", "**$1 | #2**"],
        ["", "", "delta", "~^"],
    ]


def test_csv() -> None:
    """Numbers at full precision, in columns of their own; a row's name and ticks on each line."""
    rows = list(csv.reader(io.StringIO(render(NASTY, "csv"))))
    assert rows == [
        ["row", "a|b", "line", "x_y", "x_y low", "x_y high"],
        ["R&D <i>", "1", "ours", "1.0", "0.5", "2.0"],
        ["R&D <i>", "1", "delta", "~^", "", ""],
    ]


def test_text_fits_and_goes_on_below() -> None:
    columns = (Column("row", key=True), *(Column(f"metric {i}", right=True) for i in range(9)))
    row = Row((Cell("a"), *(Cell(f"{i}" * 17) for i in range(9))))
    lines = print_sheet(Sheet("T", columns, (row,), ("word " * 60,)), "text").splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert sum(line.startswith("row") for line in lines) == 3
    for i in range(9):
        assert sum(f"metric {i}" in line for line in lines) == 1
        assert sum(f"{i}" * 17 in line for line in lines) == 1


def test_latex_of_many_rows_goes_over_pages() -> None:
    columns = (Column("claim", heading=True), Column("metric"), Column("ours", right=True))
    long = "a claim of more than thirty characters & more"
    rows = [Row((Cell(long), Cell("x_y"), Cell(str(i))), first=i % 10 == 0) for i in range(90)]
    text = print_sheet(Sheet("T", columns, tuple(rows), ("50 %",)), "latex")
    assert text.count(r"\begin{table*}") == text.count(r"\end{table*}") == 2
    assert text.count("T (continued)") == 1
    assert text.count(r"50 \%") == 1  # notes stand under the last
    assert text.count(r"characters \& more") == 9  # on the first row of each
    assert text.count(r"x\_y") == 90
    assert text.count("{") == text.count("}")
    assert "(continued)" not in print_sheet(Sheet("T", columns, tuple(rows[:30])), "latex")


def test_latex_keeps_lines_together_on_pages_that_hold_them() -> None:
    columns = (Column("claim", heading=True), Column("verdict"))
    rows = [Row((Cell(f"claim {i // 8}"), Cell("not " * 60)), first=i % 8 == 0) for i in range(40)]
    text = print_sheet(Sheet("T", columns, tuple(rows), ("word " * 300,)), "latex")
    tables = text.split(r"\begin{table*}")[1:]
    counts = [sum(line.endswith(r"\\") for line in t.splitlines()) - 1 for t in tables]
    assert sum(counts) == 40
    assert all(count % 8 == 0 for count in counts)
    assert counts[-1] <= min(counts[:-1])  # the notes need room


def test_latex() -> None:
    text = render(NASTY, "latex")
    assert (
        r"\caption{50 \% of a\_b \& \{c\} \textless{}d\textgreater{} \textbackslash{}e | f}" in text
    )
    assert r"R\&D \textless{}i\textgreater{} & $\checkmark$ & ours & \textbf{\$1 | \#2} \\" in text
    assert r" &  & delta & \textasciitilde{}\textasciicircum{} \\" in text
    for name in re.findall(r"\\begin\{(.+?)\}", text):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}")
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    for line in body.splitlines():
        if line.endswith(r"\\"):
            assert len(re.findall(r"(?<!\\)&", line)) == 3
    unescaped = re.sub(r"\\[&%_#${}]", "", body.replace(r"$\checkmark$", ""))
    assert not re.search(r"[%#$_~^]", unescaped)


def test_tex_leaves_plain_text() -> None:
    assert tex("BLEU-4 .123 [.105, .140]") == "BLEU-4 .123 [.105, .140]"


class Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.cells[-1] += data


def test_html() -> None:
    parser = Texts()
    parser.feed(render(NASTY, "html"))
    parser.close()
    assert not parser.open
    assert parser.cells == [
        "row", "a|b", "line", "x_y", "R&D <i>", "✓", "ours", "$1 | #2", "", "", "delta", "~^",
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["text", "md", "latex", "html"])
def test_every_form_prints_every_cell(form: str) -> None:
    text = render(grid(), form)
    half = r"{\scriptsize\,$\pm$" if form == "latex" else " ±"
    for cell in (f".123{half}.007", "+.023", "not run", f".170{half}.010", "above paper"):
        assert cell in text
    assert text == render(grid(), form)


def test_an_unknown_form() -> None:
    with pytest.raises(BenchError, match=r"unknown format 'mdd'\n.*did you mean 'md'"):
        render(NASTY, "mdd")
