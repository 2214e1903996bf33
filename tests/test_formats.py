"""One set of reports in every form that people have it in: the same scores, to the byte."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.errors import BenchError, DataError
from bench.formats.reports import read_pairs, read_predictions, read_references, read_reports
from bench.formats.roles import Columns
from bench.formats.vocabulary import read_vocabulary
from bench.metrics import ptb

MADE = ["The lungs are clear.", "", 'A "small", left effusion; no pneumothorax.', "Stable"]
TRUTH = [
    "Lungs are clear.",
    "Heart is normal.",
    "Small left effusion. No pneumothorax.",
    "Normal.",
]
IDS = ["1", "2", "3", "4"]


def table(rows: list[list[str]], delimiter: str = ",") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    return out.getvalue()


def side(head: str, texts: list[str], delimiter: str = ",") -> str:
    name, report = head.split()
    rows = [[i, t] for i, t in zip(IDS, texts, strict=True)]
    return table([[name, report], *rows], delimiter)


def entries(name: str, report: str, texts: list[str]) -> list[dict[str, str]]:
    return [{name: i, report: t} for i, t in zip(IDS, texts, strict=True)]


def rexrank() -> str:
    return json.dumps({
        i: {"section_findings": t, "section_impression": "None.", "report": f"Findings: {t}",
            "model_prediction": m, "image_path": ["a.png"]}
        for i, m, t in zip(IDS, MADE, TRUTH, strict=True)
    })  # fmt: skip


def both(names: str) -> str:
    rows = [list(row) for row in zip(IDS, MADE, TRUTH, strict=True)]
    return table([names.split(), *rows])


# Name of the file(s) -> (predictions, references or None, settings and options).
FORMS: dict[str, tuple[tuple[str, str], tuple[str, str] | None, list[str]]] = {
    "csv": (("p.csv", side("study_id report", MADE)), ("r.csv", side("uid reference", TRUTH)), []),
    "tsv": (
        ("p.tsv", side("image_id hyp", MADE, "\t")), ("r.tsv", side("key gt", TRUTH, "\t")), [],
    ),
    "named": (
        ("p.csv", side("case mine", MADE)), ("r.csv", side("id text", TRUTH)),
        ["--id-column", "case", "--report-column", "mine"],
    ),
    "map": (
        ("p.json", json.dumps(dict(zip(IDS, MADE, strict=True)))),
        ("r.json", json.dumps({i: [t] for i, t in zip(IDS, TRUTH, strict=True)})), [],
    ),
    "objects": (
        ("p.json", json.dumps(entries("dicom_id", "generated_report", MADE))),
        ("r.json", json.dumps(entries("study_id", "ground_truth", TRUTH))), [],
    ),
    "annotation": (
        ("p.json", json.dumps(entries("image_id", "caption", MADE))),
        ("r.json", json.dumps({"train": [{"id": "9", "report": "x"}], "val": [],
                               "test": entries("id", "report", TRUTH)})), ["split=test"],
    ),
    "lists": (("p.json", json.dumps({"references": TRUTH, "hypotheses": MADE})), None, []),
    "jsonl": (
        ("p.jsonl", "\n".join(json.dumps(e) for e in entries("id", "prediction", MADE)) + "\n"),
        ("r.jsonl", "\n".join(json.dumps(e) for e in entries("id", "report", TRUTH))), [],
    ),
    "lines": (("p.txt", "\n".join(MADE) + "\n"), ("r.txt", "\n".join(TRUTH)), []),
    "r2gencmn": (
        ("res.csv", table([[t] for t in ["The lungs are clear.", *MADE[1:]]])),
        ("gts.csv", table([[t] for t in TRUTH])), [],
    ),
    "one file": (("p.csv", both("study_id hypothesis reference")), None, []),
    "rexrank": (("p.json", rexrank()), None, ["section=findings"]),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ptb, "tokenize", lambda texts: [" ".join(t.lower().split()) for t in texts])


def write(name: str, text: str) -> Path:
    Path(name).write_text(text, encoding="utf-8", newline="")
    return Path(name)


def scored(form: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    (made, text), truth, options = FORMS[form]
    write(made, text)
    given = ["--references", str(write(*truth))] if truth else []
    argv = ["score", made, *options, *given, "--metrics", "BLEU,ROUGE-L,CIDEr", "--json"]
    assert main(argv) == 0, capsys.readouterr().err
    found = capsys.readouterr()
    return found.out, found.err


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_bytes(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    out, said = scored(form, capsys)
    assert out == scored("csv", capsys)[0]
    assert FORMS[form][0][0] in said
    rows = [row for row in json.loads(out)["scores"] if row["treatment"] == "coco@1"]
    assert {row["n"] for row in rows} == {4}
    assert all(0 < row["value"] < 1 for row in rows if row["metric"] in ("BLEU-1", "ROUGE-L"))


def test_a_line_says_what_a_file_was_taken_for(capsys: pytest.CaptureFixture[str]) -> None:
    said = scored("rexrank", capsys)[1]
    assert "p.json: a JSON map of ids, ids in the keys, reports in model_prediction" in said
    assert "section_findings for reference" in said
    assert "1 predictions are empty" in said


Wrong = tuple[str, str, list[str]]
WRONG: dict[str, Wrong] = {
    "columns": ("p.csv", side("studyid reprot", MADE), ["rename 'reprot' to 'report'"]),
    "two ids": ("p.csv", "study_id,dicom_id,report\n1,2,x\n", ["--id-column study_id"]),
    "two texts": ("p.csv", "id,generated,hyp\n1,a,b\n", ["--report-column generated"]),
    "twice": ("p.csv", "id,report\n1,a\n2,b\n1,c\n", ["1 study id given twice: 1 (lines 2 and 4)"]),
    "key twice": ("p.json", '{"1": "a", "1": "b"}', ["keys given twice: 1"]),
    "fields": ("p.csv", "id,report\n1,a,b\n", ["line 2: 3 fields instead of 2", "double quotes"]),
    "no id": ("p.jsonl", '{"id": null, "report": "x"}\n', ["line 1: no id in id"]),
    "number": ("p.json", '{"1": 3}', ["key '1': a int, neither a report nor an object"]),
    "nested": ("p.json", '[{"id": 1, "report": {"a": 1}}]', ["holds a dict", "--report-column"]),
    "many": ("p.json", '[{"id": 1, "report": ["a", "b"]}]', ["2 texts in report", "one reference"]),
    "lengths": ("p.json", '{"refs": ["a"], "hyps": ["a", "b"]}', ["refs 1, hyps 2"]),
    "broken": ("p.json", '{"1": ', ["line 1", "mend the JSON"]),
    "text": ("p.json", '"x"', ['give {"study id": "report", ...}']),
    "jsonl": ("p.jsonl", '{"id": 1}\nx\n', ["line 2", "one JSON object a line"]),
    "empty": ("p.csv", "", ["p.csv is empty", "study_id,report"]),
    "sections": ("p.json", rexrank(), ["section=findings"]),
    "splits": ("p.json", json.dumps({"train": [{"id": 1}], "test": [{"id": 2}]}), ["split=test"]),
    "not here": ("q.csv", "", ["cannot read p.csv"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_form_is_answered_with_the_nearest_right_one(name: str) -> None:
    file, text, words = WRONG[name]
    write(file, text)
    path = Path(file.replace("q", "p"))
    with pytest.raises(BenchError) as error:
        read_pairs(path, None) if name == "sections" else read_predictions(path)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"PAR1", b"\x80\x04"])
def test_files_that_are_no_text(start: bytes) -> None:
    Path("p.csv").write_bytes(start + b"\x00\xff")
    with pytest.raises(DataError, match="no text file"):
        read_predictions(Path("p.csv"))


def test_other_encodings_are_refused_by_line() -> None:
    Path("p.csv").write_bytes("id,report\n1,a\n2,ö\n".encode("latin-1"))
    with pytest.raises(DataError, match="line 3: not UTF-8"):
        read_predictions(Path("p.csv"))


def test_a_report_beside_a_prediction_is_asked_about() -> None:
    write("p.csv", both("study_id generated report"))
    with pytest.raises(DataError, match="--reference-column report"):
        read_pairs(Path("p.csv"), None)
    found = read_pairs(Path("p.csv"), None, Columns(reference="report"))
    assert list(found.references.values()) == TRUTH


def test_files_with_and_without_ids_are_not_paired() -> None:
    made, truth = write("p.txt", "a\nb\n"), write("r.csv", "id,report\n1,a\n2,b\n")
    with pytest.raises(DataError, match=r"p\.txt has no ids, r\.csv has"):
        read_pairs(made, truth)
    short = write("r.txt", "a\n")
    with pytest.raises(DataError, match=r"2 reports in p\.txt and 1 in r\.txt"):
        read_pairs(made, short)


def test_studies_without_the_section_are_left_out_and_named() -> None:
    text = [{"id": i, "findings": f, "impression": "Normal."} for i, f in (("a", "x"), ("b", ""))]
    file = write("r.json", json.dumps(text))
    found = read_references(file, Columns(section="findings"))
    assert (found.by_id(), found.left_out) == ({"a": "x"}, ("b",))
    assert read_references(file, Columns(section="both")).left_out == ("b",)
    either = read_reports(file, Columns(section="both"))  # to label what is said anywhere
    assert either.by_id() == {"a": "x Normal.", "b": "Normal."}


def test_null_and_nan_are_empty_reports() -> None:
    found = read_predictions(write("p.json", '[{"id": 1, "hyp": null}, {"id": 2, "hyp": NaN}]'))
    assert (found.by_id(), found.empty) == ({"1": "", "2": ""}, 2)


def test_a_vocabulary_is_a_list_of_words_or_of_an_annotation() -> None:
    words = write("words.txt", "<unk>\nclear\nlungs\n")
    assert read_vocabulary(words, "iu").words == ("<unk>", "clear", "lungs")
    train = [{"id": i, "report": "Lungs clear. Rare."} for i in range(2)] + [
        {"id": 3, "report": "Lungs clear."}
    ]
    annotation = write("a.json", json.dumps({"train": train, "test": [{"id": 4, "report": "x"}]}))
    assert read_vocabulary(annotation, "iu").words == (".", "<unk>", "clear", "lungs")


def test_a_recognised_file_scores_against_a_dataset_in_order(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sizes = ["dataset=synthetic", *(f"dataset.{k}" for k in ("train=9", "val=2", "test=3"))]
    write("p.txt", "a\nb\nc\n")
    argv = ["score", "p.txt", *sizes, "dataset.size=32", "--metrics", "BLEU"]
    assert main(argv) == 2
    assert "--in-order" in capsys.readouterr().err
    assert main([*argv, "--in-order"]) == 0
    assert "synthetic test: 3 studies" in capsys.readouterr().out
    write("words.txt", "<unk>\n")
    assert main([*argv, "--in-order", "--vocabulary", "words.txt"]) == 2
    assert "has a vocabulary of its own" in capsys.readouterr().err


def test_a_blank_line_of_one_column_is_an_empty_report(tmp_path: Path) -> None:
    """Reports are paired by their place: none may be passed over."""
    (tmp_path / "p.csv").write_text("report\nheart is normal\n\nno effusion\n\n")
    (tmp_path / "r.csv").write_text("reference\nheart is normal\nlungs are clear\nno effusion\n")
    pairs = read_pairs(tmp_path / "p.csv", tmp_path / "r.csv")
    assert list(pairs.predictions.values()) == ["heart is normal", "", "no effusion"]
