"""The four CNN-RNN systems: cells against the papers' equations, decoding against training."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines.adaatt import AdaAtt
from baselines.att2in import Att2in
from baselines.recurrent import Recurrent, Seen
from baselines.show_tell import ShowTell
from baselines.topdown import TopDown

D = 8
MODELS = [ShowTell, Att2in, AdaAtt, TopDown]


class Given(nn.Identity):
    """A backbone whose images are feature maps already."""

    channels = 6

    def __init__(self, weights: Any = None) -> None:
        super().__init__()


def small(kind: type[Recurrent]) -> Recurrent:
    torch.manual_seed(1)
    return kind(11, 9, d=D, backbone=f"{__name__}.Given")


def batch(count: int = 3) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(1, 11, (count, 9), generator=generator)
    tokens[:, 0] = 0
    pixels = torch.randn(count, 2, 6, 2, 2, generator=generator)
    return SimpleNamespace(
        images=pixels, tokens=tokens, lengths=torch.full((count,), 9), whole=None
    )


@pytest.mark.parametrize("kind", MODELS)
def test_steps_equal_teacher_forcing(kind: type[Recurrent]) -> None:
    model, data = small(kind).eval(), batch()
    with torch.no_grad():
        whole = model.head(model.states(data))
        state = model.encode(data.images)
        for t in range(8):
            logits, state = model.step(data.tokens[:, t], state)
            assert torch.allclose(logits, whole[:, t], atol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_reorder_moves_whole_histories_and_drops_studies(kind: type[Recurrent]) -> None:
    model, data = small(kind).eval(), batch()
    with torch.no_grad():
        state = model.reorder(model.encode(data.images), torch.tensor([0, 0, 1, 1, 2, 2]))
        _, state = model.step(torch.tensor([1, 2, 3, 4, 5, 6]), state)
        state = model.reorder(state, torch.tensor([1, 0, 5, 5]), torch.tensor([0, 2]))
        logits, _ = model.step(torch.tensor([7, 8, 9, 10]), state)
        alone = model.encode(data.images[2:])
        _, alone = model.step(torch.tensor([6]), alone)
        oracle, _ = model.step(torch.tensor([9]), alone)
    assert torch.allclose(logits[2], oracle[0], atol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_output_depends_on_the_images(kind: type[Recurrent]) -> None:
    model, data = small(kind).eval(), batch()
    with torch.no_grad():
        before = model.states(data)
        data.images = data.images.roll(1, 0)
        assert (model.states(data) - before).abs().amin(dim=(1, 2)).min() > 0


@pytest.mark.parametrize("kind", MODELS)
def test_training_step_reaches_every_parameter_also_in_bf16(kind: type[Recurrent]) -> None:
    for low in (False, True):
        model = small(kind).train()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = model.loss(batch())["ce"]
        loss.backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all()
            # One number added to all logits of a softmax changes nothing.
            assert name == "attend.score.bias" or parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", MODELS)
def test_every_parameter_is_in_the_groups(kind: type[Recurrent]) -> None:
    model = kind(11, 9, d=D, backbone="convnet")
    ids = [id(p) for group in model.groups().values() for p in group]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())


def attended(model: Any, h: Tensor, seen: Seen) -> Tensor:
    """Additive attention of one hidden state (d,) of the first study, patch by patch."""
    part = model.attend
    scores = [part.score(torch.tanh(key + part.query(h))) for key in seen.keys[0]]
    weights = torch.cat(scores).softmax(0)
    return sum((w * v for w, v in zip(weights, seen.patches[0], strict=True)), torch.zeros(D))


def one(model: Recurrent) -> tuple[Seen, Tensor, list[Tensor]]:
    """Study 0, a word and random hidden states, all (d,)."""
    seen = model.look(batch(1).images)
    return seen, torch.randn(D), [torch.randn(D) for _ in range(model.hidden)]


def run_cell(model: Recurrent, seen: Seen, word: Tensor, hidden: list[Tensor]) -> Tensor:
    shaped = tuple(x.view(1, 1, D) for x in hidden)
    output, _ = model.cell(model.inputs(word.view(1, 1, D), seen), seen, shaped)
    return model.finish(output, seen)[0, 0]


def plain_lstm(sums: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    i, f, o, g = sums.view(4, D)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


@torch.no_grad()
def test_show_and_tell_sees_the_image_first() -> None:
    model, data = small(ShowTell).eval(), batch(1)
    cell = nn.LSTMCell(D, D)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    cell.load_state_dict({name: getattr(model.lstm, f"{name}_l0") for name in names})
    image = model.visual.project(model.visual.patches(data.images).mean(1))
    state = cell(image)
    for t in range(8):
        state = cell(model.words(data.tokens[:, t]), state)
    assert torch.allclose(state[0], model.states(data)[:, -1], atol=1e-6)


@torch.no_grad()
def test_att2in_attends_into_the_candidate_only() -> None:
    model = small(Att2in).eval()
    seen, word, hidden = one(model)
    h, c = hidden
    i, f, o, a, b = (model.from_word(word) + model.from_hidden(h)).view(5, D)
    extra = model.from_patches(attended(model, h, seen)).view(2, D)
    c = f.sigmoid() * c + i.sigmoid() * torch.maximum(a + extra[0], b + extra[1])
    oracle = o.sigmoid() * c.tanh()
    assert torch.allclose(run_cell(model, seen, word, hidden), oracle, atol=1e-6)


@torch.no_grad()
def test_adaatt_weighs_the_sentinel_with_the_patches() -> None:
    model = small(AdaAtt).eval()
    seen, word, hidden = one(model)
    sums = model.from_word(word) + model.from_image(seen.pooled[0, 0])
    sums = sums + model.from_hidden(hidden[0])
    h, c = plain_lstm(sums[: 4 * D], hidden[1])
    sentinel = sums[4 * D :].sigmoid() * c.tanh()
    part = model.attend
    scores = [part.score(torch.tanh(key + part.query(h))) for key in seen.keys[0]]
    scores.append(part.score(torch.tanh(model.sentinel_key(sentinel) + part.query(h))))
    weights = torch.cat(scores).softmax(0)
    mixed = weights[:-1] @ seen.patches[0] + weights[-1] * sentinel
    assert torch.allclose(run_cell(model, seen, word, hidden), h + mixed, atol=1e-6)


@torch.no_grad()
def test_topdown_attends_between_its_lstms() -> None:
    model = small(TopDown).eval()
    seen, word, hidden = one(model)
    h1, c1, h2, c2 = hidden
    sums = model.from_word(word) + model.from_image(seen.pooled[0, 0])
    h1, c1 = plain_lstm(sums + model.attention_gates(torch.cat((h2, h1))), c1)
    inner = torch.cat((attended(model, h1, seen), h1, h2))
    oracle, _ = plain_lstm(model.language_gates(inner), c2)
    assert torch.allclose(run_cell(model, seen, word, hidden), oracle, atol=1e-6)
