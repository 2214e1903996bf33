"""What every generator inherits: images by a CNN or a module of its own, groups, the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.generator import Generator, Studies
from bench.model import Batch, image_spec

SMALL: dict[str, Any] = {"backbone": "convnet", "backbone_params": {"width": 4}, "d": 8}


class Bag(Generator):
    """The least that a generator can be: each word from the pooled images and the word before."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.words = nn.Embedding(self.vocab_size, 8)
        self.head = nn.Linear(8, self.vocab_size)

    def states(self, batch: Studies) -> Tensor:
        return self.words(batch.tokens[:, :-1]) + self.visual(batch.images).mean(1, keepdim=True)


class Codes(nn.Embedding):
    expected: Mapping[str, Any] = {"kind": "codes"}


def batch() -> Batch:
    tokens = torch.tensor([[0, 1, 2, 0], [0, 3, 0, 0]])
    return Batch(torch.randn(2, 2, 3, 32, 32), tokens, torch.tensor([4, 3]))


def test_the_loss_is_the_cross_entropy_of_the_words_that_count() -> None:
    torch.manual_seed(0)
    model, studies = Bag(5, 4, **SMALL).eval(), batch()
    logits = model.head(model.states(studies))
    terms = [
        F.cross_entropy(logits[i, t], studies.tokens[i, t + 1])
        for i, count in enumerate((3, 2))
        for t in range(count)
    ]
    torch.testing.assert_close(model.loss(studies)["ce"], torch.stack(terms).mean())


@pytest.mark.parametrize("freeze", [False, True])
def test_only_what_trains_is_in_a_group(freeze: bool) -> None:
    model = Bag(5, 4, freeze=freeze, **SMALL)
    model.words.requires_grad_(False)
    groups = model.groups()
    assert set(groups) == ({"rest"} if freeze else {"visual", "rest"})
    listed = [id(p) for group in groups.values() for p in group]
    assert sorted(listed) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert set(groups) <= set(Bag.GROUPS)


def test_images_are_declared_by_class_visual_module_and_option_in_this_order() -> None:
    image = image_spec(Bag(5, 4, image={"size": 32}, **SMALL))
    assert (image.size, image.resize, image.flip, image.mean[0]) == (32, 256, 0.5, 0.485)
    image = image_spec(Bag(5, 4, visual=Codes(7, 8), image={"flip": 0.0}))
    assert (image.kind, image.size, image.flip) == ("codes", 224, 0.0)
