"""BASE: its loss, its decoding, its parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from baselines.base import Base, average
from baselines.transformer import token_loss
from bench.model import Batch, ImageSpec

SMALL = {
    "d": 32,
    "heads": 4,
    "d_ff": 48,
    "layers": 2,
    "backbone": "convnet",
    "backbone_params": {"width": 8},
    "image": {"size": 32, "resize": 36},
}


def make_batch(count: int = 4) -> Batch:
    torch.manual_seed(1)
    tokens = torch.zeros(count, 9, dtype=torch.long)
    lengths = torch.tensor([9, 5, 7, 4])[:count]
    for row, length in zip(tokens, lengths.tolist(), strict=True):
        row[1 : length - 1] = torch.randint(1, 20, (length - 2,))
    tokens[0, -1] = 3  # cut: no EOS
    return Batch(torch.randn(count, 2, 3, 32, 32), tokens, lengths)


@pytest.fixture
def model() -> Base:
    torch.manual_seed(0)
    return Base(20, 12, **SMALL).eval()


def whole_report(model: Base, images: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Logits by teacher forcing, without any cache."""
    visual = model.look(images)[1]
    states, _ = model.decoder(model.place_text(model.read(tokens)), model.decoder.start(visual))
    return model.head(states)


def test_image_declaration_is_understood() -> None:
    model = Base(20, 12, **SMALL)
    spec = ImageSpec(**model.image)
    assert (spec.size, spec.resize, spec.kind, spec.flip) == (32, 36, "pixels", 0.0)
    assert spec.mean == (0.485, 0.456, 0.406)


def test_loss_is_the_teacher_forced_cross_entropy(model: Base) -> None:
    batch = make_batch()
    logits = whole_report(model, batch.images, batch.tokens[:, :-1])
    wanted = token_loss(nn.Identity(), logits, batch.tokens, batch.lengths)
    torch.testing.assert_close(model.loss(batch)["ce"], wanted)


def test_padding_changes_nothing(model: Base) -> None:
    batch = make_batch()
    longer = torch.cat((batch.tokens, torch.zeros(4, 3, dtype=torch.long)), dim=1)
    padded = Batch(batch.images, longer, batch.lengths)
    torch.testing.assert_close(model.loss(padded)["ce"], model.loss(batch)["ce"])


def test_steps_equal_teacher_forcing(model: Base) -> None:
    batch = make_batch()
    expected = whole_report(model, batch.images, batch.tokens)
    state = model.encode(batch.images)
    for t in range(batch.tokens.shape[1]):
        logits, state = model.step(batch.tokens[:, t], state)
        torch.testing.assert_close(logits, expected[:, t], rtol=1e-4, atol=1e-4)


def test_every_trainable_parameter_is_in_one_group_and_gets_a_gradient(model: Base) -> None:
    groups = model.groups()
    assert list(groups) == ["visual", "rest"]
    listed = [id(p) for group in groups.values() for p in group]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    model.train().loss(make_batch())["ce"].backward()
    assert all(p.grad is not None and p.grad.any() for g in groups.values() for p in g)


def test_frozen_backbone_is_in_no_group() -> None:
    model = Base(20, 12, **SMALL, freeze=True)
    assert list(model.groups()) == ["rest"]
    assert len(model.groups()["rest"]) < len(list(model.parameters()))


def test_features_are_means_over_tokens_and_words(model: Base) -> None:
    batch = make_batch()
    images, reports = model.features(batch)
    torch.testing.assert_close(images, model.visual(batch.images).mean(1))
    words = batch.tokens[1][batch.tokens[1] != 0]
    assert len(words) == 3
    torch.testing.assert_close(reports[1], model.words(words).mean(0))


def test_average_of_nothing_is_zero() -> None:
    assert not average(torch.ones(1, 3, 2), torch.zeros(1, 3, dtype=torch.bool)).any()


def test_positions_of_images() -> None:
    batch = make_batch(2)
    swapped = batch.images.flip(1)
    for kind, same in (("none", True), ("sinusoidal", False), ("learned", False)):
        torch.manual_seed(0)
        model = Base(20, 12, **SMALL, image_positions=kind).eval()
        one = model.step(batch.tokens[:, 0], model.encode(batch.images))[0]
        two = model.step(batch.tokens[:, 0], model.encode(swapped))[0]
        assert torch.allclose(one, two, atol=1e-5) == same, kind


def test_loss_in_bfloat16_is_float32_and_near(model: Base) -> None:
    batch = make_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model.loss(batch)["ce"]
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, model.loss(batch)["ce"], rtol=0.02, atol=0.02)


def test_overfits_a_batch() -> None:
    """Images tell the reports apart: the loss goes to zero only if they are used."""
    torch.manual_seed(0)
    model = Base(20, 12, **SMALL, dropout=0.0, visual_dropout=0.0).train()
    batch = make_batch()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        loss = model.loss(batch)["ce"]
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
