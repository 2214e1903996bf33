"""Two files that do not say all: no ids, ids of one alone, other references of the same ids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from strangers import PLAIN, TEXTS, apart, scored, write

from bench import score
from bench.errors import DataError
from bench.formats.reports import read_pairs
from bench.formats.roles import Columns
from bench.metrics.scoring import Scored


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apart(tmp_path, monkeypatch)


def test_signatures_tell_references_of_the_same_ids(capsys: pytest.CaptureFixture[str]) -> None:
    """Other texts, another vocabulary or another cleaning are no set that a score compares with."""
    write("p.csv", PLAIN)
    write("a.txt", "lungs\nclear\n")
    write("b.txt", "heart\nnormal\n")
    found = []
    for refs in (PLAIN, PLAIN.replace("clear", "dark")):
        write("r.csv", refs)
        for options in (["--vocabulary=a.txt"], ["--vocabulary=b.txt"], ["cleaning=mimic"]):
            scores = json.loads(scored(capsys, *options))["scores"]
            found.append({s["treatment"]: s["signature"] for s in scores if "signature" in s})
    assert len({f["coco@1"] for f in found}) == 2
    assert len({f["full@1"] for f in found}) == 4
    # With the second vocabulary "clear" and "dark" are both <unk>: the same references.
    assert len({f["r2gen@1"] for f in found if "r2gen@1" in f}) == 3


def test_a_subset_and_a_saved_file_have_the_signatures_of_their_references(tmp_path: Path) -> None:
    found = score(TEXTS, TEXTS, metrics=["BLEU"], treatments=["coco@1", "full@1"])
    assert "|texts:" in found.scores[0].signature
    assert found.subset(TEXTS) == found.scores
    found.save(tmp_path / "s.npz")
    assert Scored.load(tmp_path / "s.npz").subset(TEXTS) == found.scores


def test_one_file_without_ids_is_paired_in_order_where_that_is_said() -> None:
    lines = write("p.txt", "".join(f"{t}\n" for t in TEXTS.values()))
    found = read_pairs(lines, write("r.csv", PLAIN), Columns(in_order=True))
    assert found.predictions == found.references == TEXTS
    with pytest.raises(DataError, match="--in-order"):
        read_pairs(lines, write("r.csv", PLAIN))
    with pytest.raises(DataError, match=r"1 reports in p\.txt and 3 in r\.csv"):
        read_pairs(write("p.txt", "Clear.\n"), Path("r.csv"), Columns(in_order=True))


def test_a_field_in_two_orders_is_asked_about() -> None:
    """Files without ids are in one order only where nothing that they share says otherwise."""
    made = write("p.csv", "patient,hyp\n7,a\n7,b\n8,c\n")
    truth = write("r.csv", "patient,ref\n8,c\n7,a\n7,b\n")
    with pytest.raises(DataError, match="patient is in two orders"):
        read_pairs(made, truth)
    assert read_pairs(made, truth, Columns(in_order=True)).predictions["1"] == "a"


def test_whole_numbers_that_a_program_made_floats_are_ids(tmp_path: Path) -> None:
    """In JSON as in CSV."""
    for name in ("pred.json", "ref.json"):
        rows = [{"id": float(i), "report": text} for i, text in enumerate(("a b .", "c d ."), 50)]
        (tmp_path / name).write_text(json.dumps(rows))
    pairs = read_pairs(tmp_path / "pred.json", tmp_path / "ref.json")
    assert list(pairs.predictions) == ["50", "51"]
