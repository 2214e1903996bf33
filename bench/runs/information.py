"""Log-likelihoods of a split's reports given their own and other studies' images.

What a trained model says of them is sealed with its predictions; what is made of it (rank, bound,
temperature) is scoring's business (`bench.metrics.image_information`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.data.pairings import ABSENT, others
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.data.batches import Split

LIKELIHOODS = "likelihoods.npz"
STUDIES = 64  # encoded at once
CHUNK = 128  # pairs of a report and images scored at once


def likelihoods(
    model: Any,
    val: Split,
    test: Split,
    groups: Sequence[Hashable],
    device: str,
) -> dict[str, np.ndarray]:
    """Log-likelihoods, nats, each row's first column given the study's own images.

    "val" (m, 1 + OTHERS), "test" and "within" (n, 1 + OTHERS): summed over a report's tokens, NaN
    where there is no such other study; "within": others of the same of the test split's `groups`.
    "test_studies", "within_studies": rows of the studies whose images they are, `ABSENT` for none.
    "own", "mean" (n, T): of each token, given the own images, and the mean over "test"'s others.
    """
    drawn = {"test": _with_own(others(test.studies)),
             "within": _with_own(others(test.studies, groups))}  # fmt: skip
    free, tied = pair_tokens(model, test, list(drawn.values()), device)
    [held] = pair_tokens(model, val, [_with_own(others(val.studies))], device)
    found = {"val": held.sum(-1), "test": free.sum(-1), "within": tied.sum(-1)}
    tokens = {"own": free[:, 0], "mean": _mean_of_others(free)}
    rows = {f"{name}_studies": studies.astype(np.int32) for name, studies in drawn.items()}
    return {**found, **rows, **{k: v.astype(np.float32) for k, v in tokens.items()}}


def _with_own(drawn: np.ndarray) -> np.ndarray:
    return np.column_stack([np.arange(len(drawn)), drawn])


def _mean_of_others(tokens: np.ndarray) -> np.ndarray:
    """(n, T) of (n, 1 + OTHERS, T); the own where a study has no others."""
    there = (~np.isnan(tokens[:, 1:, 0])).sum(axis=1)[:, None]
    mean = np.nansum(tokens[:, 1:], axis=1) / np.maximum(there, 1)
    return np.where(there > 0, mean, tokens[:, 0])


def pair_tokens(
    model: Any, split: Split, studies: Sequence[np.ndarray], device: str
) -> list[np.ndarray]:
    """For each array (n, m) of study rows, float64 (n, m, T): the log-probabilities of the tokens
    of report i given the images of study [i, j]; NaN for `ABSENT`.

    A pair that occurs in several arrays is scored once.
    """
    n = len(split)
    codes = [np.where(s == ABSENT, ABSENT, s * n + np.arange(n)[:, None]) for s in studies]
    distinct, place = np.unique(np.concatenate([c.ravel() for c in codes]), return_inverse=True)
    found = np.full((len(distinct), split.tokens.shape[1]), np.nan)
    real = distinct != ABSENT
    found[real] = _token_log_probs(model, split, distinct[real] // n, distinct[real] % n, device)
    if not np.isfinite(found[real]).all():
        raise BenchError(
            "the model gives reports a log-probability that is no number",
            "look at curve.csv for a diverged loss; lower the learning rate or clip gradients",
        )
    parts = np.split(place.ravel(), np.cumsum([c.size for c in codes])[:-1])
    return [found[part].reshape(*c.shape, -1) for part, c in zip(parts, codes, strict=True)]


def _token_log_probs(
    model: Any, split: Split, images: np.ndarray, reports: np.ndarray, device: str
) -> np.ndarray:
    """(P, T) of pairs of a study's images (P,) and a report (P,); images are encoded once."""
    import torch

    found = np.zeros((len(images), split.tokens.shape[1]), dtype=np.float32)
    with torch.inference_mode():
        for number, batch in enumerate(split.batches(STUDIES, device)):
            first = number * STUDIES
            state = model.encode(batch.images)
            here = np.flatnonzero((images >= first) & (images < first + STUDIES))
            # Reports of one length together: little padding. Equal ones side by side: a model may
            # share what depends on words alone.
            here = here[np.lexsort((reports[here], split.lengths[reports[here]]))]
            for part in np.split(here, range(CHUNK, len(here), CHUNK)):
                scored = _scored(model, split, reports[part], state, images[part] - first, device)
                found[part, : scored.shape[1]] = scored
    return found


def _scored(
    model: Any, split: Split, reports: np.ndarray, state: Any, studies: np.ndarray, device: str
) -> np.ndarray:
    import torch

    from bench.model import Batch

    lengths = split.lengths[reports]
    tokens = split.tokens[reports, : lengths.max()]
    unseen = torch.empty(0)  # the state stands for the images
    text, counts, rows = (torch.from_numpy(x).to(device) for x in (tokens, lengths, studies))
    log_probs = model.log_probs(Batch(unseen, text, counts), state, rows)
    return np.asarray(log_probs.cpu().numpy())
