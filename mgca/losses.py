"""The three alignments of MGCA, on embeddings that are already L2-normalised.

B samples, T words, P patches, D dimensions, K prototypes. Where several processes share a batch,
contrast (ITA) and assignment (CPA) see the samples of all of them through `whole`. CTA never looks
beyond a sample.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mgca.sinkhorn import sinkhorn

INSTANCE_TEMPERATURE = 0.07
TOKEN_TEMPERATURE = 0.1
PROTOTYPE_TEMPERATURE = 0.2
PERCENTILES = (0.1, 0.9)


def instance_alignment(
    images: Tensor,
    reports: Tensor,
    temperature: float = INSTANCE_TEMPERATURE,
    whole: Any = None,
) -> Tensor:
    """ITA: cross-entropy of images (B, D) against all reports, plus reports against all images.

    A sum of the two directions, not their mean, as in the released code.
    """
    every_image, every_report = (
        (images, reports) if whole is None else (whole.gather(images), whole.gather(reports))
    )
    first = 0 if whole is None else whole.first(len(images))
    target = torch.arange(len(images), device=images.device) + first
    to_reports = F.cross_entropy(images @ every_report.T / temperature, target)
    to_images = F.cross_entropy(reports @ every_image.T / temperature, target)
    return to_reports + to_images


def token_alignment(
    words: Tensor,
    patches: Tensor,
    word_weights: Tensor,
    patch_weights: Tensor | None,
    padded: Tensor,
    temperature: float = TOKEN_TEMPERATURE,
) -> Tensor:
    """CTA: words (B, T, D) with their attended patches, and patches (B, P, D) with their words.

    Weights sum to 1 over a sample's tokens. `padded` (B, T) marks places without a word: patches
    do not attend to them, yet they stay among the negatives of the word loss, with weight 0.
    `patch_weights` None is the ResNet branch: uniform weights, attended words normalised. The ViT
    branch, with weights (B, P), leaves the attended words unnormalised (the released code's quirk).
    """
    seen = F.normalize(attend(words, patches, temperature), dim=-1)
    word_loss = matching(words, seen, word_weights, temperature)
    read = attend(patches, words, temperature, padded)
    if patch_weights is None:
        read = F.normalize(read, dim=-1)
        patch_weights = patches.new_full(patches.shape[:2], 1 / patches.shape[1])
    return word_loss + matching(patches, read, patch_weights, temperature)


def attend(
    queries: Tensor, keys: Tensor, temperature: float, padded: Tensor | None = None
) -> Tensor:
    """Mean of keys (B, M, D) under the softmax of their similarity to each query (B, N, D)."""
    similarity = queries @ keys.transpose(1, 2) / temperature
    if padded is not None:
        similarity = similarity.masked_fill(padded.unsqueeze(1), float("-inf"))
    return similarity.softmax(dim=-1) @ keys


def matching(tokens: Tensor, partners: Tensor, weights: Tensor, temperature: float) -> Tensor:
    """Weighted cross-entropy of tokens (B, N, D) with their partners of the same index.

    Mean of both directions, summed with weights (B, N), divided by B.
    """
    similarity = tokens @ partners.transpose(1, 2) / temperature
    right = similarity.diagonal(dim1=1, dim2=2)
    forth = similarity.logsumexp(dim=2) - right
    back = similarity.logsumexp(dim=1) - right
    return ((forth + back) / 2 * weights).sum() / len(tokens)


@torch.no_grad()
def clipped_weights(attention: Tensor, live: Tensor) -> Tensor:
    """Attention (B, N) clipped to its 10th and 90th percentile over `live`, summing to 1.

    Entries that are not live stay as they are (0 for words that are not there). A sample without
    any live entry gets weights of 0 and so takes no part.
    """
    quantiles = torch.tensor(PERCENTILES, dtype=attention.dtype, device=attention.device)
    counted = attention.masked_fill(~live, float("nan"))
    low, high = torch.nanquantile(counted, quantiles, dim=1).unsqueeze(-1)
    weights = torch.where(live, attention.clamp(low, high), attention)
    return weights / weights.sum(dim=1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)


def prototype_alignment(
    images: Tensor,
    reports: Tensor,
    prototypes: Tensor,
    temperature: float = PROTOTYPE_TEMPERATURE,
    whole: Any = None,
) -> Tensor:
    """CPA: each modality's Sinkhorn code predicted from the other; prototypes (K, D), rows of 1."""
    image_scores = images @ prototypes.T
    report_scores = reports @ prototypes.T
    to_report = _swapped(_codes(image_scores, whole), report_scores, temperature)
    to_image = _swapped(_codes(report_scores, whole), image_scores, temperature)
    return (to_report + to_image) / 2


@torch.no_grad()
def _codes(scores: Tensor, whole: Any) -> Tensor:
    if whole is None:
        return sinkhorn(scores)
    return sinkhorn(whole.gather(scores)).narrow(0, whole.first(len(scores)), len(scores))


def _swapped(codes: Tensor, scores: Tensor, temperature: float) -> Tensor:
    return -(codes * F.log_softmax(scores / temperature, dim=1)).sum(dim=1).mean()
