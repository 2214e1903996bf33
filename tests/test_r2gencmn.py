"""R2GenCMN against a slow, obvious memory, and decoding against teacher forcing."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines.cross_modal_memory import CrossModalMemory, _Query
from baselines.r2gencmn import R2GenCMN

D, HEADS, ROWS, TOPK = 16, 4, 12, 5


def plain(part: CrossModalMemory, x: Tensor) -> Tensor:
    """One position and one head at a time."""
    q, k, v = part.q(x), part.k(part.memory), part.v(part.memory)
    size = x.shape[-1] // part.heads
    answers = []
    for row in q.flatten(0, -2):
        heads = []
        for h in range(part.heads):
            cut = slice(h * size, (h + 1) * size)
            best, chosen = (k[:, cut] @ row[cut] / math.sqrt(size)).topk(part.topk)
            heads.append(best.softmax(-1) @ v[chosen, cut])
        answers.append(torch.cat(heads))
    return x + part.out(torch.stack(answers).view_as(x))


@pytest.fixture
def part() -> CrossModalMemory:
    torch.manual_seed(0)
    part = CrossModalMemory(ROWS, D, HEADS, TOPK, dropout=0.0)
    nn.init.normal_(part.memory)
    return part


@pytest.mark.parametrize("rows", [256, 3])  # 3: several chunks
def test_memory_and_gradients_equal_the_plain_one(
    part: CrossModalMemory, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Query, "ROWS", rows)
    x = torch.randn(2, 4, D, requires_grad=True)
    weight = torch.randn(2, 4, D)
    leaves = [x, *part.parameters()]
    ours, oracle = part(x, part.project()), plain(part, x)
    assert torch.allclose(ours, oracle, atol=1e-6)
    for a, b in zip(
        torch.autograd.grad((ours * weight).sum(), leaves),
        torch.autograd.grad((oracle * weight).sum(), leaves),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-5)


def test_dropout_scales_the_weights_that_stay(part: CrossModalMemory) -> None:
    part.dropout = 0.5
    x = torch.randn(1, 1, D)
    with torch.no_grad():
        mean = part.train()(x.expand(1, 4000, D), part.project()).mean(1, keepdim=True)
    assert torch.allclose(mean, part.eval()(x, part.project()), atol=0.05)


def test_gradient_with_dropout_equals_finite_differences(part: CrossModalMemory) -> None:
    q, k, v = (torch.randn(2, n, 3, dtype=torch.float64, requires_grad=True) for n in (4, 7, 7))

    def answer(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        torch.manual_seed(1)
        return _Query.apply(q, k, v, 3, 0.3)

    assert torch.autograd.gradcheck(answer, (q, k, v))


def test_rows_are_chosen_in_float32_under_autocast(part: CrossModalMemory) -> None:
    x = torch.randn(2, 4, D)
    with torch.no_grad():
        exact = part(x, part.project())
        with torch.autocast("cpu", torch.bfloat16):
            low = part(x, part.project())
    assert torch.allclose(exact, low, atol=0.05)
    assert part.project()[0].dtype == torch.float32


class Given(nn.Identity):
    """A backbone whose images are feature maps already."""

    channels = 8

    def __init__(self, weights: Any = None) -> None:
        super().__init__()


def small(vocab: int = 11) -> R2GenCMN:
    torch.manual_seed(3)
    backbone = f"{__name__}.Given"
    return R2GenCMN(
        vocab, 9, d=D, heads=HEADS, d_ff=32, layers=2, rows=ROWS, topk=TOPK, backbone=backbone
    )


def batch(count: int = 4) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(1, 11, (count, 9), generator=generator)
    tokens[:, 0] = 0
    pixels = torch.randn(count, 2, 8, 2, 3, generator=generator)
    return SimpleNamespace(
        images=pixels, tokens=tokens, lengths=torch.full((count,), 9), whole=None
    )


def test_steps_equal_teacher_forcing() -> None:
    model, data = small().eval(), batch()
    with torch.no_grad():
        whole = model.head(model.states(data))
        state = model.encode(data.images)
        for t in range(8):
            logits, state = model.step(data.tokens[:, t], state)
            assert torch.allclose(logits, whole[:, t], atol=1e-5)


def test_reorder_moves_whole_histories() -> None:
    model, data = small().eval(), batch(2)
    with torch.no_grad():
        state = model.reorder(model.encode(data.images), torch.tensor([0, 0, 1, 1]))
        _, state = model.step(torch.tensor([1, 2, 3, 4]), state)
        state = model.reorder(state, torch.tensor([3, 2]), torch.tensor([1]))
        logits, _ = model.step(torch.tensor([5, 5]), state)
        alone = model.encode(data.images[1:])
        _, alone = model.step(torch.tensor([4]), alone)
        oracle, _ = model.step(torch.tensor([5]), alone)
    assert torch.allclose(logits[0], oracle[0], atol=1e-5)


def test_patches_have_places() -> None:
    model, data = small().eval(), batch(2)
    with torch.no_grad():
        a, b = (
            model.step(torch.zeros(2).long(), model.encode(x))[0]
            for x in (data.images, data.images.flip(-1))
        )
    assert not torch.allclose(a, b, atol=1e-4)


def test_training_step_reaches_every_parameter_also_in_bf16() -> None:
    for low in (False, True):
        model = small().train()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = model.loss(batch())["ce"]
        loss.backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all()
            assert name.endswith("k.bias") or parameter.grad.abs().sum() > 0, name


def test_size_is_the_published_one() -> None:
    model = R2GenCMN(761, 60, backbone=f"{__name__}.Given")
    # 16,553,209 of the published code at 760 words; our test's CNN is 8 wide, theirs 2048.
    assert sum(p.numel() for p in model.parameters()) == 16_553_209 - (2048 - 8) * 512
