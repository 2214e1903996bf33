"""BERTScore: what it needs is named; with the package it is the package's number."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from bench import weights
from bench.errors import BenchError, MissingError
from bench.metrics import bertscore, registry

TEXTS = (["the heart is normal", ""], ["heart is normal size", "no effusion"])


def test_without_the_package_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match="needs the package bert-score") as error:
        bertscore.BERTScore().require()
    assert "pip install bert-score==0.3.13" in error.value.hint


def test_without_weights_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(MissingError, match="no weights 'bertscore-roberta-large'"):
        bertscore.BERTScoreLarge().require()


def test_choices_are_families_of_their_own() -> None:
    assert registry.family("BERTScore-F1") == "bertscore"
    assert registry.family("BERTScore-roberta-large-F1") == "bertscore-roberta-large"
    with pytest.raises(BenchError, match="1 hypotheses for 2 references"):
        bertscore.BERTScore().statistics(["a"], ["a", "b"])


def tiny_roberta(folder: Path) -> None:
    """A random model of two layers, whose tokenizer knows single bytes."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

    letters = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *bytes_to_unicode().values()]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({c: i for i, c in enumerate(letters)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=len(letters), hidden_size=16, num_hidden_layers=6, num_attention_heads=1,
        intermediate_size=16, max_position_embeddings=66, pad_token_id=1,
    )  # fmt: skip
    transformers.RobertaModel(config).save_pretrained(folder)


@pytest.mark.skipif(
    importlib.util.find_spec("bert_score") is None, reason="needs the package bert-score"
)
def test_it_is_the_packages_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bert_score import BERTScorer

    tiny_roberta(tmp_path / "made")
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "weights"))
    weights.add("bertscore-distilroberta-base", tmp_path / "made" / "model.safetensors")
    metric = bertscore.BERTScore()
    found = metric.statistics(*TEXTS)
    theirs = BERTScorer(
        model_type=str(tmp_path / "made"), num_layers=5, lang="en", device="cpu",
        rescale_with_baseline=True, baseline_path=metric._baseline(),
    ).score(*TEXTS)  # fmt: skip
    for column, part in enumerate(theirs):
        assert found[:, column] == pytest.approx(part.tolist(), abs=1e-6)
    assert found[0, 2] > found[1, 2]
    assert "|layer:5|idf:no|rescaled:yes|ckpt:" in metric.implementation()
