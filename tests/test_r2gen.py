"""R2Gen against slow, obvious versions of its parts, and decoding against teacher forcing."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines.r2gen import R2Gen
from baselines.relational_memory import MemoryNorms, RelationalMemory, StdNorm, standardise

D, HEADS, SLOTS = 16, 4, 3


def plain_norm(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6)


def plain_memory(part: RelationalMemory, y: Tensor) -> Tensor:
    """The paper's equations, one word, one slot and one head at a time."""
    d, size = part.d, part.d // part.heads
    wq, wk, wv = part.project.weight.split(d)
    bq, bk, bv = part.project.bias.split(d)
    outputs = []
    for words in y:
        memory = torch.eye(part.slots, d, dtype=y.dtype)
        for word in words:
            seen = torch.cat((memory, word[None]))
            q, k, v = memory @ wq.T + bq, seen @ wk.T + bk, seen @ wv.T + bv
            heads = []
            for h in range(part.heads):
                cut = slice(h * size, (h + 1) * size)
                weights = (q[:, cut] @ k[:, cut].T / math.sqrt(size)).softmax(-1)
                heads.append(weights @ v[:, cut])
            z = memory + part.out(torch.cat(heads, dim=-1))
            z = z + part.second(part.first(z).relu()).relu()
            gates = part.word_gates(word) + part.memory_gates(memory.tanh())
            enter, forget = gates.sigmoid().split(d, dim=-1)
            memory = enter * z.tanh() + forget * memory
            outputs.append(memory)
    return torch.stack(outputs).view(*y.shape[:2], part.slots, d)


@pytest.fixture
def part() -> RelationalMemory:
    torch.manual_seed(0)
    return RelationalMemory(SLOTS, D, HEADS, dropout=0.0).double()


def test_norm_is_the_published_one() -> None:
    x = 3 * torch.randn(5, 7, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(standardise(x), plain_norm(x), rtol=0, atol=1e-13)
    x.requires_grad_()
    weight = torch.randn_like(x)
    (ours,) = torch.autograd.grad((standardise(x) * weight).sum(), x)
    (oracle,) = torch.autograd.grad((plain_norm(x) * weight).sum(), x)
    assert torch.allclose(ours, oracle, rtol=1e-5, atol=1e-6)


def test_norm_of_a_constant_row_is_its_offset() -> None:
    assert torch.equal(StdNorm(D)(torch.full((1, D), 2.0)), torch.zeros(1, D))


def test_memory_follows_the_equations(part: RelationalMemory) -> None:
    y = torch.randn(2, 5, D, dtype=torch.float64)
    assert torch.allclose(part(y), plain_memory(part, y), rtol=0, atol=1e-12)


def test_memory_gradients_equal_autograd(part: RelationalMemory) -> None:
    y = torch.randn(2, 5, D, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 5, SLOTS, D, dtype=torch.float64)
    leaves = [y, *part.parameters()]
    ours = torch.autograd.grad((part(y) * weight).sum(), leaves)
    oracle = torch.autograd.grad((plain_memory(part, y) * weight).sum(), leaves)
    for a, b in zip(ours, oracle, strict=True):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)


def test_memory_steps_equal_the_whole_report(part: RelationalMemory) -> None:
    y = torch.randn(3, 6, D, dtype=torch.float64)
    memory = part.start(3)
    for t in range(6):
        memory = part.step(y[:, t], memory)
    assert torch.allclose(memory, part(y)[:, -1], rtol=0, atol=1e-12)


def test_memory_drops_out_in_training_only() -> None:
    part = RelationalMemory(SLOTS, D, HEADS, dropout=0.5)
    y = torch.randn(2, 4, D)
    assert not torch.equal(part(y), part(y))
    assert torch.equal(part.eval()(y), part(y))


def test_norms_equal_one_mlp_each() -> None:
    torch.manual_seed(0)
    norms = MemoryNorms(SLOTS * D, D, norms=2)
    memory = torch.randn(2, 3, SLOTS, D)
    for i, found in enumerate(norms(memory)):
        hidden = memory.flatten(2) @ norms.hidden[i].T + norms.hidden_bias[i]
        plain = norms.base.flatten(0, 1)[i] + hidden.relu() @ norms.out[i].T + norms.out_bias[i]
        assert torch.allclose(found, plain, atol=1e-5)
    assert norms.base[:, :, 0].tolist() == [[1, 0], [1, 0]]


class Given(nn.Identity):
    """A backbone whose images are feature maps already."""

    channels = 8

    def __init__(self, weights: Any = None) -> None:
        super().__init__()


def small(vocab: int = 11, **options: Any) -> R2Gen:
    torch.manual_seed(3)
    return R2Gen(
        vocab, 9, d=D, heads=HEADS, d_ff=32, layers=2, backbone=f"{__name__}.Given", **options
    )


def images(count: int) -> Tensor:
    return torch.randn(count, 2, 8, 2, 3, generator=torch.Generator().manual_seed(4))


def batch(count: int = 4) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(1, 11, (count, 9), generator=generator)
    lengths = torch.tensor([9, 7, 5, 3][:count])
    tokens[:, 0] = 0
    for row, length in zip(tokens, lengths, strict=True):
        row[length - 1 :] = 0
    return SimpleNamespace(images=images(count), tokens=tokens, lengths=lengths, whole=None)


def test_steps_equal_teacher_forcing() -> None:
    model = small().eval()
    data = batch()
    with torch.no_grad():
        whole = model.head(model.states(data))
        state = model.encode(data.images)
        for t in range(8):
            logits, state = model.step(data.tokens[:, t], state)
            assert torch.allclose(logits, whole[:, t], atol=1e-5)


def test_reorder_moves_whole_histories_and_drops_studies() -> None:
    model = small().eval()
    with torch.no_grad():
        state = model.encode(images(3))
        state = model.reorder(state, torch.arange(3).repeat_interleave(2))
        for words in ([0] * 6, [1, 2, 3, 4, 5, 6]):
            _, state = model.step(torch.tensor(words), state)
        # Study 1 leaves; in study 2 the second hypothesis replaces the first.
        kept = model.reorder(state, torch.tensor([0, 1, 5, 5]), torch.tensor([0, 2]))
        logits, _ = model.step(torch.tensor([7, 8, 9, 10]), kept)
        alone = model.encode(images(3)[2:])
        for word in (0, 6):
            _, alone = model.step(torch.tensor([word]), alone)
        oracle, _ = model.step(torch.tensor([9]), alone)
    assert torch.allclose(logits[2], oracle[0], atol=1e-5)


def test_hypotheses_of_the_same_words_share_a_memory() -> None:
    torch.manual_seed(0)
    model = small().eval()
    with torch.no_grad():
        state = model.reorder(model.encode(images(3)), torch.arange(3).repeat_interleave(2))
        for words in ([1, 2, 1, 2, 2, 1], [3, 3, 3, 4, 3, 3]):
            _, state = model.step(torch.tensor(words), state)
    # Prefixes: 13, 23, 13, 24, 23, 13.
    assert len(state.memory) == 3
    assert state.prefix[[0, 2, 5]].unique().numel() == 1
    assert state.prefix[[1, 4]].unique().numel() == 1
    alone = model.memory.start(1)
    with torch.no_grad():
        for position, word in enumerate((2, 4)):
            text = model.place(model.words(torch.tensor([[word]])), position)
            alone = model.memory.step(text[:, 0], alone)
    torch.testing.assert_close(state.memory[state.prefix[3]], alone[0])


def test_encoder_sees_a_set_of_patches() -> None:
    model = small().eval()
    shuffled = images(2).flatten(3)[..., torch.randperm(6)].view(2, 2, 8, 2, 3)
    with torch.no_grad():
        a, b = (
            model.step(torch.zeros(2).long(), model.encode(x))[0] for x in (images(2), shuffled)
        )
    assert torch.allclose(a, b, atol=1e-5)


def test_words_change_the_norms_of_later_words_only() -> None:
    model = small().eval()
    data = batch()
    with torch.no_grad():
        before = model.states(data)
        data.tokens[:, 3] = 10
        after = model.states(data)
    assert torch.allclose(before[:, :3], after[:, :3], atol=1e-6)
    assert (before[:, 3:] - after[:, 3:]).abs().amin(dim=(1, 2)).min() > 0


def test_loss_is_the_mean_over_target_tokens() -> None:
    model = small().eval()
    data = batch()
    logp = model.head(model.states(data)).log_softmax(-1)
    total = sum(
        -logp[i, t, data.tokens[i, t + 1]] for i in range(4) for t in range(data.lengths[i] - 1)
    )
    expected = total / int((data.lengths - 1).sum())
    assert torch.allclose(model.loss(data)["ce"], torch.as_tensor(expected), atol=1e-5)


def test_training_step_reaches_every_parameter_also_in_bf16() -> None:
    for low in (False, True):
        model = small().train()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = model.loss(batch())["ce"]
        loss.backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.dtype == torch.float32
            assert parameter.grad.isfinite().all()
            # A key's bias moves all logits of a query alike: its gradient is 0 in exact numbers.
            assert name.endswith("k.bias") or parameter.grad.abs().sum() > 0, name


def test_every_parameter_is_in_one_group() -> None:
    model = R2Gen(11, 9, d=D, heads=HEADS, d_ff=32, layers=1, backbone="convnet")
    groups = model.groups()
    assert set(groups) == {"visual", "rest"}
    ids = [id(p) for group in groups.values() for p in group]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())
    frozen = R2Gen(11, 9, d=D, heads=HEADS, layers=1, backbone="convnet", freeze=True)
    assert set(frozen.groups()) == {"rest"}


def test_size_is_the_published_one() -> None:
    model = R2Gen(761, 60, backbone=f"{__name__}.Given")
    count = sum(p.numel() for p in model.parameters())
    # 35,973,369 of the published code at 760 words; our test's CNN is 8 wide, theirs 2048.
    assert count == 35_973_369 - (2048 - 8) * 512
