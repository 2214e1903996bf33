"""TIR: Eq. 11 and 12 entry by entry."""

from __future__ import annotations

import math

import pytest
import torch
from variants import CODEBOOK, SMALL, WORDS, make_batch

from uar.model import UAR
from uar.tir import TIR, Shape

SHAPE = Shape(positions=6, tokens=5, layers=2, d=8, heads=2)


def randomise(tir: TIR) -> TIR:
    for parameter in tir.parameters():
        torch.nn.init.normal_(parameter)
    return tir


@pytest.mark.parametrize("divide", ["head", "model"])
def test_refined_attention_is_eq_11(divide: str) -> None:
    """Logits (q k + 1000 sigma(M)) / sqrt(d), entry by entry, up to what softmax ignores."""
    torch.manual_seed(0)
    tir = randomise(TIR(SHAPE, divide=divide, k=10.0))
    root = math.sqrt(8 if divide == "model" else 4)
    score = torch.randn(3, 6, 5)
    mask = tir.mask(0, slice(0, 6), torch.zeros(3, 6, 8), torch.zeros(3, 5, 0))
    fast = (score + tir.logits(mask)).softmax(-1)
    for b in range(3):
        for t in range(6):
            logits = [
                float(score[b, t, j]) + 10 / (1 + math.exp(-tir.M[0, t, j].item())) / root
                for j in range(5)
            ]
            weights = torch.tensor([math.exp(x) for x in logits])
            torch.testing.assert_close(fast[b, t], weights / weights.sum())


@pytest.mark.parametrize("variant", ["paper", "paper_literal", "focus"])
@pytest.mark.parametrize("form", ["static", "per_layer", "content"])
def test_mask_loss_equals_a_loop(variant: str, form: str) -> None:
    torch.manual_seed(0)
    tir = randomise(TIR(SHAPE, variant, form))
    lengths = [6, 3, 1]
    real = torch.arange(6) < torch.tensor(lengths)[:, None]
    seen = tir.project(torch.randn(3, 5, 8))
    masks = [tir.mask(i, slice(0, 6), torch.randn(3, 6, 8), seen).detach() for i in range(2)]
    layers = []
    for mask in masks:
        sigma = mask if mask.dim() == 3 else mask.expand(3, -1, -1)
        prices = [
            float(sigma[b, i, j]) if variant == "focus" else 1 - float(sigma[b, i, j])
            for b in range(3)
            for i in range(lengths[b])
            for j in range(5)
        ]
        layers.append(sum(prices) / (3 if variant == "paper_literal" else len(prices)))
    expected = sum(layers) / 2 * (0.5 if variant == "focus" else 1)
    assert tir.loss(masks, real).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("value", [-3.0, 0.0, 2.0])
def test_a_constant_mask_changes_nothing(value: float) -> None:
    tir = TIR(SHAPE)
    torch.nn.init.constant_(tir.M, value)
    mask = tir.mask(1, slice(2, 3), torch.zeros(2, 3, 8), torch.zeros(2, 5, 0))
    assert not tir.logits(mask).any()


@pytest.mark.parametrize("form", ["static", "per_layer", "content"])
def test_switching_tir_on_leaves_the_function_unchanged(form: str) -> None:
    torch.manual_seed(0)
    model = UAR(WORDS, 12, codebook_size=CODEBOOK, **SMALL, refiner={"form": form}).eval()
    batch = make_batch({})
    model.switch(refine=False)
    off = model.loss(batch)
    model.switch(refine=True)
    on = model.loss(batch)
    assert set(off) == {"ce", "align"}
    assert set(on) == {"ce", "align", "mask"}
    assert torch.equal(off["ce"], on["ce"])
    assert on["mask"].item() == pytest.approx(0.5)
    on["ce"].backward()
    grads = [p.grad for p in model.groups()["mask"]]
    assert any(g is not None and g.any() for g in grads)


def test_static_mask_follows_the_position_and_stops_at_its_last_row() -> None:
    tir = randomise(TIR(SHAPE))
    rows, seen = torch.zeros(2, 3, 8), torch.zeros(2, 5, 0)
    for t, row in ((0, 0), (3, 3), (5, 5), (9, 5)):
        expected = torch.sigmoid(tir.M[0, row : row + 1])
        assert torch.equal(tir.mask(0, slice(t, t + 1), rows, seen), expected)


def test_more_visual_tokens_than_the_table_are_refused() -> None:
    with pytest.raises(ValueError, match="6 visual tokens, but M has 5"):
        TIR(SHAPE).mask(0, slice(0, 1), torch.zeros(1, 1, 8), torch.zeros(1, 6, 0))


def test_literal_penalty_is_the_printed_sum() -> None:
    """At M = 0 it is T L / 2: far above a cross-entropy of order 1."""
    tir = TIR(SHAPE, "paper_literal")
    mask = tir.mask(0, slice(0, 6), torch.zeros(2, 6, 8), torch.zeros(2, 5, 0))
    assert tir.loss([mask], torch.ones(2, 6, dtype=torch.bool)).item() == pytest.approx(6 * 5 / 2)
