"""Cross-modal Representation Aligner (section 3.3): one basis, and gates, for both modalities."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from baselines.transformer import Attention, xavier_


def orthogonal(size: int, d: int) -> Tensor:
    """Orthonormal columns (rows when size < d): QR of a Gaussian, i.e. Gram-Schmidt.

    A `size` x d matrix with size > d cannot have orthonormal rows.
    """
    return nn.init.orthogonal_(torch.empty(size, d))


def orthogonal_blocks(size: int, d: int) -> Tensor:
    """Orthogonal d x d matrices on top of each other, the last one cut: unit rows."""
    blocks = [orthogonal(min(d, size - first), d) for first in range(0, size, d)]
    return torch.cat(blocks)


BASES: dict[str, Callable[[int, int], Tensor]] = {
    "orthogonal": orthogonal,
    "orthogonal_blocks": orthogonal_blocks,
    "normal": torch.randn,
    "uniform": torch.rand,
}
FUSIONS = ("dual_gate", "none", "addition")


def make_basis(name: str, size: int, d: int, scale: str = "matched") -> Tensor:
    """B (size, d). `scale` "matched" gives every basis the root mean square of "orthogonal".

    Without it Table 3 compares scales: rows of N(0, 1) are 45 times as long as those of an
    orthogonal 2048 x 512 basis.
    """
    _check("basis", name, tuple(BASES))
    _check("scale", scale, ("matched", "unscaled"))
    basis = BASES[name](size, d)
    if scale == "unscaled":
        return basis
    return basis * (math.sqrt(min(size, d)) / basis.norm())


def _check(option: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise ValueError(f"{option} {value!r}: not one of {', '.join(valid)}")


class Gate(nn.Module):
    """Eq. 8: G(X, Y) = sigmoid(X W1 + Y W2)."""

    def __init__(self, d: int, bias: bool) -> None:
        super().__init__()
        self.x = nn.Linear(d, d, bias=bias)
        self.y = nn.Linear(d, d, bias=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.sigmoid(self.x(x) + self.y(y))


class CRA(nn.Module):
    """E (B, T, d) of either modality to F (B, T, d); 4.2 M parameters at the defaults (Eq. 6-9).

    basis, scale: see `make_basis`. train_basis: B itself is a parameter too.
    gain_bias: shape of gamma and beta in Eq. 6: "full" as printed, or per "feature".
    heads: of Eq. 7. output: a projection after the heads, as in the Transformer.
    fusion: Eq. 9's "dual_gate"; Table 4's "none" (F = F~) and "addition" (F = E + F~).
    gated_sum: Eq. 9's last term inside the forget gate, G_F * (E + F~); as printed it is outside.
    """

    B: Tensor

    def __init__(
        self,
        d: int,
        *,
        size: int = 2048,
        basis: str = "orthogonal",
        scale: str = "matched",
        train_basis: bool = False,
        gain_bias: str = "full",
        heads: int = 8,
        dropout: float = 0.1,
        fusion: str = "dual_gate",
        gate_bias: bool = False,
        gated_sum: bool = False,
    ) -> None:
        super().__init__()
        _check("gain_bias", gain_bias, ("full", "feature"))
        _check("fusion", fusion, FUSIONS)
        self.fusion = fusion
        self.gated_sum = gated_sum
        self.attend = Attention(d, heads, dropout)
        if fusion == "dual_gate":
            self.input_gate = Gate(d, gate_bias)
            self.forget_gate = Gate(d, gate_bias)
        xavier_(self)
        start = make_basis(basis, size, d, scale)
        if train_basis:
            self.B = nn.Parameter(start)
        else:
            self.register_buffer("B", start)
        shape = (size, d) if gain_bias == "full" else (d,)
        self.gamma = nn.Parameter(torch.ones(shape))
        self.beta = nn.Parameter(torch.zeros(shape))

    def adjusted(self) -> Tensor:
        """Eq. 6: B^ = gamma * B + beta, (size, d)."""
        return self.gamma * self.B + self.beta

    def project(self) -> Tensor:
        """Keys and values of the adjusted basis, once for all tokens of a batch or a decoding."""
        return self.attend.project(self.adjusted().unsqueeze(0))

    def represent(self, E: Tensor, projected: Tensor) -> Tensor:
        """Eq. 7: F~ of E (B, T, d). All tokens are queries of the one basis."""
        return self.attend(E.reshape(1, -1, E.shape[-1]), projected).view_as(E)

    def fuse(self, E: Tensor, F: Tensor) -> Tensor:
        """Eq. 9 from E and F~ (or Table 4's replacements)."""
        if self.fusion == "none":
            return F
        if self.fusion == "addition":
            return E + F
        new = self.input_gate(E, F) * torch.tanh(E + F)
        forget = self.forget_gate(E, F)
        return new + forget * (E + F) if self.gated_sum else new + forget * E + F

    def forward(self, E: Tensor, projected: Tensor | None = None) -> Tensor:
        """Eq. 2. `projected`: of `project`, when several calls share it."""
        return self.fuse(E, self.represent(E, self.project() if projected is None else projected))

    def gram(self) -> float:
        """Largest |cosine| between two different columns of the adjusted basis (rows if fewer)."""
        basis = self.adjusted().float()
        vectors = basis.T if len(basis) >= basis.shape[1] else basis
        unit = nn.functional.normalize(vectors, dim=1)
        return (unit @ unit.T).detach().fill_diagonal_(0).abs().max().item()
