"""reports/<suite>/ from made runs: what it says, and that it says it twice alike."""

from __future__ import annotations

import csv
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made import make

from bench.boards.rows import suite_rows
from bench.errors import BenchError
from bench.reporting.folder import BEGIN, END, put_verdict, write_suite
from bench.reporting.page import inline, write_page
from bench.reporting.sections import image_gain
from bench.reporting.summary import Summary
from bench.runs.controls import SHUFFLED, WITHIN
from bench.runs.workspace import Workspace
from bench.suites.plan import Plan


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Workspace]:
    return make(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def written(
    made: tuple[Plan, Workspace], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("reports")
    write(made, folder)
    return content(folder)


def write(made: tuple[Plan, Workspace], folder: Path, cache: Path | None = None) -> list[Path]:
    plan, work = made
    work = replace(work, cache=cache or work.cache)
    return write_suite(Summary.of(plan, work), suite_rows(plan, work), folder)


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_files(written: dict[str, bytes]) -> None:
    assert set(written) == {
        "README.md", "scores.csv", "budget.csv", "t-tests.csv",
        *(f"t{part}.{form}" for part in ("", "-metrics", "-full") for form in ("md", "tex", "csv")),
        "hero.png", "hero.svg", "hero.csv",
    }  # fmt: skip


def test_written_again_it_has_the_same_bytes(
    made: tuple[Plan, Workspace], written: dict[str, bytes], tmp_path: Path
) -> None:
    """Even where nothing of the first time is left: intervals are seeded by what they are of."""
    write(made, tmp_path / "again")
    assert content(tmp_path / "again") == written
    write(made, tmp_path / "afresh", tmp_path / "cache")
    assert content(tmp_path / "afresh") == written


def test_scores_are_long_and_exact(made: tuple[Plan, Workspace], written: dict[str, bytes]) -> None:
    plan, work = made
    rows = list(csv.DictReader(written["scores.csv"].decode().splitlines()))
    assert {r["variant"] for r in rows} == {"constant", "BASE", "good"}
    assert {r["origin"] for r in rows} == {"floor", "trained", "control"}
    assert {r["seed"] for r in rows if r["variant"] == "good"} == {"0", "1"}
    whole = {
        (r["variant"], r["seed"]): float(r["value"])
        for r in rows
        if (r["metric"], r["treatment"], r["stratum"]) == ("BLEU-4", "r2gen@1", "all")
        and r["origin"] != "control"
    }
    summary = Summary.of(plan, work)
    for row, seeds in (("constant", 1), ("BASE", 1), ("good", 2)):
        mean = np.mean([whole[row, str(seed)] for seed in range(seeds)])
        assert summary.figure(row, "BLEU-4", "r2gen@1").value == pytest.approx(mean, rel=1e-12)


def test_table_and_comparisons(written: dict[str, bytes]) -> None:
    short = written["t.md"].decode().splitlines()
    assert any("| absent |" in line and line.count("not run") == 2 for line in short)
    [brief] = [line for line in short if line.startswith("| good |")]
    assert brief.count("↑") == 0  # of BASE there is one training, so that a change says nothing
    lines = written["t-metrics.md"].decode().splitlines()
    assert any("| absent |" in line and line.count("not run") == 7 for line in lines)
    [good] = [line for line in lines if line.startswith("| good |")]
    assert "**" not in good  # BASE is one training: which row is better cannot be said
    assert good.count("not run") == 2  # METEOR and ROUGE-L were not asked for
    text = written["README.md"].decode()
    assert "# A suite of toys" in text
    assert "Holm over" in text
    assert "**Comparisons with BASE**" in text
    assert "**Comparisons with constant report**" in text
    against = text[text.index("**Comparisons with BASE**") :].partition("\n\n**")[0]
    assert "| row | BLEU-4 | CIDEr | in words |" in against
    [good] = [line for line in against.splitlines() if line.startswith("| good | ")]
    assert good.endswith("| higher in this training |")  # of BASE there is one
    assert good.count("p = ") + good.count("p < ") == 2
    floor = text[text.index("**Comparisons with constant report**") :].partition("\n\n**")[0]
    assert "also after Holm over 3 contrasts in BLEU-4" in floor
    tests = list(csv.DictReader(written["t-tests.csv"].decode().splitlines()))
    found = {(t["a"], t["b"], t["score"]): t for t in tests}
    assert float(found["good", "BASE", "BLEU-4"]["difference"]) > 0.1
    assert float(found["good", "BASE", "BLEU-4"]["p_corrected"]) < 0.05
    assert {(t["score"], t["family"]) for t in tests} == {("BLEU-4", "3"), ("CIDEr", "1")}
    assert ("BASE", "BASE", "BLEU-4") not in found


def test_the_gain_from_images(made: tuple[Plan, Workspace], written: dict[str, bytes]) -> None:
    summary = Summary.of(*made)
    gains = image_gain(summary, SHUFFLED)
    assert set(gains) == {(r, m) for r in ("BASE", "good") for m in ("BLEU-4", "CIDEr")}
    assert all(gain.difference > 0 and gain.n == 50 for gain in gains.values())
    harder = image_gain(summary, WITHIN)
    assert set(harder) == set(gains)
    [n] = {gain.n for gain in harder.values()}
    assert 10 <= n < 50
    # Held against the same reports on the studies that take part, not on all of them.
    assert harder["good", "BLEU-4"].value_a != gains["good", "BLEU-4"].value_a
    # Each training against its own control; rows are not paired with other rows.
    assert all("|paired:runs|" in g.signature for g in (*gains.values(), *harder.values()))
    assert "paired" not in summary.compare("good", "BASE", "BLEU-4").signature
    text = written["README.md"].decode()
    assert "### Image gain" in text
    assert f"{n} of 50 studies take part" in text


def test_the_short_summary_says_what_the_tables_say(written: dict[str, bytes]) -> None:
    text = written["README.md"].decode()
    head = text[: text.index("### Toys")]
    assert head.index("## What was found") < head.index("![hero](hero.png)")
    assert "One training of a row" not in head  # of good there are two
    [best] = [line for line in head.splitlines() if line.startswith("- Best trained row")]
    assert "**good**" in best
    assert "BASE" not in best
    assert "- Best floor: constant report" in head
    assert "above it: good" in head
    assert "Reports fit the images of their own study" in head
    assert "BASE is one training" in head
    assert "good is one training" not in head


def test_strata_and_texts(written: dict[str, bytes]) -> None:
    text = written["README.md"].decode()
    part = text[text.index("### Strata") :].partition("\n\n#")[0]
    assert "BLEU-4, seen (n = " in part or "BLEU-4, unseen (n = " in part
    rows = [line for line in part.splitlines() if line.startswith(("| BASE", "| good", "| const"))]
    assert len(rows) == 3
    [one] = [line for line in rows if line.startswith("| BASE")]
    [two] = [line for line in rows if line.startswith("| good")]
    assert "[" in one
    assert "[" not in two  # of two runs the mean


class Tags(HTMLParser):
    """Checks that every element is closed by its own tag, and keeps the text of cells."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "input"):
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
        self.sources += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def test_the_page_stands_alone(made: tuple[Plan, Workspace], tmp_path: Path) -> None:
    write(made, tmp_path)
    plan, work = made
    path = write_page(Summary.of(plan, work), suite_rows(plan, work), tmp_path)
    text = path.read_text()
    tags = Tags()
    tags.feed(text)
    tags.close()
    assert not tags.open
    assert all(source.startswith("#") for source in tags.sources), "nothing is fetched"
    assert text.count("<svg") == text.count("</svg>") >= 1
    assert "**" not in text
    for planned in plan.runs:
        assert planned.spec.run_id in tags.cells
    for said in ("A &amp; B", "numpy 2.0.0", "BLEU-4|refs:r2gen@1", "What was found"):
        assert said in text
    assert write_page(Summary.of(plan, work), suite_rows(plan, work), tmp_path).read_text() == text


def test_a_drawing_keeps_the_ids_that_it_uses() -> None:
    svg = '<?xml?><svg><g id="axes_1"/><clipPath id="p"/><path clip-path="url(#p)"/></svg>'
    assert inline(svg) == '<svg><g/><clipPath id="p"/><path clip-path="url(#p)"/></svg>'


def test_a_verdict_is_put_between_its_marks(made: tuple[Plan, Workspace], tmp_path: Path) -> None:
    path = tmp_path / "R.md"
    path.write_text(f"a\n{BEGIN}\nOUTDATED\n{END}\nb\n")
    put_verdict(Summary.of(*made), path)
    text = path.read_text()
    assert text.startswith(f"a\n{BEGIN}\n- ")
    assert text.endswith(f"{END}\nb\n")
    assert "OUTDATED" not in text
    path.write_text("nothing")
    with pytest.raises(BenchError, match="has no one place for a verdict"):
        put_verdict(Summary.of(*made), path)
