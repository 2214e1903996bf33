"""Text-to-Image Refiner (section 3.4): a learnable mask on the decoder's cross-attention.

Eq. 11 adds k * sigmoid(M) to the logits; softmax ignores what is constant in a row, so 1 -
sigmoid(M) is an amount of suppression, and Eq. 12 is a price on it whose optimum alone is ordinary
attention. `PAPER.md` has the consequences and the variants.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# variant: (penalise sigma rather than 1 - sigma, "mean" or "sum", weight)
VARIANTS: dict[str, tuple[bool, str, float]] = {
    "paper": (False, "mean", 1.0),
    "paper_literal": (False, "sum", 1.0),
    "focus": (True, "mean", 0.5),
}
FORMS = ("static", "per_layer", "content")
INERT = 0.01  # total variation between masked and unmasked attention below which TIR does nothing


@dataclass(frozen=True)
class Shape:
    """What the mask must cover: decoding positions, visual tokens, layers, d and heads."""

    positions: int
    tokens: int
    layers: int
    d: int
    heads: int


class TIR(nn.Module):
    """M and sigmoid(M) of Eq. 11, and the loss of Eq. 12.

    variant: "paper" (Eq. 12's sign, mean), "paper_literal" (its sum over T and L), or "focus" (mean
        of sigma, weight 0.5: SwinBERT's prior, which does ask for focus).
    form: "static", one table (positions, visual tokens) for all heads and layers, its row that of
        the decoding position, as the printed T x L; "per_layer", one table each; "content",
        (h U)(v W)^T / sqrt(rank) of decoder state and visual token, which can depend on the word.
    init: "zeros" (enabling it changes nothing, whatever the form) or "normal", N(0, 1).
    k: of Eq. 11. divide: sqrt("head") or sqrt("model") dimension under k (Eq. 11's d).
    layers: "all" decoder layers, "last", or a list of their numbers.
    """

    def __init__(
        self,
        shape: Shape,
        variant: str = "paper",
        form: str = "static",
        init: str = "zeros",
        k: float = 1000.0,
        divide: str = "head",
        layers: str | Sequence[int] = "all",
        rank: int = 32,
    ) -> None:
        super().__init__()
        for option, value, valid in (
            ("variant", variant, tuple(VARIANTS)),
            ("form", form, FORMS),
            ("init", init, ("zeros", "normal")),
            ("divide", divide, ("head", "model")),
        ):
            if value not in valid:
                raise ValueError(f"{option} {value!r}: not one of {', '.join(valid)}")
        self.shape, self.variant, self.form = shape, variant, form
        width = shape.d if divide == "model" else shape.d // shape.heads
        self.gain = k / math.sqrt(width)
        every = range(shape.layers)
        named = {"all": tuple(every), "last": (shape.layers - 1,)}
        self.layers = named[layers] if isinstance(layers, str) else tuple(layers)
        if form == "content":
            self.text = nn.Parameter(torch.randn(shape.d, rank) / math.sqrt(shape.d))
            self.image = nn.Parameter(torch.randn(shape.d, rank) / math.sqrt(shape.d))
            if init == "zeros":
                nn.init.zeros_(self.image)
        else:
            tables = shape.layers if form == "per_layer" else 1
            self.M = nn.Parameter(torch.zeros(tables, shape.positions, shape.tokens))
            if init == "normal":
                nn.init.normal_(self.M)

    def project(self, visual: Tensor) -> Tensor:
        """What M needs of the encoded visual tokens (B, L, d), once per study."""
        return visual @ self.image if self.form == "content" else visual[..., :0]

    def mask(self, layer: int, positions: slice, rows: Tensor, visual: Tensor) -> Tensor:
        """sigmoid(M) in float32: (R or 1, L), or (B, R, L) for content.

        rows: normalised decoder states (B, R, d). visual: of `project`. A position beyond the
        table (decoding longer than training) takes its last row.
        """
        if self.form == "content":
            M = (rows @ self.text) @ visual.mT / math.sqrt(self.text.shape[1])
            return torch.sigmoid(M.float())
        if visual.shape[1] > self.shape.tokens:
            raise ValueError(f"{visual.shape[1]} visual tokens, but M has {self.shape.tokens}")
        table = self.M[layer if self.form == "per_layer" else 0, :, : visual.shape[1]]
        last = self.shape.positions - 1
        first = min(positions.start, last)
        return torch.sigmoid(table[first : max(min(positions.stop, last + 1), first + 1)])

    def logits(self, mask: Tensor) -> Tensor:
        """Eq. 11's second term, broadcast over heads, less its largest entry in each row.

        Softmax ignores the shift; it keeps precision (bfloat16 steps are 0.25 around 62.5, half of
        the gain at the defaults) and makes a constant M an exact no-op.
        """
        bias = self.gain * (mask - mask.detach().amax(-1, keepdim=True))
        return bias.unsqueeze(1) if bias.dim() == 3 else bias

    def loss(self, masks: Sequence[Tensor], real: Tensor, whole: Any = None) -> Tensor:
        """Eq. 12 over real text positions `real` (B, T) and visual tokens; mean over layers.

        masks: sigmoid(M) of the refined layers. "sum" is per report, then the mean over reports.
        whole: of a batch that several processes share.
        """
        focus, reduction, weight = VARIANTS[self.variant]
        words = real.sum() if whole is None else whole.mean(real.sum().float())
        terms = []
        for mask in masks:
            price = (mask if focus else 1 - mask).float()
            rows = (price.sum(-1) * real).sum()  # (T,) or (B, T), broadcast over the batch
            count = words * mask.shape[-1] if reduction == "mean" else len(real)
            terms.append(rows / count)
        return weight * torch.stack(terms).mean()
