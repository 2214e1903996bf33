"""Scoring texts against texts: as a library, and coco@1 as pycocoevalcap's own evaluation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bench
from bench.__main__ import main
from bench.data.text import Vocabulary
from bench.errors import BenchError, DataError
from bench.metrics import own_references, per_report, ptb, registry
from bench.metrics.explain import Explained, rendered
from bench.metrics.measuring import Later
from bench.metrics.scoring import score as score_dataset
from bench.scripts import against_pycocoevalcap

ROOT = Path(__file__).resolve().parent.parent
MADE = ["The lungs are clear .", "", "Small left effusion .", "Stable ."]
TRUTH = ["Lungs are clear .", "Heart is normal .", "Small left effusion .", "Normal chest ."]
WORDS = Vocabulary((".", "<unk>", "are", "clear", "effusion", "left", "lungs", "small"))
LIGHT = ["BLEU", "ROUGE-L", "CIDEr"]


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ptb, "tokenize", lambda texts: [t.lower().replace(" .", "") for t in texts])


def test_coco_equals_pycocoevalcap() -> None:
    """METEOR, which takes it ten seconds, too: `python -m bench.scripts.against_pycocoevalcap`."""
    pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer")
    try:  # its tokenizer writes beside its own source
        found = against_pycocoevalcap.differences(200, LIGHT)
    except PermissionError:
        pytest.skip("pycocoevalcap is installed read-only")
    assert set(found) == {"BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr"}
    assert max(found.values()) < 1e-9, found


def test_the_files_of_that_comparison_hold_what_is_hard() -> None:
    made, truth = against_pycocoevalcap.pairs(200)
    assert len(made) == len(truth) == 200
    assert "" in made
    assert len(set(made)) < 150
    assert any(len(text.split()) == 1 for text in made)
    assert any("\n" in text for text in made + truth)


@pytest.mark.usefixtures("tokens")
def test_lists_and_maps_give_the_same_scores() -> None:
    lists = bench.score(MADE, TRUTH, metrics=LIGHT)
    ids = [str(i) for i in range(1, 5)]
    maps = bench.score(
        dict(zip(ids, MADE, strict=True)), dict(zip(ids, TRUTH, strict=True)), metrics=LIGHT
    )
    assert lists.as_json() == maps.as_json()
    assert lists.value("BLEU-1", "coco@1") == pytest.approx(maps.value("BLEU-1", "full@1"))
    assert 0 < lists.value("ROUGE-L", "coco@1") < 1


@pytest.mark.usefixtures("tokens")
def test_r2gen_needs_a_vocabulary_and_says_so() -> None:
    without = bench.score(MADE, TRUTH, metrics=["BLEU"])
    reason = next(s.unavailable for s in without if s.treatment == "r2gen@1")
    assert "not available" in reason
    assert "--vocabulary" in reason
    given = bench.score(MADE, TRUTH, metrics=["BLEU"], vocabulary=WORDS)
    words = bench.score(MADE, TRUTH, metrics=["BLEU"], vocabulary=WORDS.words)
    assert given.value("BLEU-1", "r2gen@1") == words.value("BLEU-1", "r2gen@1")
    source = own_references.dataset({str(i): t for i, t in enumerate(TRUTH, start=1)})
    made = {str(i): t for i, t in enumerate(MADE, start=1)}
    direct = score_dataset(made, source, "test", ["BLEU"], ["r2gen@1"], words=WORDS)
    assert given.dataset == f"own references, vocabulary {WORDS.digest[:6]}"
    assert given.value("BLEU-4", "r2gen@1") == direct.value("BLEU-4", "r2gen@1")


@pytest.mark.usefixtures("tokens")
def test_nothing_is_said_of_a_train_split_that_is_not_there() -> None:
    found = bench.score(MADE, TRUTH, metrics=["diversity"])
    copied = [s for s in found if s.metric == "diversity-copied"]
    assert [s.value for s in copied] == [None, None]
    assert "train split" in copied[0].unavailable
    assert found.value("diversity-unique", "coco@1") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((["a"], ["a", "b"]), "1 predictions for 2 references"),
        (("a", "b"), "predictions is one text"),
        ((["a"], {"1": "a"}), "a list was given beside a map"),
        (({"1": "a"}, {"2": "a"}), "1 study id not in this split"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(arguments: tuple[object, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        bench.score(*arguments, metrics=["BLEU"])  # type: ignore[arg-type]


def series(texts: list[str], index: list[int]) -> object:
    return pytest.importorskip("pandas").Series(texts, index=index)


@pytest.mark.usefixtures("tokens")
def test_whatever_has_an_order_is_a_list() -> None:
    expected = bench.score(MADE, TRUTH, metrics=["BLEU"]).as_json()
    made = (
        tuple(MADE), (t for t in MADE), dict.fromkeys(MADE).keys(), np.array(MADE),
        np.array(MADE, dtype=object), series(MADE, [3, 1, 2, 9]), [MADE[0], None, *MADE[2:]],
        [MADE[0], float("nan"), *MADE[2:]],
    )  # fmt: skip
    for given in made:
        assert bench.score(given, TRUTH, metrics=["BLEU"]).as_json() == expected  # type: ignore[arg-type]
    numbers = dict(enumerate(MADE, start=1))
    words = {str(i): t for i, t in enumerate(TRUTH, start=1)}
    assert bench.score(numbers, words, metrics=["BLEU"]).as_json() == expected  # type: ignore[arg-type]


@pytest.mark.usefixtures("tokens")
def test_a_map_in_another_order_is_the_same_set() -> None:
    made, truth = ({f"s{i}": t for i, t in enumerate(side, 8)} for side in (MADE, TRUTH))
    found = bench.score(made, truth, metrics=LIGHT)
    turned = bench.score(made, dict(reversed(truth.items())), metrics=LIGHT)
    assert turned.as_json() == found.as_json()
    assert found.ids == ("s8", "s9", "s10", "s11")


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((None, ["a"]), {}, "predictions is None"),
        ((["a"], 3), {}, "references is of type int"),
        ((b"a", ["a"]), {}, "predictions is one text"),
        (({"a"}, ["a"]), {}, "predictions is a set"),
        ((["a", 3], ["a", "b"]), {}, r"predictions\[1\] is of type int: 3"),
        ((["a"], [["b"]]), {}, r"references\[0\] is of type list"),
        ((np.zeros(()), ["b"]), {}, "predictions is of type ndarray of one element"),
        ((np.zeros((1, 2)), ["b"]), {}, r"predictions\[0\] is of type list"),
        (({1.5: "a"}, {"1": "a"}), {}, "predictions: the id 1.5 is of type float"),
        (({1: "a", "1": "b"}, {"1": "a"}), {}, "predictions: the id '1' is given twice"),
        (([], []), {}, "references are empty"),
        ((["a"], ["a"]), {"metrics": "BLEU"}, "metrics is one text"),
        ((["a"], ["a"]), {"metrics": [3]}, r"metrics\[0\] is of type int"),
        ((["a"], ["a"]), {"metrics": None}, "metrics is None"),
        ((["a"], ["a"]), {"treatments": "raw"}, "treatments is one text"),
        ((["a"], ["a"]), {"vocabulary": "words.txt"}, "vocabulary is one text"),
        ((["a"], ["a"]), {"vocabulary": 3}, "vocabulary is of type int"),
        ((["a"], ["a"]), {"cleaning": None}, "unknown cleaning 'None'"),
        ((["a"], ["a"]), {"section": "x"}, "unknown section 'x'"),
        ((["a"], ["a"]), {"missing": None}, "missing=None"),
        ((["a"], ["a"]), {"cache": 3}, "cache is of type int"),
        ((["a"], ["a"]), {"progress": None}, "progress is None"),
        ((["a"], ["a"]), {"metrics": ["BLEU"], "treatments": ["raw"]}, "BLEU is not computed of"),
    ],
)
@pytest.mark.usefixtures("tokens")
def test_an_argument_of_another_kind_is_named(
    arguments: tuple[object, object], options: dict[str, object], words: str
) -> None:
    with pytest.raises(BenchError, match=words):
        bench.score(*arguments, **({"metrics": ["BLEU"]} | options))  # type: ignore[arg-type]


def test_columns_of_tables_are_not_paired_across_their_index() -> None:
    with pytest.raises(DataError, match="other indices"):
        bench.score(series(["a", "b"], [1, 2]), series(["b", "a"], [2, 1]), metrics=["BLEU"])  # type: ignore[arg-type]
    table = pytest.importorskip("pandas").DataFrame({"report": ["a"]})
    with pytest.raises(DataError, match="predictions is a table"):
        bench.score(table, ["a"], metrics=["BLEU"])


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(BenchError, match="did you mean 'coco@1'"):
        bench.score(["a"], ["a"], treatments=["coco@2"])
    with pytest.raises(BenchError, match="unknown cleaning 'chexpert'"):
        bench.score(["a"], ["a"], metrics=["BLEU"], cleaning="chexpert")


def test_a_metric_that_is_known_and_not_here_is_refused_with_its_reason() -> None:
    for name, why in registry.NOT_HERE.items():
        with pytest.raises(BenchError, match=f"{name} is not computed here") as error:
            bench.score(["a"], ["a"], metrics=[name])
        assert why in str(error.value)
    text = (ROOT / "docs" / "metrics.md").read_text()
    table = text.split("## Known, and not here")[1]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    assert rows[1:] == list(registry.NOT_HERE)


SCRIPT = """
import sys
from bench import score
made = ["The lungs are clear.", "No effusion."]
scored = score(made, ["Lungs are clear.", "No pleural effusion."], metrics=["BLEU"], cache="kept")
print(scored.value("BLEU-1", "coco@1"))
heavy = {"torch", "pandas", "transformers", "matplotlib", "hydra", "PIL"} & set(sys.modules)
sys.exit(", ".join(heavy) or 0)
"""


def test_a_script_needs_no_torch_and_writes_into_the_cache_alone(tmp_path: Path) -> None:
    """Like a notebook: no guard around it, in a folder of its own."""
    apart = tmp_path / "tmp"
    apart.mkdir()
    known = {"PYTHONPATH": str(ROOT), "TMPDIR": str(apart), "HOME": str(tmp_path)}
    environment = {k: v for k, v in os.environ.items() if k != "BENCH_CACHE"} | known
    done = subprocess.run(
        [sys.executable, "-B", "-c", SCRIPT],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(5 / 6)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept", "tmp"]
    assert not list(apart.iterdir())


@pytest.mark.usefixtures("tokens")
def test_scores_of_each_report() -> None:
    scored = bench.score(MADE, TRUTH, metrics=[*LIGHT, "chexpert-rules"])
    found = per_report.columns(scored)
    assert found["ROUGE-L coco@1"].tolist()[1:3] == [0, 1]
    assert np.mean(found["CIDEr coco@1"]) == pytest.approx(scored.value("CIDEr", "coco@1"))
    lines = per_report.as_csv(scored).splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("study_id,BLEU-1 coco@1,")
    assert lines[0].endswith("chexpert-rules-F1-example-14 raw")
    shown = list(per_report.extremes(scored, MADE, TRUTH, 1))
    assert shown[1] == "  2 (0.000)  [-Heart is normal .-]"
    assert shown[3] == "  3 (1.000)  Small left effusion ."


def test_differences_are_marked_word_by_word() -> None:
    marked = per_report.marked("The lungs are clear, no effusion.", "Lungs are CLEAR. No PTX")
    assert marked == "{+The+} lungs are clear, no [-PTX-] {+effusion.+}"


def test_explain_changes_one_thing_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ptb, "tokenize", lambda texts: [t.lower().replace(".", "") for t in texts])
    monkeypatch.setattr("bench.metrics.explain.SCORES", ("BLEU-1", "BLEU-4"))
    source = own_references.dataset({str(i): t for i, t in enumerate(TRUTH)})
    rows = Explained(source, "test", MADE, WORDS).rows()
    named = {row.name: row for row in rows}
    cased = named["lower case"].values["BLEU-1"] - named["as written"].values["BLEU-1"]
    assert cased > 0
    assert named["lower case"].moved == pytest.approx(
        named["lower case"].values["BLEU-4"] - named["as written"].values["BLEU-4"]
    )
    made = bench.score(MADE, TRUTH, metrics=["BLEU"], vocabulary=WORDS)
    for name in ("coco@1", "full@1", "r2gen@1"):
        row = next(r for r in rows if r.name.endswith(f": {name}"))
        assert row.values["BLEU-4"] == pytest.approx(made.value("BLEU-4", name)), name
    assert named["coco@1, empty reports left out"].n == 3
    constant = [row for row in rows if row.name.startswith("constant report, of these references")]
    assert len(constant) == 3
    assert "r2gen@1" in rendered("x", rows)


def test_an_error_in_the_thread_of_a_slow_metric_is_raised() -> None:
    def fails() -> np.ndarray:
        raise ValueError("of the thread")

    later = Later(fails)
    with pytest.raises(ValueError, match="of the thread"):
        later.result()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--explain", "--json"], "not --json"),
        (["--explain", "--per-report", "x.csv"], "not --per-report"),
        (["--show", "1", "--json"], "no JSON"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    tmp_path: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.csv").write_text("id,prediction,reference\n1,a b,a c\n")
    assert main(["score", str(tmp_path / "p.csv"), *options]) == 2
    assert words in capsys.readouterr().err
