"""The shared Transformer: layers against slow formulas, decoding with a cache against without."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from baselines.cache import Cache
from baselines.dropout import Dropout
from baselines.transformer import (
    Attention,
    Decoder,
    Encoder,
    Positions,
    Words,
    sinusoid,
    token_loss,
    xavier_,
)

D, HEADS, L, T, B = 16, 4, 5, 7, 3


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(0)
    return Decoder(2, D, HEADS, 32).eval()


def position_bias(layer: int, positions: slice, rows: Tensor) -> Tensor:
    """Depends on layer, position and visual token, as a static mask does."""
    return torch.linspace(-2, 2, 2 * T * L).view(2, T, L)[layer, positions]


def row_bias(layer: int, positions: slice, rows: Tensor) -> Tensor:
    """Depends on the decoder's state, as a content mask does: (B, 1, R, L)."""
    return (rows[..., :1] * torch.arange(L)).unsqueeze(1)


class Shifted(nn.Module):
    """A norm with a condition, as R2Gen's."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return self.norm(x) + condition


def test_attention_equals_a_loop_over_heads() -> None:
    torch.manual_seed(0)
    attention = Attention(D, HEADS).eval()
    x, y, bias = torch.randn(B, T, D), torch.randn(B, L, D), torch.randn(T, L)
    heads, weights = [], []
    for columns in torch.arange(D).chunk(HEADS):
        query, key, value = (attention.q(x), attention.k(y), attention.v(y))
        logits = query[..., columns] @ key[..., columns].mT / math.sqrt(D / HEADS) + bias
        weights.append(logits.softmax(-1))
        heads.append(weights[-1] @ value[..., columns])
    projected = attention.project(y)
    expected = attention.out(torch.cat(heads, dim=-1))
    torch.testing.assert_close(attention(x, projected, bias), expected)
    torch.testing.assert_close(attention.weights(x, projected, bias), torch.stack(weights, 1))


def test_sinusoid_is_the_published_formula() -> None:
    table = sinusoid(50, D)
    for position, column in ((0, 0), (3, 4), (49, 15), (17, 7)):
        angle = position / 10000 ** ((column - column % 2) / D)
        expected = math.cos(angle) if column % 2 else math.sin(angle)
        assert table[position, column].item() == pytest.approx(expected, abs=1e-5)


def test_positions_start_where_they_are_told() -> None:
    positions = Positions(D).eval()
    x = torch.randn(B, T, D)
    torch.testing.assert_close(positions(x)[:, 4:5], positions(x[:, 4:5], start=4))


def test_words_are_scaled_by_the_root_of_d() -> None:
    words = Words(9, D)
    torch.testing.assert_close(words(torch.tensor([3])), words.weight[3:4] * 4)


def test_encoder_hides_masked_tokens() -> None:
    torch.manual_seed(0)
    encoder = Encoder(2, D, HEADS, 32).eval()
    x = torch.randn(B, L, D)
    mask = (torch.arange(L) < 3).view(1, 1, 1, L)
    torch.testing.assert_close(encoder(x, mask)[:, :3], encoder(x[:, :3]))


@pytest.mark.parametrize("bias", [None, position_bias, row_bias])
@pytest.mark.parametrize("conditional", [False, True])
def test_steps_equal_the_whole_report(bias: object, conditional: bool) -> None:
    torch.manual_seed(0)
    norm = Shifted if conditional else nn.LayerNorm
    decoder = Decoder(2, D, HEADS, 32, norm=norm, last=nn.LayerNorm).eval()
    x, visual = torch.randn(B, T, D), torch.randn(B, L, D)
    condition = torch.randn(B, T, D) if conditional else None
    whole, _ = decoder(x, decoder.start(visual), bias, condition)
    cache = decoder.start(visual)
    for t in range(T):
        now = slice(t, t + 1)
        at = None if condition is None else condition[:, now]
        state, cache = decoder(x[:, now], cache, bias, at)
        torch.testing.assert_close(state, whole[:, now], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bias", [None, position_bias, row_bias])
def test_reorder_follows_hypotheses_and_drops_studies(decoder: Decoder, bias: object) -> None:
    k = 2
    x, visual = torch.randn(B * k, T, D), torch.randn(B, L, D)
    cache = decoder.start(visual).reorder(torch.arange(B).repeat_interleave(k))
    for t in range(3):
        _, cache = decoder(x[:, t : t + 1], cache, bias)
    # Study 1 is done; in study 0 both hypotheses go on from the second, in study 2 they swap.
    index, kept = torch.tensor([1, 1, 5, 4]), torch.tensor([0, 2])
    cache = cache.reorder(index, kept)
    state, _ = decoder(x[:4, 3:4], cache, bias)
    prefix = torch.cat((x[index, :3], x[:4, 3:4]), dim=1)
    alone = visual[kept].repeat_interleave(k, dim=0)
    expected, _ = decoder(prefix, decoder.start(alone), bias)
    torch.testing.assert_close(state[:, 0], expected[:, -1], rtol=1e-4, atol=1e-5)


def test_reorder_leaves_visual_keys_where_they_are(decoder: Decoder) -> None:
    cache: Cache = decoder.start(torch.randn(B, L, D))
    moved = cache.reorder(torch.tensor([2, 2, 0, 0, 1, 1]))
    assert all(a is b for a, b in zip(cache.visual, moved.visual, strict=True))


def test_a_state_may_be_continued_twice(decoder: Decoder) -> None:
    """Keys are appended in place: one continuation must not read the other's."""
    x, visual = torch.randn(B, 4, D), torch.randn(B, L, D)
    whole, _ = decoder(x, decoder.start(visual))
    cache = decoder.start(visual)
    for t in range(2):
        _, cache = decoder(x[:, t : t + 1], cache)
    _, first = decoder(x[:, 2:3], cache)
    decoder(torch.randn(B, 1, D), cache)
    state, _ = decoder(x[:, 3:], first)
    torch.testing.assert_close(state, whole[:, 3:], rtol=1e-4, atol=1e-5)


def test_many_tokens_are_refused_in_the_middle(decoder: Decoder) -> None:
    _, cache = decoder(torch.randn(B, 1, D), decoder.start(torch.randn(B, L, D)))
    with pytest.raises(ValueError, match="only from the start"):
        decoder(torch.randn(B, 2, D), cache)


def test_token_loss_counts_the_end_and_not_the_padding() -> None:
    torch.manual_seed(0)
    tokens = torch.tensor([[0, 3, 4, 0, 0], [0, 5, 1, 2, 6]])  # the second one was cut
    lengths = torch.tensor([4, 5])
    logits = torch.randn(2, 4, 8)
    log_p = logits.log_softmax(-1)
    terms = [-log_p[b, t, tokens[b, t + 1]] for b in range(2) for t in range(int(lengths[b]) - 1)]
    assert len(terms) == 3 + 4
    found = token_loss(nn.Identity(), logits, tokens, lengths)
    torch.testing.assert_close(found, torch.stack(terms).mean())


def test_xavier_touches_matrices_only() -> None:
    layer = nn.Linear(200, 100)
    bias = layer.bias.detach().clone()
    xavier_(layer)
    assert layer.weight.abs().max() <= math.sqrt(6 / 300)
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 300), rel=0.05)
    torch.testing.assert_close(layer.bias, bias)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_keeps_the_share_and_the_mean(p: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(101, 1001, requires_grad=True)
    y = Dropout(p)(x)
    kept = y != 0
    assert kept.float().mean().item() == pytest.approx(1 - p, abs=0.005)
    torch.testing.assert_close(
        y[kept], torch.full((int(kept.sum()),), 1 / (1 - p)), rtol=1e-4, atol=0
    )
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    torch.manual_seed(0)
    assert torch.equal(Dropout(p)(x), y)
    assert Dropout(p).eval()(x) is x


@pytest.mark.parametrize("causal", [False, True])
def test_attention_in_training_has_the_same_mean(causal: bool) -> None:
    """The path with dropout against the one without, averaged over many draws."""
    torch.manual_seed(0)
    attention = Attention(D, HEADS, 0.1)
    x = torch.randn(1, T, D)
    projected = attention.project(x)
    draws = torch.stack([attention.train()(x, projected, None, causal) for _ in range(500)])
    expected = attention.eval()(x, projected, None, causal)
    assert (draws.mean(0) - expected).abs().max() < 0.05
    assert draws.std(0).max() > 0.05
