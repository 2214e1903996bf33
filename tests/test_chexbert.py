from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from bench import weights  # noqa: E402
from bench.errors import DataError, MissingError  # noqa: E402
from bench.metrics.clinical import chexbert, chexbert_model  # noqa: E402
from bench.metrics.clinical.observations import OBSERVATIONS  # noqa: E402

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    "the",
    "heart",
    "is",
    "normal",
    "no",
    "left",
    "right",
    "effusion",
    "edema",
    "lung",
    "clear",
    "small",
    "large",
    "of",
    "and",
    ".",
    ",",
    "##s",
]
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}


def published_state(seed: int = 0) -> OrderedDict[str, Any]:
    """A random BERT and heads, under the names of the published checkpoint."""
    torch.manual_seed(seed)
    config = transformers.BertConfig(vocab_size=len(SPECIAL + WORDS), **SIZES)
    state = OrderedDict()
    for name, value in transformers.BertModel(config).state_dict().items():
        state[f"module.bert.{name}"] = value * (9 if value.ndim == 2 else 1)  # classes differ
    # Older transformers saved this buffer; the published file has it.
    state["module.bert.embeddings.position_ids"] = torch.arange(64)[None]
    for i in range(14):
        head = torch.nn.Linear(32, 2 if i == 13 else 4)
        state[f"module.linear_heads.{i}.weight"] = head.weight.detach() * 5
        state[f"module.linear_heads.{i}.bias"] = head.bias.detach()
    return state


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder that holds a small checkpoint and its vocabulary."""
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    monkeypatch.delenv("BENCH_CACHE", raising=False)
    monkeypatch.setattr("bench.metrics.cache._folder", None)
    (tmp_path / "vocab.txt").write_text("\n".join(SPECIAL + WORDS) + "\n")
    torch.save({"model_state_dict": published_state(), "epoch": 3}, tmp_path / "chexbert.pth")
    entry = weights.entry(chexbert.VOCABULARY)
    # The lock pins bert-base's vocabulary; the tests bring a small one.
    known = weights.entries() | {
        chexbert.VOCABULARY: weights.Entry(entry.name, entry.file, entry.source, entry.licence)
    }
    monkeypatch.setattr(weights, "entries", lambda: known)
    chexbert._answers.cache_clear()
    return tmp_path


@pytest.fixture
def model(folder: Path) -> chexbert_model.Labeler:
    return chexbert_model.Labeler(folder / "chexbert.pth", folder / "vocab.txt")


def reports(n: int = 40, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS[:-1], size=rng.integers(1, 50))) for _ in range(n)]


def by_hand(folder: Path, text: str) -> list[int]:
    """One report at a time, as the authors' script: slow tokenizer, lists of pieces, no padding."""
    state = torch.load(folder / "chexbert.pth", weights_only=True)["model_state_dict"]
    state = {k.replace("module.", ""): v for k, v in state.items()}
    config = transformers.BertConfig(vocab_size=len(SPECIAL + WORDS), **SIZES)
    bert = transformers.BertModel(config).eval()
    bert.load_state_dict(
        {k.removeprefix("bert."): v for k, v in state.items() if k.startswith("bert.")},
        strict=False,
    )
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"))
    pieces = tokenizer.tokenize(text.strip())
    ids = tokenizer.convert_tokens_to_ids(["[CLS]", *pieces, "[SEP]"])
    if len(ids) > 64:
        ids = [*ids[:63], tokenizer.sep_token_id]
    with torch.no_grad():
        first = bert(torch.tensor([ids])).last_hidden_state[0, 0]
    found = []
    for i in range(14):
        logits = state[f"linear_heads.{i}.weight"] @ first + state[f"linear_heads.{i}.bias"]
        found.append(int(logits.argmax()))
    return found


def test_batched_labels_equal_the_authors_way_one_by_one(
    folder: Path, model: chexbert_model.Labeler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chexbert_model.batches, "__defaults__", (200,))
    texts = [*reports(), "", "  \n ", "HEART  Clear", "unknownword effusions", "heart " * 90]
    found = model.label(texts)
    assert found.tolist() == [by_hand(folder, " ".join(text.split())) for text in texts]
    assert len({tuple(row) for row in found.tolist()}) > 5  # the test can tell rows apart


def test_long_reports_are_cut_and_closed(model: chexbert_model.Labeler) -> None:
    row = model.pieces(["heart " * 200])[0]
    assert (len(row), row[0], row[-1]) == (64, 2, 3)
    assert model.pieces([""]) == [[2, 3]]


def test_batches_hold_every_report_once_and_respect_the_limit() -> None:
    lengths = np.random.default_rng(0).integers(2, 90, 200).tolist()
    found = list(chexbert_model.batches(lengths, tokens=256))
    assert sorted(i for batch in found for i in batch) == list(range(200))
    assert all(len(b) * max(lengths[i] for i in b) <= 256 for b in found)


def test_identical_reports_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = chexbert_model.Labeler.label

    def spy(self: chexbert_model.Labeler, texts: list[str]) -> np.ndarray:
        seen.append(len(texts))
        return real(self, texts)

    monkeypatch.setattr(chexbert_model.Labeler, "label", spy)
    texts = reports(5)
    table = chexbert.CheXbert().label([*texts, *texts, texts[0]])
    assert seen == [5]
    assert (table[:5] == table[5:10]).all()
    assert (chexbert.CheXbertMiura().label(texts) == table[:5]).all()
    assert seen == [5]  # the presets share the answers


def test_signatures_of_the_default_and_the_presets_differ(folder: Path) -> None:
    classes = [
        chexbert.CheXbert,
        chexbert.CheXbertNegative,
        chexbert.CheXbertIgnored,
        chexbert.CheXbertR2Gen,
        chexbert.CheXbertF1,
        chexbert.CheXbertRGRG,
        chexbert.CheXbertMiura,
    ]
    digest = weights.resolve("chexbert").digest[:12]
    described = [cls().implementation() for cls in classes]
    assert len(set(described)) == len({cls.name for cls in classes}) == len(classes)
    assert all(text.startswith(f"ckpt:{digest}|") for text in described)
    assert chexbert.CheXbert.treatments == ("raw",)
    assert chexbert.CheXbertR2Gen.treatments == ("r2gen@1",)


def test_equal_reports_score_what_can_be_found(folder: Path) -> None:
    metric = chexbert.CheXbert()
    texts = reports(12)
    scores = metric.corpus(metric.statistics(texts, texts))
    assert scores["CheXbert-F1-micro-14"] == 1


def test_without_weights_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(MissingError, match="no weights 'chexbert'") as e:
        chexbert.CheXbert().require()
    assert "\n" not in e.value.message
    assert "bench weights add chexbert FILE" in e.value.hint


class Malice:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_code_is_refused_and_not_run(tmp_path: Path, legacy: bool) -> None:
    path, trace = tmp_path / "chexbert.pth", tmp_path / "ran"
    content = {"model_state_dict": published_state(), "more": Malice(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(DataError, match="more than tensors"):
        chexbert_model.load(path)
    assert not trace.exists()


def test_a_bare_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "chexbert.pth", tmp_path / "ran"
    path.write_bytes(pickle.dumps({"model_state_dict": Malice(trace)}, protocol=2))
    with pytest.raises(DataError):
        chexbert_model.load(path)
    assert not trace.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_truncated_file_is_refused(folder: Path, share: float, legacy: bool) -> None:
    path = folder / "chexbert.pth"
    if legacy:
        torch.save(
            {"model_state_dict": published_state()}, path, _use_new_zipfile_serialization=False
        )
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=r"chexbert\.pth"):
        chexbert_model.load(path)


def spoiled(name: str, value: Any) -> dict[str, Any]:
    state = published_state()
    if value is None:
        del state[name]
    else:
        state[name] = value
    return {"model_state_dict": state}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "model_state_dict"),
        ({"state_dict": {}}, "model_state_dict"),
        ({"model_state_dict": {"a": 1}}, "model_state_dict"),
        ({"model_state_dict": {}}, "not hold a BERT model"),
        (spoiled("module.linear_heads.13.weight", torch.zeros(4, 32)), "head 13"),
        (spoiled("module.linear_heads.5.weight", None), "head 5 is missing"),
        (spoiled("module.linear_heads.0.bias", None), "linear_heads.0.bias"),
        (spoiled("module.bert.encoder.layer.1.output.dense.bias", None), "layer.1.output"),
    ],
)
def test_a_wrong_file_is_refused_by_name(folder: Path, content: Any, words: str) -> None:
    path = folder / "chexbert.pth"
    torch.save(content, path)
    with pytest.raises(DataError, match=words):
        chexbert_model.Labeler(path, folder / "vocab.txt")


def test_a_vocabulary_of_another_size_is_refused(folder: Path) -> None:
    (folder / "vocab.txt").write_text("\n".join(SPECIAL) + "\n")
    with pytest.raises(DataError, match="5 pieces"):
        chexbert_model.Labeler(folder / "chexbert.pth", folder / "vocab.txt")


def test_labels_follow_the_observations_order(model: chexbert_model.Labeler) -> None:
    assert model.label(reports(3)).shape == (3, len(OBSERVATIONS))
    assert set(model.label(reports(60))[:, -1].tolist()) <= {0, 1}
