"""Suites as YAML: what is on disk, includes, and errors of composition."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench.config
from bench.config import compose, load_yaml, names
from bench.errors import BenchError
from bench.suites.suite import load_suite


@pytest.mark.parametrize("name", names("suite"))
def test_suites_on_disk(name: str) -> None:
    suite = load_suite(name)
    rows = [row.name for row in suite.rows]
    assert suite.title
    assert len(set(rows)) == len(rows) > 0
    assert not suite.baseline or suite.baseline in rows
    assert set(suite.floors) <= set(names("floor"))
    assert {row.model for row in suite.rows if row.model} <= set(names("model"))
    for table in suite.tables.values():
        assert set(table.rows) <= set(rows)
        if table.paper:
            paper = load_yaml("paper", table.paper)
            assert paper["source"]
            for row, values in paper["rows"].items():
                assert len(values) == len(paper["metrics"]), row
            assert set(table.rows) & set(paper["rows"]), "no row stands beside the paper's"
    tables = [t for other in names("suite") for t in load_suite(other).tables.values()]
    for row in suite.rows:
        assert set(row.ticks) <= {tick for table in tables for tick in table.ticks}


def test_the_ablations_are_twelve() -> None:
    suite = load_suite("ablations")
    assert [row.name for row in suite.rows] == [
        "BASE", "a", "b", "c", "d", "e", "f", "UAR", "uniform", "normal", "no_gate", "addition",
    ]  # fmt: skip
    assert list(suite.tables) == ["table2", "table3", "table4"]


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "suite").mkdir()
    monkeypatch.setattr(bench.config, "CONF", tmp_path)
    files = {
        "one": "title: One\nrows: [{name: A, model: m}]\ntables: {t: {title: T, rows: [A]}}\n",
        "same": "title: Same\nrows: [{name: A, model: m}, {name: B, model: m}]\n",
        "both": "title: Both\ninclude: [one, same]\nrows: [{name: C, model: n}]\nbaseline: A\n",
        "other": "title: Other\ninclude: [one]\nrows: [{name: A, model: n}]\n",
        "lost": "title: Lost\ninclude: [one]\ntables: {t: {title: T, rows: [A, Bb]}}\n",
        "typo": "title: Typo\nrows: [{name: A, modle: m}]\n",
        "empty": "",
    }
    for name, text in files.items():
        (tmp_path / "suite" / f"{name}.yaml").write_text(text)
    return tmp_path


def test_includes_come_first_and_rows_are_shared(conf: Path) -> None:
    suite = load_suite("both")
    assert [(row.name, row.model) for row in suite.rows] == [("A", "m"), ("B", "m"), ("C", "n")]
    assert list(suite.tables) == ["t"]
    assert (suite.title, suite.baseline) == ("Both", "A")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("other", "row 'A' is defined twice, differently"),
        ("typo", "'modle'\n.*did you mean 'model'"),
        ("lost", "unknown row of table t in suite lost 'Bb'"),
        ("empty", "title"),
        ("bothh", "unknown suite 'bothh'\n.*did you mean 'both'"),
    ],
)
def test_errors_of_suites(conf: Path, name: str, words: str) -> None:
    with pytest.raises(BenchError, match=words):
        load_suite(name)


# --- composition -------------------------------------------------------------------------------


def test_compose() -> None:
    config = compose(["budget=tiny", "model=uar", "model.params.tir=off", "seed=7"])
    assert config["seed"] == 7
    assert config["model"]["params"]["tir"] in ("off", False)
    assert config["model"]["params"]["d"] == config["size"]["d"] == load_yaml("size", "small")["d"]
    assert config["dataset"]["name"] == "synthetic"
    assert compose(["budget=tiny", "size=small"])["size"]["d"] == load_yaml("size", "small")["d"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("dataset=iu_xry", "unknown dataset 'iu_xry'\n.*did you mean 'iu_xray'"),
        ("dataset.trian=3", "unknown setting 'dataset.trian'\n.*did you mean 'dataset.train'"),
        ("sead=3", "unknown setting 'sead'\n.*did you mean 'seed'"),
        ("model.params.d=[", "does not compose"),
        ("model.params.d=${nowhere}", "does not compose"),
    ],
)
def test_errors_of_composition(override: str, words: str) -> None:
    with pytest.raises(BenchError, match=words) as caught:
        compose(["budget=tiny", override])
    assert caught.value.exit_code == 2
    assert "\n\n" not in str(caught.value)
