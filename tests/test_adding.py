"""CONTRIBUTING.md's checklists, each followed once: everything lies in a folder outside the tree.

A model, a dataset, a metric, a floor and a suite with a paper's table are files that the checklists
name; nothing else is touched, and one command runs them together.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.config import compose, load_yaml
from bench.data.cleanings import variant
from bench.data.registry import chosen_dataset, open_dataset
from bench.data.text import clean
from bench.errors import BenchError
from bench.metrics import available, registry
from bench.runs.controls import SHUFFLED
from bench.store import RunFolder, load_spec, read_json
from bench.suites.suite import default_floors, floor_title, load_suite

ROOT = Path(__file__).resolve().parent.parent

READER = """
import hashlib

import numpy as np

from bench.data.check import Finding, Report, check
from bench.data.cleanings import variant
from bench.data.study import Dataset, Image, Study

TEXTS = ("XXXX heart is large. Lungs are clear.", "Heart is normal. XXXX lungs are clear.")


def load(root, studies=20, cleaning=None):
    found = tuple(
        Study(f"{split}{i}", f"p{split}{i}", split, (Image(f"{split}{i}", "frontal"),),
              TEXTS[i % 2])
        for split, count in (("train", studies), ("val", 6), ("test", 12))
        for i in range(count)
    )
    manifest = hashlib.sha256(repr([(s.id, s.report) for s in found]).encode()).hexdigest()
    return Dataset("my_set", found, manifest, read, cleaning=variant(**cleaning), min_count=1)


def read(image):
    grey = 200 if int(image.key.strip("trainvales")) % 2 else 50
    return np.full((40, 40), grey, np.uint8)


def check_files(root, **parameters):
    dataset = load(root, **parameters)
    return Report("my_set", (Finding("files", "ok", "all there"), *check(dataset).findings))


def prepare(root, out):
    (out / "my_set").mkdir(parents=True)
    return out / "my_set"
"""
METRIC = '''
import numpy as np

from bench.metrics.base import Metric


class Overlap(Metric):
    """Share of the reference's words that the report has."""

    name = "overlap"
    version = 1
    scores = ("overlap",)

    def statistics(self, hypotheses, references):
        pairs = zip(hypotheses, references, strict=True)
        shares = [len({*h.split()} & {*r.split()}) / max(len({*r.split()}), 1) for h, r in pairs]
        return np.array(shares, np.float64).reshape(-1, 1)

    def aggregate(self, sums, n):
        return sums / np.asarray(n)[..., None]

    def implementation(self):
        return "impl:mine"
'''
FLOOR = '''
class Shortest:
    """The shortest train report for every study."""

    def __init__(self, weights=None, seed=0):
        pass

    def write(self, material):
        return [min(material.train, key=len)] * material.count
'''
CONF = {
    "model/my_model.yaml": (ROOT / "examples/conf/model/tiny_captioner.yaml")
    .read_text(encoding="utf-8")
    .replace("tiny_captioner", "my_model")
    .replace("my_model.TinyCaptioner", "my_pkg.model.TinyCaptioner"),
    "dataset/my_set.yaml": """
name: my_set
_target_: my_pkg.data.load
studies: 24
cleaning: {base: iu, replace: [[XXXX, the]]}
image_views: 1
check: my_pkg.data.check_files
prepare: my_pkg.data.prepare
""",
    "metric/overlap.yaml": """
_target_: my_pkg.metric.Overlap
kind: language
scored: always
columns: [overlap]
compared: [overlap]
""",
    "floor/shortest.yaml": "_target_: my_pkg.floor.Shortest\ntitle: shortest train report\n",
    "suite/my_suite.yaml": """
title: My suite
baseline: narrow
rows:
  - {name: mine, model: my_model}
  - {name: narrow, model: my_model, overrides: [model.params.d=8]}
tables:
  my_table: {title: My table, paper: my_paper, rows: [narrow, mine]}
""",
    "paper/my_paper.yaml": """
source: "My paper, Table 1"
dataset: my_set
metrics: [BLEU-4, overlap]
rows: {mine: [0.123, 0.456]}
""",
}
SMALL = (
    "dataset=my_set", "budget=tiny", "budget.unit=steps", "budget.amount=6", "budget.batch=8",
    "decode.max_length=8", "model.params.width=4", "model.params.image.size=32",
    "model.params.image.resize=36",
)  # fmt: skip


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A package and a folder of YAML files, as the checklists say; no file of the project."""
    folder, before = tmp_path_factory.mktemp("mine"), signal.getsignal(signal.SIGTERM)
    model = (ROOT / "examples/tiny_captioner.py").read_text(encoding="utf-8")
    code = {"__init__": "", "model": model, "data": READER, "metric": METRIC, "floor": FLOOR}
    texts = {f"my_pkg/{name}.py": text for name, text in code.items()}
    for name, text in {**texts, **{f"conf/{k}": v for k, v in CONF.items()}}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("BENCH_CONF", str(folder / "conf"))
        patch.setenv("BENCH_DEVICE", "cpu")
        yield folder
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def made(outside: Path) -> Path:
    """The folder after `bench run my_suite`."""
    places = [f"--{name}={outside / name}" for name in ("out", "cache", "reports")]
    metrics = "--metrics=BLEU,overlap"
    assert main(["run", "my_suite", *SMALL, metrics, "--jobs=1", *places]) == 0
    return outside


def runs(folder: Path) -> dict[str, RunFolder]:
    """Class or floor, and the width of a model -> its run."""
    found = {}
    for path in (folder / "out").glob("*-s0"):
        run = RunFolder(folder / "out", path.name)
        model = load_spec(run).model
        found[f"{model.target} {model.params.get('d', '')}".strip()] = run
    return found


def test_the_suite_and_its_table(made: Path) -> None:
    [text] = [p.read_text(encoding="utf-8") for p in (made / "reports").rglob("my_table-full.md")]
    assert "### My table" in text
    head = next(line for line in text.splitlines() if line.startswith("| row"))
    assert [c.strip() for c in head.split("|")][-2] == "overlap"
    assert "| mine | paper |" in text
    assert ".456" in text
    assert "| shortest train report |" in text
    assert "Paper: My paper, Table 1." in text
    [tests] = [p.read_text(encoding="utf-8") for p in (made / "reports").rglob("*-tests.csv")]
    assert "overlap" in tests


def test_the_model_and_the_metric_in_its_scores(made: Path) -> None:
    run = runs(made)["my_pkg.model.TinyCaptioner 128"]
    scores = [s for s in read_json(run / "scores.json") if s["metric"] == "overlap"]
    assert {s["control"] for s in scores} >= {"", SHUFFLED}
    for found in scores:  # ends of intervals are kept to twelve digits
        assert 0 <= found["ci_low"] <= found["value"] + 1e-12
        assert found["value"] <= found["ci_high"] + 1e-12 <= 1 + 1e-12
    assert scores[0]["signature"].endswith("impl:mine|v:1")
    places = [f"--{name}={made / name}" for name in ("out", "cache")]
    assert main(["verify", run.run_id, "--rerun=2", "--rescore", *places]) == 0


def test_the_floor_writes_and_stands_last(made: Path) -> None:
    run = runs(made)["my_pkg.floor.Shortest"]
    reports = (run / "predictions.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert len({line.partition(",")[2] for line in reports}) == 1
    own = ("constant", "constant_cider", "frequent", "no_finding", "random", "nearest")
    assert default_floors() == (*own, "shortest")
    assert floor_title("shortest") == "shortest train report"
    assert floor_title("mine") == "mine"


def test_the_dataset(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "my_set"]) == 0
    assert "files             all there" in capsys.readouterr().out
    assert main(["data", "prepare", "my_set", "--out", str(tmp_path)]) == 0
    assert f"BENCH_DATA={tmp_path}" in capsys.readouterr().out
    dataset = open_dataset("my_set")
    [first, *_] = dataset.split("train")
    assert clean(first.report, dataset.cleaning) == "the heart is large . lungs are clear ."
    spec = load_spec(runs(made)["my_pkg.model.TinyCaptioner 128"])
    assert spec.data.params["cleaning"] == {"base": "iu", "replace": [["XXXX", "the"]]}


def test_everything_is_listed_with_its_file(
    outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list"]) == 0
    listed = "".join(capsys.readouterr().out.split())  # long lines are broken
    for name in CONF:
        assert str(outside / "conf" / name) in listed
    assert str(ROOT / "bench") not in listed


def test_without_the_folder_nothing_of_it_is_known(
    outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "overlap" in registry.names()
    assert "overlap" in available.unasked()
    monkeypatch.delenv("BENCH_CONF")
    assert "overlap" not in registry.names()
    assert "shortest" not in default_floors()
    with pytest.raises(BenchError, match="unknown suite 'my_suite'"):
        load_suite("my_suite")


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model/st.yaml", "suite/table1.yaml", "floor/random.yaml"])
def test_two_files_of_a_name_are_both_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text("title: mine\n")
    monkeypatch.setenv("BENCH_CONF", str(tmp_path))
    with pytest.raises(BenchError, match="two files define") as caught:
        compose(["model=st"])
    assert str(tmp_path / name) in str(caught.value)
    assert str(ROOT / "bench" / "conf" / name) in str(caught.value)


@pytest.mark.parametrize("name", ["absent", "models"])
def test_a_folder_without_groups_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "models" / "models").mkdir(parents=True)
    monkeypatch.setenv("BENCH_CONF", str(tmp_path / name))
    with pytest.raises(BenchError, match=rf"{name}, which holds no folder.*\n.*metric/, model/"):
        compose(["model=st"])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("odd", "_target_: nowhere.Odd", r"cannot import 'nowhere\.Odd'"),
        ("odd", "_target_: my_pkg.metric.Odd", "cannot import"),
        ("odd", "_target_: my_pkg.metric.Overlap", "score 'overlap'"),
        ("odd", "_target_: my_pkg.metric.Overlap\nkind: langauge", "did you mean 'language'"),
        ("odd", "_target_: my_pkg.metric.Overlap\nscorde: always", "did you mean 'scored'"),
        ("odd", "_target_: my_pkg.metric.Overlap\ncompared: [odd]", "compared of metric"),
        ("bleu", "_target_: my_pkg.metric.Overlap", "a metric of"),
    ],
)
def test_a_metric_that_cannot_be_is_refused(
    outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, words: str
) -> None:
    (tmp_path / "metric").mkdir()
    (tmp_path / "metric" / f"{name}.yaml").write_text(text)
    monkeypatch.setenv("BENCH_CONF", str(tmp_path))
    with pytest.raises(BenchError, match=words):
        registry.load(name)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [("mine.yaml", b"a: [", "cannot be read"), ("mine.yaml", b"\xff\xfe", "cannot be read"),
     ("mine.yaml", b"- a", "no map"), ("mine.yml", b"title: mine", "would not be read")],
)  # fmt: skip
def test_a_yaml_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: bytes, words: str
) -> None:
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / name).write_bytes(text)
    monkeypatch.setenv("BENCH_CONF", str(tmp_path))
    with pytest.raises(BenchError, match=rf"mine\.ya?ml.* {words}|mine\.yaml holds {words}"):
        load_yaml("suite", "mine")


def test_a_cleaning_is_named_after_its_rules() -> None:
    one, same, other = (variant("iu", [["a", new]]) for new in ("b", "b", "c"))
    assert one == same != other
    assert clean("A cat. 1. a dog", one) == clean("A cbt. 1. b dog", "iu")
    assert variant("mimic", [["a", "b"]]) != one
    with pytest.raises(BenchError, match="unknown cleaning 'ui'"):
        variant("ui", [])
    with pytest.raises(BenchError, match="not a replacement"):
        variant("iu", ["ab"])


def test_a_sample_of_any_dataset() -> None:
    few = chosen_dataset({"dataset": "synthetic", "dataset.sample": "3"})
    assert [len(few.split(s)) for s in ("train", "val", "test")] == [3, 3, 3]
    assert compose(["dataset.sample=3"])["dataset"]["sample"] == 3
    assert {s.id for s in few.studies} < {s.id for s in open_dataset("synthetic").studies}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ([], "bench run single model=NAME"),
        (["model=mgca"], "bench pretrain mgca"),
        (["model=sst"], "did you mean 'st'"),
    ],
)
def test_the_suite_for_one_model_says_what_it_needs(
    settings: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "single", *settings, "--dry-run"]) == 2
    assert words in capsys.readouterr().err
