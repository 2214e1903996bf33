"""CRA: Eq. 6 to 9 against a slow loop, and its bases."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from uar.cra import BASES, CRA, make_basis


def slow_cra(cra: CRA, E: Tensor) -> Tensor:
    """Eq. 6-9 for one token (d,), head by head, basis vector by basis vector."""
    adjusted = cra.gamma * cra.B + cra.beta
    attend = cra.attend
    query, keys, values = attend.q(E), attend.k(adjusted), attend.v(adjusted)
    width = len(E) // attend.heads
    found = []
    for h in range(attend.heads):
        part = slice(h * width, (h + 1) * width)
        logits = [float(query[part] @ key[part]) / math.sqrt(width) for key in keys]
        top = max(logits)
        weights = [math.exp(x - top) for x in logits]
        mixed = sum(w * value[part] for w, value in zip(weights, values, strict=True))
        found.append(mixed / sum(weights))
    F = attend.out(torch.cat(found))
    if cra.fusion == "none":
        return F
    if cra.fusion == "addition":
        return E + F
    gates = [
        1 / (1 + torch.exp(-(gate.x(E) + gate.y(F)))) for gate in (cra.input_gate, cra.forget_gate)
    ]
    kept = gates[1] * (E + F) if cra.gated_sum else gates[1] * E + F
    return gates[0] * torch.tanh(E + F) + kept


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gain_bias": "feature"},
        {"gated_sum": True, "gate_bias": True},
        {"fusion": "none", "basis": "normal"},
        {"fusion": "addition", "basis": "uniform", "scale": "unscaled"},
        {"train_basis": True, "basis": "orthogonal_blocks"},
    ],
)
def test_cra_equals_a_loop_over_heads_and_basis(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    cra = CRA(8, size=24, heads=2, **options).eval()
    with torch.no_grad():
        cra.gamma.normal_(1, 0.5)
        cra.beta.normal_(0, 0.5)
        E = torch.randn(2, 3, 8)
        expected = torch.stack([torch.stack([slow_cra(cra, e) for e in row]) for row in E])
        torch.testing.assert_close(cra(E), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "d"), [(64, 16), (16, 64), (16, 16)])
def test_orthogonal_basis_is_orthonormal_along_its_short_side(size: int, d: int) -> None:
    basis = make_basis("orthogonal", size, d)
    gram = basis.T @ basis if size >= d else basis @ basis.T
    torch.testing.assert_close(gram, torch.eye(min(size, d)), atol=1e-5, rtol=0)


def test_blocks_have_unit_rows_that_are_orthogonal_within_a_block() -> None:
    basis = make_basis("orthogonal_blocks", 40, 16, "unscaled")
    for first in (0, 16):
        block = basis[first : first + 16]
        torch.testing.assert_close(block @ block.T, torch.eye(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(basis.norm(dim=1), torch.ones(40))


def test_matched_bases_have_the_orthogonal_ones_size() -> None:
    expected = math.sqrt(16)  # of 16 orthonormal columns
    for name in BASES:
        assert make_basis(name, 64, 16).norm().item() == pytest.approx(expected, rel=1e-5)
    assert make_basis("normal", 64, 16, "unscaled").norm().item() > 5 * expected


def test_basis_is_fixed_and_saved() -> None:
    cra = CRA(16, size=32)
    assert "B" in dict(cra.named_buffers())
    assert "B" in cra.state_dict()
    assert "B" in dict(CRA(16, size=32, train_basis=True).named_parameters())


def test_gram_sees_that_gamma_breaks_orthogonality() -> None:
    torch.manual_seed(0)
    cra = CRA(16, size=64)
    assert cra.gram() < 1e-5
    torch.nn.init.normal_(cra.gamma, 1, 0.5)
    assert cra.gram() > 0.05
