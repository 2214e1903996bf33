"""Files as people have them: exports of Excel and pandas, other projects' JSON, odd ids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from strangers import PLAIN, TEXTS, apart, scored, write

from bench.__main__ import main
from bench.errors import BenchError, DataError
from bench.formats.reports import Pairs, read_pairs, read_predictions, read_references, read_reports
from bench.formats.roles import RECOGNISED, Columns
from bench.formats.vocabulary import read_vocabulary


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apart(tmp_path, monkeypatch)


def dumped(value: object) -> str:
    return json.dumps(value)


READ: dict[str, tuple[str, str | bytes]] = {
    "Excel: mark, CRLF, quotes": ("p.csv", b"\xef\xbb\xbf" + PLAIN.replace("\n", "\r\n").encode()),
    "Excel: empty rows and columns": (
        "p.csv", PLAIN.replace("\n", ",,\r\n") + ",,,\r\n,,,\r\n",
    ),
    "Excel: Unicode text": (
        "p.tsv", "\r\n".join(["study_id\treport", *map("\t".join, TEXTS.items())]).encode("utf-16"),
    ),
    "numbers as ids": ("p.json", dumped([{"id": int(i), "hyp": t} for i, t in TEXTS.items()])),
    "a map under a name": ("p.json", dumped({"model": "x", "predictions": TEXTS})),
    "a list under a name": (
        "p.json", dumped({"lr": {"a": 1}, "predictions": [{"id": i, "res": t}
                                                          for i, t in TEXTS.items()]}),
    ),
    "pandas' to_json": (
        "p.json", dumped({"study_id": dict(enumerate(TEXTS)), "report":
                          dict(enumerate(TEXTS.values()))}),
    ),
    "captions": ("p.json", dumped({i: [{"caption": t}] for i, t in TEXTS.items()})),
    "COCO's annotations alone, as XrayGPT has them": (
        "p.json", dumped({"annotations": [{"image_id": i, "caption": t}
                                          for i, t in TEXTS.items()]}),
    ),
    "lists in lists": ("p.json", dumped({i: [[t]] for i, t in TEXTS.items()})),
    "further fields": (
        "p.jsonl", "\n".join(dumped({"uid": i, "pred": t, "ids": None, "meta": {"a": [1]}}
                                    | {"tokens": [1, 2]}).replace('"ids": null, ', "")
                             for i, t in TEXTS.items()),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_what_people_export_is_read(name: str) -> None:
    file, data = READ[name]
    assert read_predictions(write(file, data)).by_id() == TEXTS


@pytest.mark.parametrize("count", [1, 2, 3])
def test_small_maps_are_maps(count: int) -> None:
    few = dict(list(TEXTS.items())[:count])
    assert read_references(write("r.json", dumped({i: [t] for i, t in few.items()}))).by_id() == few
    sides = {"gts": {i: [t] for i, t in few.items()}, "res": {i: [t] for i, t in few.items()}}
    found = read_pairs(write("p.json", dumped(sides)), None)
    assert found.predictions == found.references == few
    lists = {"references": list(few.values()), "hypotheses": list(few.values())}
    assert read_pairs(write("p.json", dumped(lists)), None).references == few


def test_one_object_is_one_report() -> None:
    assert read_predictions(write("p.json", '{"id": "7", "hyp": "x"}')).by_id() == {"7": "x"}


REFUSED: dict[str, tuple[str, str | bytes, list[str]]] = {
    "semicolons": (
        "p.csv", 'study_id;report\n1;"a, b"\n',
        ["line 1: separated by semicolons", 'study_id,report and then 1,"a, b"'],
    ),
    "quoted semicolons": ("p.csv", '"id";"report"\n"1";"a, b"\n', ["by semicolons", '1,"a, b"']),
    "pipes": ("p.csv", "study_id|report\n1|a\n", ["by pipes", "study_id,report and then 1,a"]),
    "tabs": ("p.csv", "study_id\treport\n1\ta\n", ["by tabs, not commas", "name the file .tsv"]),
    "commas": ("p.tsv", "study_id,report\n1,a\n", ["by commas, not tabs", "name the file .csv"]),
    "sep": ("p.csv", "sep=;\nid;report\n1;a\n", ["'sep=;'", "delete that line"]),
    "bare commas": ("p.csv", "id,report\n1,a, b\n", ["3 fields instead of 2", '1,"a, b"']),
    "no header": ("p.csv", "1,The lungs are quite clear\n2,x\n", ["line 1 is a report", "header"]),
    "no header, semicolons": ("p.csv", "1;The lungs\n2;A b\n", ["a table with semicolons"]),
    "no header, tabs": ("p.txt", "1\tThe lungs\n2\tA b\n", ["a table with tabs"]),
    "table": ("p.txt", "study_id,report\n1,a\n", ["a table with commas", "name the file .csv"]),
    "header": ("p.txt", "report\nA b.\nC d.\n", ["'report' may be a header or a report"]),
    "odd header": ("p.csv", "AI output\nA b.\nC d.\n", ["'AI output' may be a header"]),
    "title": ("p.csv", "Our system v2\nA b.\nC d.\n", ["'Our system v2' may be a header"]),
    "no mark": ("p.csv", PLAIN.encode("utf-16-le"), ["UTF-16 without a mark"]),
    "old Excel": ("p.csv", b"\xd0\xcf\x11\xe0\x00", ["old Excel file"]),
    "two texts": ("p.json", '[{"id": 1, "hyp": ["a", "b"]}]', ['" ".join(sentences)']),
    "no rows": ("p.csv", "study_id,report\n", ["has no reports"]),
    "no lines": ("p.txt", "", ["has no reports"]),
    "two of many": (
        "p.json", dumped({str(i): ["a", "b"] for i in range(9)}), ["key '0': 2 texts in"],
    ),
    "a list of objects beside others": (
        "p.json", '{"scores": {"a": 1}, "results": [{"id": 1, "hyp": "a"}, {"id": 2, "hyp": "b"}]}',
        ["lists of objects under results", "alone into a file"],
    ),
    "two lists of objects": (
        "p.json", '{"predictions": [{"id": 1}, {"id": 2}], "references": [{"id": 1}, {"id": 2}]}',
        ["lists of objects under predictions, references"],
    ),
    "an index that is no count": (
        "p.csv", "Unnamed: 0,hyp\n2,a\n1,b\n", ["--id-column 'Unnamed: 0'", "--in-order"],
    ),
    "an index of names": ("p.csv", "index,hyp\ns1,a\ns2,b\n", ["'index' is another one"]),
    "other ids": (
        "p.json", '{"gts": {"1": "a"}, "res": {"2": "a"}}', ["that res or gts alone has: 1, 2"],
    ),
    "may be ids": (
        "p.csv", "patient,hyp\nx1,a\nx2,b\n", ["'patient' is another one", "--in-order"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_shown_as_it_should_be(name: str) -> None:
    file, data, words = REFUSED[name]
    with pytest.raises(BenchError) as error:
        read_predictions(write(file, data))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    "lines",
    [
        "Normal.\nC d.\n",  # one word, a sentence
        "Lungs are clear .\nNo effusion\n",
        "\nA b.\nC d.\n",  # an empty report
        "1. Clear.\n2. Normal.\n",
        "Findings, unchanged, of the left lung.\nA b.\n",
        "the lungs are clear without focal\nA b.\n",  # cut by a length limit
    ],
)
def test_reports_are_no_headers(lines: str) -> None:
    assert list(read_predictions(write("p.txt", lines)).texts) == lines.split("\n")[:2] + (
        ["C d."] if lines.startswith("\n") else []
    )


def test_a_known_name_of_two_words_is_a_header() -> None:
    found = read_predictions(write("p.csv", "Generated Report\nA b.\nC d.\n"))
    assert found.texts == ("A b.", "C d.")


def pairs(columns: Columns = RECOGNISED, split: str = "", references: str = PLAIN) -> Pairs:
    return read_pairs(write("p.csv", PLAIN), write("r.csv", references), columns, split)


def test_a_section_or_split_that_files_do_not_have_is_refused() -> None:
    with pytest.raises(DataError, match=r"section=findings: r\.csv \(CSV\) has the fields"):
        pairs(Columns(section="findings"))
    with pytest.raises(DataError, match=r"split=test: r\.csv \(CSV\) has no splits"):
        pairs(split="test")
    with pytest.raises(DataError, match=r"split=test: p\.csv"):
        read_reports(Path("p.csv"), split="test")
    with pytest.raises(DataError, match=r"section=both: p\.csv"):
        read_reports(Path("p.csv"), Columns(section="both"))
    with pytest.raises(DataError, match="section=both beside --reference-column report"):
        pairs(Columns(section="both", reference="report"))


SECTIONED = "study_id,findings,impression\n1,Clear.,Normal.\n2,Big heart.,\n3,x,y\n"


def test_studies_without_the_section_are_left_out_of_both_files() -> None:
    found = pairs(Columns(section="impression"), references=SECTIONED)
    assert found.left_out == ("2",)
    assert list(found.predictions) == list(found.references) == ["1", "3"]
    assert (found.section, found.sections["2"]["findings"]) == ("impression", "Big heart.")
    write("p.txt", "a\nb\nc\n")  # by their place: the third stays the third
    write("r.json", dumped([{"findings": "x", "impression": t} for t in ("d", "", "f")]))
    lines = read_pairs(Path("p.txt"), Path("r.json"), Columns(section="impression"))
    assert lines.predictions == {"1": "a", "3": "c"}
    assert lines.references == {"1": "d", "3": "f"}
    with pytest.raises(DataError, match="no study has the section impression"):
        pairs(Columns(section="impression"), references="study_id,impression\n1,\n2,\n3,\n")


def test_one_section_alone_is_the_reference() -> None:
    found = pairs(references=SECTIONED.replace(",impression", "").replace(",Normal.", "")
                  .replace("heart.,", "heart.").replace(",x,y", ",x"))  # fmt: skip
    assert (found.references["3"], found.section) == ("x", "findings")


def test_the_rows_of_a_split_are_chosen() -> None:
    split = "study_id,report,split\n1,a,test\n2,b,valid\n3,c,validate\n"
    file = write("r.csv", split)
    with pytest.raises(DataError, match="2 splits: test, val"):
        read_references(file)
    assert list(read_references(file, split="val").ids) == ["2", "3"]
    assert "its test split" in read_references(file, split="test").said
    with pytest.raises(BenchError, match=r"unknown split of r\.csv 'train'"):
        read_references(file, split="train")


def test_a_column_of_ids_is_that_of_both_files() -> None:
    made = write("p.csv", "patient,report\nx1,a\nx2,b\n")
    truth = write("r.csv", "patient,reference\nx2,b\nx1,a\n")
    found = read_pairs(made, truth, Columns(id="patient"))
    assert found.predictions == found.references == {"x1": "a", "x2": "b"}
    known = write("r.csv", "study_id,reference\nx2,b\nx1,a\n")
    assert read_pairs(made, known, Columns(id="patient")).references["x2"] == "b"
    with pytest.raises(BenchError, match="unknown column"):
        read_pairs(made, known, Columns(id="case"))
    placed = read_pairs(made, write("r.csv", "patient,reference\nx2,c\nx1,d\n"),
                        Columns(in_order=True))  # fmt: skip
    assert placed.references == {"1": "c", "2": "d"}
    with pytest.raises(DataError, match="leave --in-order out"):
        pairs(Columns(in_order=True))


def test_marks_that_another_program_left_are_told() -> None:
    left = PLAIN.replace("Lungs", "&lt;Lungs").replace("Heart", "<s> Heart\\n")
    write("p.csv", left.replace('"Small, left effusion."', "nan"))
    said = "\n".join(read_pairs(Path("p.csv"), write("r.csv", PLAIN)).said)
    for words in ("HTML's entities ('&lt;')", "line break", "tokenizer's marks", "the word nan"):
        assert words in said
    assert "references hold" not in said


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (("001", "002", "003"), "leading zeros"),
        (("1.0", "2.0", "3.0"), "the .0 of a number"),
        (("s1", "s2", "s3"), "the letter in front"),
        (("1.png", "2.png", "3.png"), "the ending of a file's name"),
        (("1/0", "2/0", "3/0"), "the image's name behind the study's"),
        (("a", "b", "c"), "ids here look like '1'"),
    ],
)
def test_ids_that_differ_in_one_way_are_told(
    ids: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write("p.csv", "study_id,report\n" + "".join(f"{i},x\n" for i in ids))
    write("r.csv", PLAIN)
    assert main(["score", "p.csv", "--references", "r.csv", "--metrics", "BLEU"]) == 2
    assert words in capsys.readouterr().err


def test_the_order_of_a_set_changes_no_byte(capsys: pytest.CaptureFixture[str]) -> None:
    write("p.csv", PLAIN.replace("clear", "dark"))
    write("r.csv", PLAIN)
    first = scored(capsys)
    head, *rows = PLAIN.splitlines(keepends=True)
    write("r.csv", "".join([head, *reversed(rows)]))
    assert scored(capsys) == first
    write("p.csv", "".join([head, *reversed(rows)]).replace("clear", "dark"))
    assert scored(capsys) == first


def test_signatures_tell_a_section_that_is_not_the_findings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write("p.csv", PLAIN)
    write("r.csv", SECTIONED)
    signatures = {
        section: json.loads(scored(capsys, f"section={section}"))["scores"][0]["signature"]
        for section in ("findings", "impression", "both")
    }
    assert "section" not in signatures["findings"]
    assert "|section:impression|" in signatures["impression"]
    assert "|section:both|" in signatures["both"]


def test_words_of_a_vocabulary_may_come_in_any_order() -> None:
    found = read_vocabulary(write("w.txt", "lungs\r\nclear\r\n\r\nclear\r\n"), "iu")
    assert found.words == ("<unk>", "clear", "lungs")
    with pytest.raises(DataError, match="line 2: 'a b' is no word"):
        read_vocabulary(write("w.txt", "lungs\na b\n"), "iu")
    with pytest.raises(DataError, match="has no words"):
        read_vocabulary(write("w.txt", "\n"), "iu")
    with pytest.raises(DataError, match="no annotation with a train split"):
        read_vocabulary(write("w.json", '["lungs", "clear"]'), "iu")


def test_a_metric_that_no_treatment_is_a_text_of_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write("p.csv", PLAIN)
    write("r.csv", PLAIN)
    for metrics in ("BLEU", "BLEU,ROUGE"):
        argv = ["score", "p.csv", "--references", "r.csv", "--metrics", metrics]
        assert main([*argv, "--treatments", "raw"]) == 2
        assert "BLEU is not computed of raw" in capsys.readouterr().err


def test_a_score_that_is_no_number_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    write("p.csv", "id,report\n1,\n")
    write("r.csv", "id,report\n1,\n")
    argv = ["score", "p.csv", "--references", "r.csv", "--metrics", "diversity", "--json"]
    argv += ["--treatments", "coco@1"]
    assert main(argv) == 0
    found = capsys.readouterr()
    assert "1 references are empty" in found.err
    assert "NaN" not in found.out
    values = {row["metric"]: row.get("value", 0) for row in json.loads(found.out)["scores"]}
    assert values["diversity-length-ratio"] is None
