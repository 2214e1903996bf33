"""The text encoder, and MGCA as the harness drives it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import BertConfig, BertModel

from bench.pretraining import probe
from mgca import bert
from mgca.model import MGCA
from mgca.text import SPECIAL, TextEncoder, Vocabulary, caption, learn_pieces

REPORTS = [
    "the heart is enlarged . small left pleural effusion .",
    "lungs are clear . no pleural effusion .",
    "right upper lobe opacity . the heart is normal in size .",
    "no pneumothorax . lungs are clear .",
]
IMAGE = {"name": "resnet_small", "width": 4}
VIT = {"name": "vit", "size": 32, "patch": 16, "width": 16, "depth": 1, "heads": 2}
TEXT = {
    "source": "scratch",
    "layers": 2,
    "width": 16,
    "heads": 2,
    "pieces": 90,
    "max_pieces": 20,
    "dropout": 0.0,
}
SMALL = {"dimensions": 8, "hidden": 16, "prototypes": 10}


@dataclass
class Batch:
    images: Tensor
    texts: list[str]
    progress: float = 0.5
    whole: None = None


def batch(progress: float = 0.5) -> Batch:
    images = torch.randn(4, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return Batch(images, REPORTS, progress)


def model(encoder: dict | None = None, **params: object) -> MGCA:
    torch.manual_seed(0)
    made = MGCA(encoder or IMAGE, TEXT, vocab_size=50, max_length=60, **{**SMALL, **params})
    made.prepare(REPORTS)
    return made


# --- text -----------------------------------------------------------------------------------------


def test_captions() -> None:
    assert caption("The heart is NORMAL . 1. no effusion, seen . stable .") == (
        "the heart is normal no effusion seen"
    )
    assert caption("normal .") == "normal"  # a report of single words keeps them
    assert caption(" . ") == ""


def test_learnt_pieces_cover_every_word() -> None:
    pieces = learn_pieces(REPORTS, 90)
    assert pieces[:5] == list(SPECIAL)
    assert len(pieces) <= 90
    assert len(set(pieces)) == len(pieces)
    ids = Vocabulary(90, 60, pieces).encode(REPORTS)
    assert not (ids == pieces.index("[UNK]")).any()
    words = [
        "".join(pieces[i].removeprefix("##") if pieces[i].startswith("##") else f" {pieces[i]}"
                for i in row if i > 4).split()
        for row in ids.tolist()
    ]  # fmt: skip
    assert words == [caption(report).split() for report in REPORTS]


def test_learnt_pieces_are_the_same_in_every_process() -> None:
    code = f"from mgca.text import learn_pieces; print(learn_pieces({REPORTS!r}, 90))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(learn_pieces(REPORTS, 90))


def test_encoding_is_cut_and_padded() -> None:
    vocabulary = Vocabulary(90, 6, learn_pieces(REPORTS, 90))
    ids = vocabulary.encode([REPORTS[0], "", REPORTS[0]])
    assert ids.shape == (3, 6)
    assert ids[0, 0] == 2
    assert ids[0, -1] == 3
    assert ids[1].tolist() == [2, 3, 0, 0, 0, 0]
    assert torch.equal(ids[0], ids[2])


def test_a_vocabulary_travels_with_the_state() -> None:
    trained, fresh = TextEncoder(**TEXT), TextEncoder(**TEXT)
    with pytest.raises(ValueError, match="prepare"):
        fresh(REPORTS)
    trained.prepare(REPORTS)
    fresh.load_state_dict(trained.state_dict())
    assert fresh.vocabulary.pieces() == trained.vocabulary.pieces()
    fresh.prepare(["other words altogether"])  # nothing: the vocabulary is fixed
    assert torch.equal(fresh.eval()(REPORTS).vectors, trained.eval()(REPORTS).vectors)


def pretrained(folder: Path, former: bool) -> BertModel:
    """A BERT folder of three layers, under today's names or under TensorFlow's."""
    pieces = learn_pieces(REPORTS, 90)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    whole = BertModel(config, add_pooling_layer=False).eval()
    for layer in whole.encoder.layer:  # attention that is far from uniform
        layer.attention.self.query.weight.data *= 60
    config.to_json_file(folder / "config.json")
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    state = whole.state_dict()
    if former:
        names = {k: f"bert.{k}" for k in state}
        names = {k: v.replace("LayerNorm.weight", "LayerNorm.gamma") for k, v in names.items()}
        names = {k: v.replace("LayerNorm.bias", "LayerNorm.beta") for k, v in names.items()}
        extra = {"cls.predictions.bias": torch.zeros(2)}
        torch.save({names[k]: v for k, v in state.items()} | extra, folder / "w.bin")
    else:
        save_file(state, folder / "w.safetensors")
    return whole


@pytest.mark.parametrize("former", [False, True])
def test_first_layers_of_a_pretrained_bert(tmp_path: Path, former: bool) -> None:
    whole = pretrained(tmp_path, former)
    file = tmp_path / ("w.bin" if former else "w.safetensors")
    encoder = TextEncoder("pretrained", file, layers=2, max_pieces=20, shifted=False).eval()
    ids = encoder.vocabulary.encode(REPORTS)
    mask = (ids != 0).long()
    states = whole(ids, attention_mask=mask, output_hidden_states=True).hidden_states
    output = encoder.model(ids, attention_mask=mask).last_hidden_state
    assert torch.allclose(output * mask[..., None], states[2] * mask[..., None], atol=1e-6)


def test_class_attention_is_the_last_layers(tmp_path: Path) -> None:
    pretrained(tmp_path, False)
    made, _ = bert.pretrained(tmp_path / "w.safetensors", 2)
    made.set_attn_implementation("eager")
    made.eval()
    ids = Vocabulary(90, 20, learn_pieces(REPORTS, 90)).encode(REPORTS)
    used = ids != 0
    output = made(
        ids, attention_mask=used.long(), output_hidden_states=True, output_attentions=True
    )
    expected = output.attentions[-1][:, :, 0].mean(1)
    assert expected.std() > 0.01
    found = bert.class_attention(made, output.hidden_states[-2], used)
    assert torch.allclose(found, expected, atol=1e-6)


def test_what_a_text_encoder_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pretrained or scratch"):
        TextEncoder("minilm")
    with pytest.raises(ValueError, match="weights file"):
        TextEncoder("pretrained")
    with pytest.raises(ValueError, match="takes none"):
        TextEncoder("scratch", tmp_path / "w.bin")
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        TextEncoder("pretrained", tmp_path / "w.bin")
    pretrained(tmp_path, False)
    with pytest.raises(ValueError, match="3 layers, not 4"):
        TextEncoder("pretrained", tmp_path / "w.safetensors", layers=4)


# --- the model ------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", [IMAGE, VIT], ids=lambda c: c["name"])
def test_every_parameter_is_grouped_and_trained(encoder: dict) -> None:
    made = model(encoder)
    terms = made.loss(batch())
    assert set(terms) == {"ita", "cta", "cpa"}
    assert all(term.ndim == 0 and torch.isfinite(term) for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    grouped = [p for group in made.groups().values() for p in group]
    assert len(grouped) == len({id(p) for p in grouped}) == len(list(made.parameters()))
    assert not [n for n, p in made.named_parameters() if p.grad is None]


def test_prototypes_wait_and_have_unit_length() -> None:
    made = model(freeze_prototypes=0.1)
    made.loss(batch(progress=0.05))["cpa"].backward()
    assert made.prototypes.weight.grad is None
    made.loss(batch(progress=0.1))["cpa"].backward()
    assert made.prototypes.weight.grad is not None
    assert torch.allclose(made.prototypes.weight.norm(dim=1), torch.ones(10))


def test_terms_are_chosen() -> None:
    assert set(model(terms=["ita", "cpa"]).loss(batch())) == {"ita", "cpa"}
    with pytest.raises(ValueError, match="ita, cta, cpa"):
        model(terms=["itc"])


def test_a_report_without_words_is_no_trouble() -> None:
    made = model()
    part = replace(batch(), texts=[*REPORTS[:3], ""])
    terms = made.loss(part)
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in made.parameters())


def test_losses_are_single_precision_under_autocast() -> None:
    made = model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = made.loss(batch())
    assert all(term.dtype == torch.float32 for term in terms.values())


def test_training_aligns_pairs() -> None:
    """Sixteen images whose brightness says which of four reports is theirs."""
    made = model(freeze_prototypes=0.0)
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-3)
    torch.manual_seed(1)
    bright = torch.arange(16) % 4
    images = 0.1 * torch.randn(16, 1, 3, 32, 32) + bright.view(-1, 1, 1, 1, 1)
    part = Batch(images, [REPORTS[i] for i in bright.tolist()])
    losses = []
    for _ in range(40):
        loss = torch.stack(list(made.loss(part).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])
    images, reports = (x.detach().numpy() for x in made.features(part))
    found = {k: v.mean() for k, v in probe.answers(images, reports, part.texts).items()}
    assert found["image_to_text/precision@1"] > 0.9  # chance: 0.25


def test_published_image_specification() -> None:
    assert model(image={"size": 32, "resize": 36}).image == {
        "size": 32, "resize": 36, "mode": "pad", "evaluate": "center", "flip": 0.0,
        "filter": "bilinear", "mean": (0.5,) * 3, "std": (0.5,) * 3, "views": 1,
    }  # fmt: skip
