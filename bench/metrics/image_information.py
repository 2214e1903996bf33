"""Does a model read the images? Log-likelihoods of reports given their own and others' images.

A report y of study 0 has the log-likelihood l_0 given its own images and l_1..l_K given those of K
other studies (`bench.data.pairings`). Nothing is decoded. See docs/image-information.md.

rank:  share of the K under which y is likelier than under its own; ties count one half.
bound: mean of l_0 / t - log(mean over j = 0..K of exp(l_j / t)), nats: InfoNCE (van den Oord et
       al., arXiv:1807.03748, section 2.3; Poole et al., arXiv:1905.06922, section 2.3), a lower
       bound on the mutual information of images and report, at most log(K + 1). A lower bound for
       any fixed critic, so for every temperature t; t is that of the largest bound on validation.
gap:   mean of l_0 - mean of l_1..l_K, nats a report, for attribution only: overconfidence
       inflates it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from bench.data.pairings import OTHERS, SEED
from bench.errors import BenchError
from bench.metrics.base import Metric

# Closer log-likelihoods of a report are equal: float32 sums of 60 tokens differ by 1e-5.
TIE = 1e-3
TEMPERATURES = tuple(float(t) for t in 2.0 ** (np.arange(-8, 41) / 4))  # 1/4 to 1024


class Likelihoods(Metric):
    """What these families share: they come from a run's model, with its reports' tokens."""

    version: ClassVar[int] = 1
    treatments: ClassVar[tuple[str, ...]] = ("features",)
    # A resample of studies keeps whose images each report was held against.
    context: ClassVar[str] = "others"
    resampling: ClassVar[str] = "others of the whole split"

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
        raise BenchError(
            f"{self.name} is computed from a model's likelihoods, not from reports",
            "it is part of every run whose model has `log_probs`",
        )

    def implementation(self) -> str:
        return (
            f"impl:bench|report:model-tokens|others:{OTHERS}|seed:{SEED}|tie:{TIE:g}"
            "|temperature:best-on-val"
        )


class ImageInformation(Likelihoods):
    """Own images against those of other studies, whatever they show."""

    name: ClassVar[str] = "image-information"
    scores = tuple(f"image-information-{x}" for x in ("rank", "bound", "gap", "temperature"))
    lower_is_better: ClassVar[tuple[str, ...]] = (scores[0],)  # a temperature is neither
    bounds = (
        (0.0, -math.inf, -math.inf, TEMPERATURES[0]),
        (1.0, math.log(OTHERS + 1), math.inf, TEMPERATURES[-1]),
    )

    def aggregate(self, sums: np.ndarray, n: np.ndarray | int) -> np.ndarray:
        return np.asarray(sums[..., :4] / np.asarray(n)[..., None])


class WithinLabels(Likelihoods):
    """Own images against those of studies with the same labels, where there are any.

    A study's bound is at most log of one more than its others, which may be fewer than K.
    """

    name: ClassVar[str] = "image-information-within"
    scores = tuple(f"image-information-within-{x}" for x in ("rank", "bound"))
    lower_is_better: ClassVar[tuple[str, ...]] = (scores[0],)
    bounds = ((0.0, -math.inf), (1.0, math.log(OTHERS + 1)))

    def aggregate(self, sums: np.ndarray, n: np.ndarray | int) -> np.ndarray:
        return np.asarray(sums[..., :2] / np.maximum(sums[..., 2:], 1.0))

    def implementation(self) -> str:
        return super().implementation() + "|others-of:same-labels"


# --- per report ---------------------------------------------------------------------------------


def rank(likelihoods: np.ndarray) -> np.ndarray:
    """(n,) of log-likelihoods (n, 1 + K), own first, NaN where there is no other: 0 best.

    .5 where there is no other at all.
    """
    ahead = likelihoods[:, 1:] - likelihoods[:, :1]
    above = (ahead > TIE) + 0.5 * (np.abs(ahead) <= TIE)
    there = (~np.isnan(ahead)).sum(axis=1)
    return np.where(there > 0, above.sum(axis=1) / np.maximum(there, 1), 0.5)


def bound(likelihoods: np.ndarray, temperature: float) -> np.ndarray:
    """(n,) nats: log of the own likelihood over the mean of all that there are."""
    x = (likelihoods - likelihoods[:, :1]) / temperature
    top = np.nanmax(x, axis=1)
    return -(top + np.log(np.nanmean(np.exp(x - top[:, None]), axis=1)))


def temperature(likelihoods: np.ndarray) -> float:
    """That of `TEMPERATURES` with the largest mean bound; of equals the one nearest to 1."""
    nearest = sorted(TEMPERATURES, key=lambda t: abs(np.log(t)))
    means = np.array([bound(likelihoods, t).mean() for t in nearest])
    return nearest[int(np.argmax(means > means.max() - 1e-6))]


def tables(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Family -> statistics per study, of what `bench.runs.information.likelihoods` gives.

    "image-information": rank, bound, gap, temperature. "image-information-within": rank and bound
    of studies that have others of the same labels, zeros for the rest, and which those are.
    """
    free, within = found["test"], found["within"]
    t = temperature(found["val"])
    gap = (found["own"].astype(np.float64) - found["mean"]).sum(axis=1)
    taking = (~np.isnan(within[:, 1:])).any(axis=1).astype(np.float64)
    return {
        ImageInformation.name: np.column_stack(
            [rank(free), bound(free, t), gap, np.full(len(free), t)]
        ),
        WithinLabels.name: np.column_stack(
            [rank(within) * taking, bound(within, t) * taking, taking]
        ),
    }


def taking(within: np.ndarray) -> int:
    """How many studies have others of the same labels, of the statistics of `WithinLabels`."""
    return int(within[:, 2].sum())
