"""UAR: the variants of Tables 2-4, their losses, decoding and figures."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from variants import CODEBOOK, OFF, SIZE, SMALL, TABLE2, VARIANTS, WORDS, build, make_batch

from baselines.base import Base
from bench.model import ImageSpec
from uar.model import UAR, State, share


def whole_report(model: UAR, images: Tensor, tokens: Tensor) -> Tensor:
    """Logits by teacher forcing of a report whose every prefix is recomputed from nothing."""
    visual = model.look(images)[1]
    bias = model._refined(model._seen(visual))
    rows = []
    for t in range(1, tokens.shape[1] + 1):
        text = model.place_text(model.read(tokens[:, :t]))
        states, _ = model.decoder(text, model.decoder.start(visual), bias)
        rows.append(model.head(states[:, -1]))
    return torch.stack(rows, dim=1)


def test_with_everything_off_it_is_base() -> None:
    model = build(OFF)
    base = Base(WORDS, 12, **SMALL).eval()
    base.load_state_dict(model.state_dict())
    batch = make_batch(OFF)
    assert torch.equal(model.loss(batch)["ce"], base.loss(batch)["ce"])
    one, two = model.encode(batch.images), base.encode(batch.images)
    begin = batch.tokens[:, 0]
    assert torch.equal(model.step(begin, one)[0], base.step(begin, two)[0])
    for a, b in zip(model.features(batch), base.features(batch), strict=True):
        assert torch.equal(a, b)
    assert model.image == base.image


@pytest.mark.parametrize("name", VARIANTS)
def test_steps_equal_teacher_forcing(name: str) -> None:
    model, batch = build(VARIANTS[name]), make_batch(VARIANTS[name])
    expected = whole_report(model, batch.images, batch.tokens)
    state = model.encode(batch.images)
    for t in range(batch.tokens.shape[1]):
        logits, state = model.step(batch.tokens[:, t], state)
        torch.testing.assert_close(logits, expected[:, t], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", VARIANTS)
def test_reordered_hypotheses_equal_their_own_prefixes(name: str) -> None:
    """Three studies with two hypotheses each; study 1 is dropped on the way."""
    model, batch = build(VARIANTS[name]), make_batch(VARIANTS[name], 3)
    torch.manual_seed(2)
    words = torch.randint(1, WORDS, (6, 5))
    state = model.reorder(model.encode(batch.images), torch.arange(3).repeat_interleave(2))
    for t in range(3):
        _, state = model.step(words[:, t], state)
    index, kept = torch.tensor([1, 1, 5, 4]), torch.tensor([0, 2])
    state = model.reorder(state, index, kept)
    for t in range(3, 5):
        logits, state = model.step(words[:4, t], state)
    prefix = torch.cat((words[index, :3], words[:4, 3:]), dim=1)
    images = batch.images[kept].repeat_interleave(2, dim=0)
    expected = whole_report(model, images, prefix)[:, -1]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_reorder_leaves_what_belongs_to_a_study() -> None:
    model, batch = build({"refiner": {"form": "content"}}), make_batch({})
    state: State = model.encode(batch.images)
    moved = model.reorder(state, torch.tensor([1, 0, 3, 2]))
    assert moved.seen is state.seen
    assert moved.basis is state.basis
    assert moved.cache.visual[0] is state.cache.visual[0]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_is_in_one_group_and_gets_a_gradient(name: str) -> None:
    model, batch = build(VARIANTS[name]), make_batch(VARIANTS[name])
    groups = model.groups()
    listed = [id(p) for group in groups.values() for p in group]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    sum(model.train().loss(batch).values()).backward()
    names = {id(p): n for n, p in model.named_parameters()}
    # A key bias adds a constant to a row of logits, which softmax ignores.
    silent = [
        names[i]
        for i, p in ((id(p), p) for group in groups.values() for p in group)
        if p.grad is None or not p.grad.any()
    ]
    assert [n for n in silent if not n.endswith(".k.bias")] == []
    assert all(p.grad is not None for group in groups.values() for p in group)


def test_loss_terms_are_those_of_the_parts_that_are_on() -> None:
    for name, terms in {
        "base": {"ce"},
        "a": {"ce"},
        "b": {"ce"},
        "c": {"ce", "align"},
        "d": {"ce", "align"},
        "e": {"ce", "align"},
        "uar": {"ce", "align", "mask"},
    }.items():
        model = build(TABLE2[name])
        assert set(model.loss(make_batch(TABLE2[name]))) == terms, name


def test_gradients_of_the_alignment_reach_both_modalities() -> None:
    model, batch = build({}), make_batch({})
    model.loss(batch)["align"].backward()
    for part in (model.visual.weight, model.words.weight, model.cra.gamma, model.cra.beta):
        assert part.grad is not None
        assert part.grad.any()
    assert model.head.weight.grad is None


def test_pooling_leaves_out_what_is_no_word() -> None:
    options = {**OFF, "lsu": True, "align": True}
    batch = make_batch(options)
    own = batch.tokens[1][batch.tokens[1] != 0]
    for pooling in ("words", "tokens", "max"):
        model = build({**options, "triplet": {"pooling": pooling}})
        words, begin = model.words(own), model.words(torch.tensor([0]))
        expected = {
            "words": words.mean(0),
            "tokens": torch.cat((words, begin, begin)).mean(0),
            "max": words.amax(0),
        }
        torch.testing.assert_close(model.features(batch)[1][1], expected[pooling])


def test_image_declarations() -> None:
    codes, pixels = ImageSpec(**build({}).image), ImageSpec(**build(OFF).image)
    assert (codes.kind, codes.mean, codes.std, codes.flip) == ("codes", (0,) * 3, (1,) * 3, 0)
    assert (pixels.kind, pixels.mean[0]) == ("pixels", 0.485)
    assert codes.size == pixels.size == 32


def test_summed_cross_entropy_is_eq_5() -> None:
    batch = make_batch({})
    mean = build({}).loss(batch)["ce"]
    total = build({"ce": "sum"}).loss(batch)["ce"]
    tokens = float((batch.lengths - 1).sum())
    torch.testing.assert_close(total, mean * tokens / len(batch.lengths))


def test_loss_in_bfloat16_is_float32_and_near() -> None:
    for name in ("uar", "focus", "cnn"):
        model, batch = build(VARIANTS[name]), make_batch(VARIANTS[name])
        exact = model.loss(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = model.loss(batch)
            sum(low.values()).backward()
        for term, value in low.items():
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, exact[term], rtol=0.05, atol=0.05)


def test_diagnosis_of_an_inert_and_of_a_working_mask() -> None:
    batch = make_batch({})
    torch.manual_seed(0)
    model = UAR(WORDS, 12, codebook_size=CODEBOOK, **SMALL, cra={"size": SIZE}).train()
    inert = model.diagnose(batch)
    assert model.training
    assert inert["tir/inert"] == 1
    assert inert["tir/total_variation"] == 0
    assert inert["tir/sigma_mean"] == 0.5
    assert inert["cra/gram"] < 1e-5
    assert 0 < inert["cra/report_share"] < 0.5
    assert 0 < inert["tir/entropy"] <= math.log(32)
    torch.nn.init.normal_(model.tir.M)
    working = model.diagnose(batch)
    assert working["tir/inert"] == 0
    assert working["tir/entropy"] < inert["tir/entropy"]
    assert working["tir/sigma_std"] > 0.1
    model.switch(refine=False)
    assert model.diagnose(batch)["tir/total_variation"] == 0
    assert set(model.diagnose(batch)) == set(inert)


@pytest.mark.parametrize("name", ["base", "b", "e", "encoded", "focus"])
def test_diagnosis_of_any_variant(name: str) -> None:
    model, batch = build(VARIANTS[name]), make_batch(VARIANTS[name])
    figures = model.diagnose(batch)
    assert all(math.isfinite(x) for x in figures.values())
    assert ("cra/gram" in figures) == (model.cra is not None)
    assert ("tir/inert" in figures) == (model.tir is not None)


def test_a_share_of_nothing_is_finite() -> None:
    """Visual tokens that a ReLU has silenced have norm 0."""
    part, whole = torch.ones(1, 3, 4), torch.ones(1, 3, 4)
    whole[0, 0] = 0
    whole[0, 1] = 1e-42
    assert share(part, whole) == 1
    assert share(part, torch.zeros(1, 3, 4)) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tir": "sharp"}, "variant 'sharp': not one of paper"),
        ({"cra": {"basis": "random"}}, "basis 'random': not one of orthogonal"),
        ({"cra": {"fusion": "sum"}}, "fusion 'sum'"),
        ({"triplet": {"negatives": "all"}}, "negatives 'all'"),
        ({"refiner": {"form": "table"}}, "form 'table'"),
        ({"cra_at": "output"}, "cra_at 'output'"),
        ({"image_positions": "cosine"}, "image_positions 'cosine'"),
    ],
)
def test_unknown_choices_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UAR(WORDS, 12, codebook_size=CODEBOOK, **{**SMALL, **options})


def test_lsu_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a tokenizer"):
        UAR(WORDS, 12, **SMALL)


def test_switching_on_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="tir: off"):
        build(TABLE2["e"]).switch(refine=True)
