"""The global alignment loss of CRA (Eq. 10). Eq. 5 is `baselines.transformer.token_loss`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

POOLINGS = ("words", "tokens", "max")
NEGATIVES = ("hardest", "mean")


def similarities(images: Tensor, reports: Tensor) -> Tensor:
    """Cosine of every image (row) with every report (column): (B, d), (B, d) -> (B, B), fp32."""
    unit = nn.functional.normalize
    # Outside autocast: a hinge of 0.2 needs more than bfloat16's three digits.
    with torch.autocast(images.device.type, enabled=False):
        return unit(images.float(), dim=1) @ unit(reports.float(), dim=1).T


def same_report(tokens: Tensor) -> Tensor:
    """(B, T) -> (B, B): true where two token sequences are equal, on the diagonal in any case."""
    _, which = tokens.unique(dim=0, return_inverse=True)  # B^2 T comparisons cost more
    return which.unsqueeze(0) == which.unsqueeze(1)


class Triplet(nn.Module):
    """Eq. 10: two hinges with the hardest negatives of the batch; the mean over the batch.

    margin: alpha. negatives: "hardest" per anchor and direction, or the "mean" of all hinges.
    exclude_identical: a study with the same token sequence is no negative. IU X-ray has many
        (15 % of batches of 16 hold a pair); they are correct answers.
    pooling: what enters the cosine: the mean over visual tokens and over "words" (without BOS, EOS
        and padding), over "tokens" (with BOS and EOS), or the "max" over visual tokens and words.
    """

    def __init__(
        self,
        margin: float = 0.2,
        negatives: str = "hardest",
        exclude_identical: bool = True,
        pooling: str = "words",
    ) -> None:
        super().__init__()
        if negatives not in NEGATIVES:
            raise ValueError(f"negatives {negatives!r}: not one of {', '.join(NEGATIVES)}")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling {pooling!r}: not one of {', '.join(POOLINGS)}")
        self.margin = margin
        self.negatives = negatives
        self.exclude_identical = exclude_identical
        self.pooling = pooling

    def forward(self, images: Tensor, reports: Tensor, tokens: Tensor) -> Tensor:
        """Pooled F(I), F(R) (B, d) and the token ids (B, T). 0 where there is no negative."""
        cosine = similarities(images, reports)
        positive = cosine.diagonal()
        own = torch.eye(len(cosine), dtype=torch.bool, device=cosine.device)
        never = same_report(tokens) if self.exclude_identical else own
        report = self._hinge(positive.unsqueeze(1), cosine, never, dim=1)
        image = self._hinge(positive.unsqueeze(0), cosine, never, dim=0)
        return (report + image).mean()

    def _hinge(self, positive: Tensor, cosine: Tensor, never: Tensor, dim: int) -> Tensor:
        """(B,) hinges of each anchor against its negatives along `dim`."""
        hinge = torch.relu(self.margin - positive + cosine).masked_fill(never, 0.0)
        if self.negatives == "hardest":
            return hinge.amax(dim)
        return hinge.sum(dim) / (~never).sum(dim).clamp(min=1)
