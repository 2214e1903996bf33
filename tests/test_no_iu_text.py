"""No sentence of IU X-ray stands in a committed file; see `bench.scripts.iu_sentences`."""

from __future__ import annotations

import csv
import re
import subprocess
from html import unescape
from pathlib import Path

import pytest

from bench.boards.rows import OWN_DATA
from bench.scripts.iu_sentences import COLUMNS, TABLE, digests, unpack

ROOT = Path(__file__).parents[1]
HEADING = re.compile(r"Its own report:|\d\. cosine \S+(?: \(own\))?")  # before a report's words
KNOWN = unpack((ROOT / "tests" / "golden" / "iu_sentences.bin").read_bytes())


def committed() -> list[Path]:
    try:
        listed = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        done = subprocess.run(
            ["git", "-C", str(ROOT), *listed], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: what is committed is not known")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def readable(path: Path) -> str:
    """A file's text; of a figure also what its lines of letters say in a row."""
    text = path.read_bytes().decode("utf-8", errors="ignore")
    if path.suffix != ".svg":
        return text
    lines = re.findall(r"<(?:text|tspan)\b[^>]*>([^<]+)</", text)
    said = unescape(" ".join(lines))
    return f"{text}\n{said}\n{HEADING.sub(chr(10), said)}"


def dataset_of(report: Path) -> str:
    [name] = re.findall(r"^Dataset: (\w+)", report.read_text(encoding="utf-8"), re.MULTILINE)
    return str(name)


def test_a_sentence_is_known_in_any_dress() -> None:
    [plain] = digests("the left lung has a small scar near its upper border")
    dressed = '{"report": "Fine. The left lung has a small scar, near its upper border."}'
    assert plain in set(digests(dressed))
    assert list(digests("the heart is normal in size")) == []  # short: anyone's


def test_a_sentence_is_known_in_the_lines_of_a_figure(tmp_path: Path) -> None:
    [plain] = digests("the left lung has a small scar near its upper border")
    lines = ("Its own report:", "The left lung has a small", "scar near its upper border.")
    path = tmp_path / "figure.svg"
    path.write_text("".join(f'<g><text x="1" style="a: b">{line}</text></g>\n' for line in lines))
    assert plain in set(digests(readable(path)))


def test_no_committed_file_holds_a_sentence_of_iu_xray() -> None:
    assert len(KNOWN) > 3000
    found = {}
    for path in committed():
        if count := len(KNOWN & set(digests(readable(path)))):
            found[str(path.relative_to(ROOT))] = count
    assert found == {}, "files that repeat sentences of real reports: take them out of the project"


def test_no_committed_figure_of_real_data_shows_a_report_or_a_film() -> None:
    """Short sentences are not known by their digests, and pixels by none."""
    figures = [path for path in committed() if path.name in ("retrieval.svg", "attention.svg")]
    theirs = [path for path in figures if dataset_of(path.with_name("README.md")) not in OWN_DATA]
    assert len(figures) > len(theirs) > 0
    for path in theirs:
        text = path.read_text(encoding="utf-8")
        assert "<image" not in text, path
        assert not HEADING.search(text), path


@pytest.mark.real
def test_digests_are_those_of_the_release(real: Path) -> None:
    with (real / "iu_xray" / TABLE).open(encoding="utf-8", newline="") as file:
        texts = [row[column] for row in csv.DictReader(file) for column in COLUMNS]
    assert {d for text in texts for d in digests(text)} == KNOWN
