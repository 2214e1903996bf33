from __future__ import annotations

import importlib.util
import io
import json
import pickle
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bench import weights
from bench.errors import DataError, MissingError
from bench.metrics.clinical import radgraph
from bench.metrics.clinical.radgraph_rewards import LEVELS, reward, rewards

WORDS = ["effusion", "left", "small", "opacity", "heart", "no"]
LABELS = ["Observation::definitely present", "Anatomy::definitely present"]
KINDS = ["modify", "located_at", "suggestive_of"]


def annotation(rng: np.random.Generator, words: list[str] = WORDS) -> dict[str, Any]:
    n = int(rng.integers(0, 6))
    entities: dict[str, Any] = {}
    for i in range(1, n + 1):
        links = [
            [str(rng.choice(KINDS)), str(rng.integers(1, n + 1))] for _ in range(rng.integers(0, 3))
        ]
        entities[str(i)] = {
            "tokens": str(rng.choice(words)),
            "label": str(rng.choice(LABELS)),
            "relations": links,
        }
    return {"entities": entities}


@pytest.fixture(scope="module")
def package() -> ModuleType:
    """`radgraph/rewards.py` by path: importing the package takes seconds and a model's stack."""
    found = importlib.util.find_spec("radgraph")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the radgraph package is not installed")
    path = Path(next(iter(found.submodule_search_locations))) / "rewards.py"
    spec = importlib.util.spec_from_file_location("radgraph_rewards_of_package", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rewards_equal_the_packages_on_lower_case_annotations(package: ModuleType) -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        h, r = annotation(rng), annotation(rng)
        assert rewards(h, r) == pytest.approx(package.compute_reward(h, r, "all"), abs=1e-15)


def test_case_does_not_matter_here_but_does_in_the_package(package: ModuleType) -> None:
    entity = {"label": LABELS[0], "relations": []}
    h = {"entities": {"1": {"tokens": "Effusion", **entity}}}
    r = {"entities": {"1": {"tokens": "effusion", **entity}}}
    assert rewards(h, r) == (1, 1, 1)
    assert package.compute_reward(h, r, "all") == (0, 0, 0)


@pytest.mark.parametrize("level", LEVELS)
def test_an_empty_side_scores_zero(level: str) -> None:
    some = {"entities": {"1": {"tokens": "heart", "label": "x", "relations": []}}}
    none: dict[str, Any] = {"entities": {}}
    assert reward(none, some, level) == reward(some, none, level) == reward(none, none, level) == 0
    assert reward(some, some, level) == 1


def test_levels_grow_stricter() -> None:
    def graph(target: str) -> dict[str, Any]:
        return {
            "entities": {
                "1": {"tokens": "effusion", "label": "o", "relations": [["located_at", "2"]]},
                "2": {"tokens": target, "label": "a", "relations": []},
            }
        }

    plain = {"entities": {"1": {"tokens": "effusion", "label": "o", "relations": []}}}
    assert rewards(graph("left"), graph("right")) == pytest.approx((0.5, 0.5, 0))
    assert rewards(plain, graph("left")) == pytest.approx((2 / 3, 0, 0))


def test_without_weights_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(MissingError, match="no weights 'radgraph-xl'") as caught:
        radgraph.RadGraphXLF1().require()
    assert "\n" not in caught.value.message
    assert "bench weights add radgraph-xl" in caught.value.hint


def test_an_encoder_that_is_not_here_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    name = "somebody/no-such-encoder"
    config = {
        "dataset_reader": {"token_indexers": {"bert": {"model_name": name}}},
        "model": {"embedder": {"token_embedders": {"bert": {"model_name": str(tmp_path)}}}},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="not hold a RadGraph model"):
        radgraph.require_local(tmp_path)
    (tmp_path / "weights.th").write_bytes(b"")
    with pytest.raises(MissingError, match=name):
        radgraph.require_local(tmp_path)


def test_reports_are_lower_cased_and_annotated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def model(texts: list[str]) -> dict[str, Any]:
        seen.append(texts)
        entity = {"label": LABELS[0], "relations": []}
        return {
            str(i): {"entities": {"1": {"tokens": text, **entity}}, "text": text}
            for i, text in enumerate(texts)
        }

    monkeypatch.delenv("BENCH_CACHE", raising=False)
    monkeypatch.setattr("bench.metrics.cache._folder", None)
    monkeypatch.setattr(radgraph.RadGraphF1, "require", lambda self: None)
    monkeypatch.setattr(radgraph, "_model", lambda folder: model)
    monkeypatch.setattr(radgraph.weights, "unpacked", lambda name: Path("nowhere"))
    resolved = weights.Resolved(Path("nowhere"), "f" * 64)
    monkeypatch.setattr(radgraph.weights, "resolve", lambda name: resolved)
    radgraph._answers.cache_clear()
    metric = radgraph.RadGraphF1()
    table = metric.statistics(["Effusion", "", "effusion", "heart"], ["effusion", "x", "Heart", ""])
    assert seen == [["effusion", "heart", "x"]]
    assert table.tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert metric.corpus(table)["RadGraph-F1-partial"] == 0.25
    assert "model:radgraph|case:lower|ckpt:ffffffffffff" in metric.implementation()
    radgraph._answers.cache_clear()


# --- archives that are not what they should be ------------------------------------------------


class Malice:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


CONFIG = {
    "dataset_reader": {"token_indexers": {"bert": {"model_name": "."}}},
    "model": {"embedder": {"token_embedders": {"bert": {"model_name": "."}}}},
}


def archive(path: Path, **members: bytes) -> Path:
    """A tar.gz; `__` in a member's name is a full stop."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def saved(content: Any, legacy: bool = False) -> bytes:
    torch = pytest.importorskip("torch")
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


@pytest.fixture
def annotate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[radgraph.Annotation]]:
    """Annotate with an added archive of these members; the package must not be reached."""
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.delenv("BENCH_CACHE", raising=False)
    monkeypatch.setattr("bench.metrics.cache._folder", None)
    monkeypatch.setitem(sys.modules, "radgraph", None)
    radgraph._model.cache_clear()

    def run(**members: bytes) -> list[radgraph.Annotation]:
        weights.add("radgraph", archive(tmp_path / "r.tar.gz", **members))
        return radgraph.RadGraphF1().annotate(["effusion"])

    return run


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_code_in_an_archive_is_refused_and_not_run(
    annotate: Callable[..., Any], tmp_path: Path, legacy: bool
) -> None:
    trace = tmp_path / "ran"
    bad = saved({"weight": Malice(trace)}, legacy)
    with pytest.raises(DataError, match=r"weights\.th holds more than tensors"):
        annotate(config__json=json.dumps(CONFIG).encode(), weights__th=bad)
    assert not trace.exists()


def test_a_bare_pickle_in_an_archive_is_refused_and_not_run(
    annotate: Callable[..., Any], tmp_path: Path
) -> None:
    trace = tmp_path / "ran"
    bad = pickle.dumps(Malice(trace), protocol=2)
    with pytest.raises(DataError, match=r"weights\.th"):
        annotate(config__json=json.dumps(CONFIG).encode(), weights__th=bad)
    assert not trace.exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_tensors_in_an_archive_are_refused(
    annotate: Callable[..., Any], share: float
) -> None:
    torch = pytest.importorskip("torch")
    whole = saved({"weight": torch.zeros(500)})
    with pytest.raises(DataError, match=r"weights\.th"):
        annotate(
            config__json=json.dumps(CONFIG).encode(), weights__th=whole[: int(len(whole) * share)]
        )


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"readme": b"hello"}, "not hold a RadGraph model"),
        ({"config__json": b"{}", "weights__th": b""}, "is not a RadGraph configuration"),
        ({"config__json": b"not json", "weights__th": b""}, "is not a RadGraph configuration"),
        ({"config__json": json.dumps(CONFIG).encode()}, "not hold a RadGraph model"),
        ({"____/____/escaped": b"x"}, "cannot be unpacked"),
    ],
)
def test_a_wrong_archive_is_refused_by_name(
    annotate: Callable[..., Any], tmp_path: Path, members: dict[str, bytes], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        annotate(**members)
    assert not list(tmp_path.rglob("escaped"))


def test_a_state_dict_of_something_else_is_no_radgraph(annotate: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match="not a state dict"):
        annotate(config__json=json.dumps(CONFIG).encode(), weights__th=saved([1, 2]))


def test_what_the_package_cannot_load_is_an_error_that_names_the_folder(
    annotate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")

    def fail(**given: str) -> None:
        raise RuntimeError("Error(s) in loading state_dict for DyGIE:\n\tmissing keys")

    monkeypatch.setitem(sys.modules, "radgraph", ModuleType("radgraph"))
    monkeypatch.setattr(sys.modules["radgraph"], "RadGraph", fail, raising=False)
    tensors = saved({"weight": torch.zeros(2)})
    with pytest.raises(DataError, match=r"not fit the radgraph package: Error\(s\) in loading"):
        annotate(config__json=json.dumps(CONFIG).encode(), weights__th=tensors)
