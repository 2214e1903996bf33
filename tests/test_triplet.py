"""The alignment loss, Eq. 10, against a slow loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from uar.losses import Triplet, same_report, similarities


def slow_triplet(triplet: Triplet, images: Tensor, reports: Tensor, tokens: Tensor) -> float:
    total, count = 0.0, len(images)
    cosine = torch.nn.functional.cosine_similarity
    s = [[float(cosine(i, r, dim=0)) for r in reports] for i in images]
    for a in range(count):
        others = [
            b
            for b in range(count)
            if b != a
            and not (triplet.exclude_identical and tokens[a].tolist() == tokens[b].tolist())
        ]
        for negatives in ([s[a][b] for b in others], [s[b][a] for b in others]):
            hinges = [max(0.0, triplet.margin - s[a][a] + x) for x in negatives]
            if hinges:
                mean = sum(hinges) / len(hinges)
                total += max(hinges) if triplet.negatives == "hardest" else mean
    return total / count


@pytest.mark.parametrize("negatives", ["hardest", "mean"])
@pytest.mark.parametrize("exclude", [True, False])
def test_triplet_equals_brute_force(negatives: str, exclude: bool) -> None:
    torch.manual_seed(0)
    triplet = Triplet(0.3, negatives, exclude)
    for _ in range(20):
        images, reports = torch.randn(6, 5), torch.randn(6, 5)
        tokens = torch.randint(0, 2, (6, 2))  # many identical reports
        fast = triplet(images, reports, tokens).item()
        assert fast == pytest.approx(slow_triplet(triplet, images, reports, tokens), abs=1e-5)


def test_triplet_of_one_report_is_zero_with_zero_gradient() -> None:
    images = torch.randn(3, 4, requires_grad=True)
    loss = Triplet()(images, torch.randn(3, 4), torch.ones(3, 5))
    loss.backward()
    assert loss.item() == 0
    assert images.grad is not None
    assert not images.grad.any()


def test_identical_reports_are_found() -> None:
    tokens = torch.tensor([[0, 1, 2], [0, 2, 1], [0, 1, 2]])
    expected = [[True, False, True], [False, True, False], [True, False, True]]
    assert same_report(tokens).tolist() == expected


def test_similarities_leave_autocast() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(4, 64), torch.randn(4, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(similarities(x, y), similarities(x.clone(), y))
        assert similarities(x, y).dtype == torch.float32
