"""MGCA as a model of the harness: encoders, projection heads and the three alignments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgca import losses
from mgca.image import ImageEncoder, image_encoder
from mgca.text import TextEncoder

TERMS = ("ita", "cta", "cpa")

IMAGE = {
    "size": 224,
    "resize": 256,
    "mode": "pad",
    "evaluate": "center",
    "flip": 0.0,
    "filter": "bilinear",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "views": 1,
}


class Head(nn.Sequential):
    """Projection of vectors (N, C) or tokens (N, L, C) to unit length in the common space.

    For tokens this is the published 1 x 1 convolution: a linear map of each, with batch
    statistics over all of them, padded words included.
    """

    def __init__(self, width: int, hidden: int, output: int) -> None:
        super().__init__(
            nn.Linear(width, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, output),
            nn.BatchNorm1d(output, affine=False),
        )

    def forward(self, input: Tensor) -> Tensor:
        rows = super().forward(input.flatten(0, -2))
        return F.normalize(_full(rows), dim=-1).unflatten(0, input.shape[:-1])


class Pooled(nn.Module):
    """Images of a study (B, V, 3, H, W) to the frozen features (B, width) of its first one."""

    def __init__(self, network: ImageEncoder, image: Mapping[str, Any]) -> None:
        super().__init__()
        self.network, self.image = network, dict(image)
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images[:, 0]).pooled


class Embeddings(NamedTuple):
    """B image-report pairs in the common space of D dimensions, all of unit length."""

    images: Tensor  # (B, D)
    reports: Tensor  # (B, D)
    patches: Tensor  # (B, P, D)
    words: Tensor  # (B, T, D)
    patch_weights: Tensor | None  # (B, P), or None for uniform weights (ResNet)
    word_weights: Tensor  # (B, T), 0 where there is no word
    padded: Tensor  # (B, T) bool


class MGCA(nn.Module):
    """Multi-granularity cross-modal alignment.

    `encoder` and `text`: parameters of `mgca.image.image_encoder` and `mgca.text.TextEncoder`.
    `weights`: files for "image" and "text" (see `mgca.bert`). `image`: changes to the published
    image specification. `terms`: the alignments that are trained. `freeze_prototypes`: share of
    the budget during which prototypes get no gradient (published: 1 epoch of 50).
    A generator's `vocab_size` and `max_length` do not matter here: MGCA reads `batch.texts`.
    """

    def __init__(
        self,
        encoder: Mapping[str, Any],
        text: Mapping[str, Any],
        weights: Mapping[str, Path | None] | None = None,
        image: Mapping[str, Any] | None = None,
        terms: Sequence[str] = TERMS,
        dimensions: int = 128,
        hidden: int = 2048,
        prototypes: int = 500,
        freeze_prototypes: float = 0.02,
        vocab_size: int = 0,
        max_length: int = 0,
    ) -> None:
        super().__init__()
        if not terms or not set(terms) <= set(TERMS):
            raise ValueError(f"unknown terms {list(terms)}: choose from {', '.join(TERMS)}")
        files = weights or {}
        self.image = {**IMAGE, **(image or {})}
        self.terms, self.freeze_prototypes = tuple(terms), freeze_prototypes
        self.image_encoder = image_encoder(encoder, files.get("image"))
        self.text_encoder = TextEncoder(weights=files.get("text"), **text)
        self.heads = nn.ModuleDict(
            {
                "image": Head(self.image_encoder.width, hidden, dimensions),
                "patch": Head(self.image_encoder.token_width, hidden, dimensions),
                "report": Head(self.text_encoder.width, hidden, dimensions),
                "word": Head(self.text_encoder.width, hidden, dimensions),
            }
        )
        self.prototypes = nn.Linear(dimensions, prototypes, bias=False)

    @staticmethod
    def encoder(params: Mapping[str, Any], weights: Path | None) -> Pooled:
        """The image encoder alone, of a model's parameters; random values without `weights`."""
        image = {**IMAGE, **(params.get("image") or {})}
        return Pooled(image_encoder(params["encoder"], weights), image)

    def prepare(self, reports: Sequence[str]) -> None:
        """See the train reports once, before training: a BERT from scratch learns its pieces."""
        self.text_encoder.prepare(reports)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by part."""
        return {
            "image": list(self.image_encoder.parameters()),
            "text": list(self.text_encoder.parameters()),
            "heads": list(self.heads.parameters()),
            "prototypes": list(self.prototypes.parameters()),
        }

    def embed(self, images: Tensor, texts: Sequence[str]) -> Embeddings:
        """Images (B, 3, H, W) and B reports in the common space."""
        seen = self.image_encoder(images)
        read = self.text_encoder(texts)
        attention = seen.attention
        return Embeddings(
            images=self.heads["image"](seen.pooled),
            reports=self.heads["report"](read.report),
            patches=self.heads["patch"](seen.tokens),
            words=self.heads["word"](read.vectors),
            patch_weights=None if attention is None else _patch_weights(_full(attention)),
            word_weights=losses.clipped_weights(_full(read.attention), read.attention > 0),
            padded=read.padded,
        )

    def loss(self, batch: Any) -> dict[str, Tensor]:
        """The configured terms. In single precision, also under autocast."""
        pairs = self.embed(batch.images[:, 0], batch.texts)
        with torch.autocast(pairs.images.device.type, enabled=False):
            return self.align(pairs, batch.progress < self.freeze_prototypes, batch.whole)

    def align(self, pairs: Embeddings, frozen: bool, whole: Any = None) -> dict[str, Tensor]:
        """The configured terms of embedded pairs; `frozen`: no gradient to the prototypes.

        whole: of a batch that several processes share.
        """
        terms = {}
        if "ita" in self.terms:
            terms["ita"] = losses.instance_alignment(pairs.images, pairs.reports, whole=whole)
        if "cta" in self.terms:
            terms["cta"] = losses.token_alignment(
                pairs.words, pairs.patches, pairs.word_weights, pairs.patch_weights, pairs.padded
            )
        if "cpa" in self.terms:
            terms["cpa"] = losses.prototype_alignment(
                pairs.images, pairs.reports, self._unit_prototypes(frozen), whole=whole
            )
        return terms

    def _unit_prototypes(self, frozen: bool) -> Tensor:
        """Prototypes (K, D), normalised in place: no gradient passes through the norm."""
        weight = self.prototypes.weight
        with torch.no_grad():
            weight.copy_(F.normalize(weight, dim=1))
        return weight.detach() if frozen else weight

    def features(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Image and report embeddings (B, D), of unit length: their products rank retrieval."""
        seen = self.image_encoder(batch.images[:, 0])
        read = self.text_encoder(batch.texts)
        return (
            self.heads["image"](seen.pooled),
            self.heads["report"](read.report),
        )

    @torch.no_grad()
    def diagnose(self, batch: Any) -> dict[str, float]:
        """In-batch retrieval, mean of both directions: the curves that MGCA's code logs."""
        images, reports = self.features(batch)
        scores = images @ reports.T
        return {f"precision@{k}": _precision(scores, k) for k in (1, 5) if k <= len(scores)}


def _full(values: Tensor) -> Tensor:
    """At least single precision: autocast's half precision ends where similarities begin."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _patch_weights(attention: Tensor) -> Tensor:
    return losses.clipped_weights(attention, torch.ones_like(attention, dtype=torch.bool))


def _precision(scores: Tensor, k: int) -> float:
    """Share of rows and columns whose own partner is among their k best."""
    own = torch.arange(len(scores), device=scores.device).unsqueeze(1)
    hits = [(s.topk(k, dim=1).indices == own).any(dim=1).float().mean() for s in (scores, scores.T)]
    return float(sum(hits) / 2)
