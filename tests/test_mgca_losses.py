"""Losses, Sinkhorn and aggregation against the released code's values and slow oracles."""

from __future__ import annotations

import json

import golden_mgca as recipe
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.perf.oracle import aggregate_slowly
from mgca import losses
from mgca.aggregate import aggregate
from mgca.sinkhorn import sinkhorn

GOLDEN = json.loads(recipe.GOLDEN.read_text())


def near(ours: Tensor, golden: dict) -> None:
    found = recipe.sketch(ours)
    assert found["norm"] == pytest.approx(golden["norm"], rel=1e-5, abs=1e-5)
    assert found["entries"] == pytest.approx(golden["entries"], rel=1e-5, abs=1e-5)


def terms(given: dict[str, Tensor], branch: str) -> dict[str, Tensor]:
    """The three terms of one recipe input, from features that are not yet normalised."""
    unit = {k: F.normalize(given[k], dim=-1) for k in ("image", "report", "patches", "words")}
    words = losses.clipped_weights(given["word_attention"], given["word_attention"] > 0)
    patches = None
    if branch == "vit":
        patches = given["attention_map"][:, :, 0, 1:].mean(1)
        patches = losses.clipped_weights(patches, torch.ones_like(patches, dtype=torch.bool))
    return {
        "ita": losses.instance_alignment(unit["image"], unit["report"]),
        "cta": losses.token_alignment(
            unit["words"], unit["patches"], words, patches, given["padded"]
        ),
        "cpa": losses.prototype_alignment(unit["image"], unit["report"], given["prototypes"]),
    }


def leaves(seed: int, branch: str) -> dict[str, Tensor]:
    given = recipe.loss_inputs(seed, branch)
    given["prototypes"] = F.normalize(given["prototypes"], dim=1)
    for name in recipe.LEAVES:
        given[name].requires_grad_()
    return given


@pytest.mark.parametrize("golden", GOLDEN["losses"], ids=lambda g: f"{g['branch']}-{g['seed']}")
@pytest.mark.parametrize("term", ["ita", "cta", "cpa"])
def test_released_values_and_gradients(golden: dict, term: str) -> None:
    given = leaves(golden["seed"], golden["branch"])
    value = terms(given, golden["branch"])[term]
    assert value.item() == pytest.approx(golden[term]["value"], rel=1e-5)
    value.backward()
    assert set(golden[term]["gradients"]) == {n for n in recipe.LEAVES if given[n].grad is not None}
    for name, gradient in golden[term]["gradients"].items():
        near(given[name].grad, gradient)


@pytest.mark.parametrize("seed", recipe.SEEDS)
def test_released_sinkhorn(seed: int) -> None:
    near(sinkhorn(recipe.sinkhorn_inputs(seed)), GOLDEN["sinkhorn"][seed])


def test_sinkhorn_shares_prototypes_evenly_in_the_limit() -> None:
    codes = sinkhorn(recipe.sinkhorn_inputs(0), iterations=500)
    assert torch.allclose(codes.sum(1), torch.ones(recipe.B), atol=1e-6)
    assert torch.allclose(codes.sum(0), torch.full((recipe.K,), recipe.B / recipe.K), atol=1e-4)


def slow_token_alignment(given: dict[str, Tensor], branch: str) -> Tensor:
    """CTA sample by sample and token by token."""
    total = torch.zeros(())
    for b in range(recipe.B):
        words = F.normalize(given["words"][b], dim=-1)
        patches = F.normalize(given["patches"][b], dim=-1)
        real = [t for t in range(recipe.T) if not given["padded"][b, t]]
        shares = given["word_attention"][b].clone()
        shares[shares > 0] = _clip(shares[shares > 0])
        seen = torch.stack([F.normalize(_pool(w, patches), dim=0) for w in words])
        total = total + _match(words, seen, shares / shares.sum())
        read = torch.stack([_pool(p, words[real]) for p in patches])
        if branch == "resnet":
            read = F.normalize(read, dim=-1)
            shares = torch.full((recipe.P,), 1 / recipe.P)
        else:
            shares = _clip(given["attention_map"][b, :, 0, 1:].mean(0))
        total = total + _match(patches, read, shares / shares.sum())
    return total / recipe.B


def _clip(values: Tensor) -> Tensor:
    low, high = np.percentile(values.numpy(), [10, 90])
    return values.clip(float(low), float(high))


def _pool(query: Tensor, keys: Tensor) -> Tensor:
    return ((keys @ query / 0.1).softmax(0).unsqueeze(1) * keys).sum(0)


def _match(tokens: Tensor, partners: Tensor, shares: Tensor) -> Tensor:
    total = torch.zeros(())
    for i in range(len(tokens)):
        forth = -torch.log_softmax(partners @ tokens[i] / 0.1, 0)[i]
        back = -torch.log_softmax(tokens @ partners[i] / 0.1, 0)[i]
        total = total + shares[i] * (forth + back) / 2
    return total


@pytest.mark.parametrize("branch", recipe.BRANCHES)
def test_token_alignment_equals_loops(branch: str) -> None:
    fast, slow = leaves(3, branch), leaves(3, branch)
    ours, oracle = terms(fast, branch)["cta"], slow_token_alignment(slow, branch)
    assert ours.item() == pytest.approx(oracle.item(), rel=1e-5)
    ours.backward()
    oracle.backward()
    for name in ("words", "patches"):
        assert torch.allclose(fast[name].grad, slow[name].grad, atol=1e-6)


def test_a_sample_without_words_takes_no_part() -> None:
    weights = losses.clipped_weights(torch.zeros(2, 5), torch.zeros(2, 5, dtype=torch.bool))
    assert torch.equal(weights, torch.zeros(2, 5))


def test_released_aggregation() -> None:
    hidden, attention, ids = recipe.aggregate_inputs()
    continues = torch.tensor([p.startswith("##") for p in recipe.VOCABULARY])
    words = aggregate(hidden, attention, continues[ids], ids != 0)
    golden = GOLDEN["aggregate"]
    near(words.report, golden["report"])
    assert torch.allclose(words.vectors.sum(-1), torch.tensor(golden["vectors"]), atol=1e-5)
    assert torch.allclose(words.attention, torch.tensor(golden["attention"]), atol=1e-6)
    assert words.padded.tolist() == golden["padded"]


def test_aggregation_with_own_attention_equals_loops() -> None:
    hidden, attention, ids = recipe.aggregate_inputs()
    continues = torch.tensor([p.startswith("##") for p in recipe.VOCABULARY])
    words = aggregate(hidden, attention, continues[ids], ids != 0, shifted=False)
    slow = aggregate_slowly(hidden, attention, continues[ids], ids != 0)
    for b, (vectors, shares) in enumerate(slow):
        n = len(vectors)
        assert torch.allclose(words.vectors[b, :n], vectors, atol=1e-6)
        assert torch.allclose(words.attention[b, :n], shares, atol=1e-6)
        assert words.padded[b].tolist() == [i >= n for i in range(ids.shape[1] - 1)]
        assert not words.vectors[b, n:].any()
        assert not words.attention[b, n:].any()


def test_the_shift_gives_each_word_the_attention_of_the_next() -> None:
    hidden, attention, ids = recipe.aggregate_inputs()
    alone = torch.zeros_like(ids, dtype=torch.bool)
    shifted = aggregate(hidden, attention, alone, ids != 0)
    assert torch.equal(shifted.attention[0, :6], attention[0, 2:8])
    assert shifted.padded[1].tolist() == [False] * 7 + [True] * 2  # full: last word, separator
