"""What frozen features are worth: linear probes at few labels, and image-report retrieval.

Pure functions of arrays. The probe is MGCA's transfer test (its code freezes the encoder and
trains one linear layer by gradient descent on 1 %, 10 % and 100 % of the labels); here the layer
is the exact minimum of the penalised logistic loss, so that nothing but the drawn subset varies.
Embeddings and features come from a model; ranking and probing are the harness' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FRACTIONS = (0.01, 0.1, 1.0)
SEEDS = (0, 1, 2)
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # per sample, on standardised features
RANKS = (1, 5, 10)


@dataclass(frozen=True)
class Probe:
    """Test scores of one probe: `scores` (n, findings), the penalty chosen on validation."""

    fraction: float
    seed: int
    labels: int  # training samples used
    penalty: float
    scores: np.ndarray


def linear_probe(
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray],
    test: np.ndarray,
    fraction: float,
    seed: int,
    penalties: Sequence[float] = PENALTIES,
) -> Probe:
    """Fit on a share of the training labels, choose the penalty by mean AUROC on `val`.

    `train` and `val`: features (n, d) and labels (n, findings) of 0 and 1. `test`: features.
    """
    features, labels = subset(*train, fraction, seed)
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread[spread < 1e-6 * max(spread.max(), 1e-12)] = np.inf  # a constant feature says nothing
    axes, inside = _row_space((features - mean) / spread)
    scale = axes / spread[:, None]
    seen = (val[0] - mean) @ scale
    best, best_value = None, -np.inf
    for penalty in penalties:
        weights = logistic_regression(inside, labels, penalty)
        value = np.nan_to_num(mean_auroc(predict(weights, seen), val[1]), nan=0.5)
        if value > best_value:
            best, best_value = (penalty, weights), value
    if best is None:
        raise ValueError("linear_probe needs at least one penalty")
    scores = predict(best[1], (test - mean) @ scale)
    return Probe(fraction, seed, len(labels), best[0], scores)


def subset(
    features: np.ndarray, labels: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """A random share of the samples (at least 2), in their order; all of them for 1."""
    count = max(2, round(fraction * len(labels)))
    if count >= len(labels):
        return features.astype(np.float64), labels.astype(np.float64)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(labels))[:count])
    return features[chosen].astype(np.float64), labels[chosen].astype(np.float64)


def _row_space(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal axes (d, r) that span the rows, and the rows in them (n, r).

    The penalised minimum lies in the span of the samples, and a rotation leaves the penalty as
    it is: with 20 samples of 2048 features the problem has 20 unknowns a finding.
    """
    _, singular, transposed = np.linalg.svd(features, full_matrices=False)
    kept = singular > singular.max(initial=0) * 1e-10
    axes = transposed[kept].T
    return axes, features @ axes


def logistic_regression(features: np.ndarray, labels: np.ndarray, penalty: float) -> np.ndarray:
    """Weights (d + 1, findings), bias last: mean log-loss + penalty / 2 |w|^2, bias unpenalised.

    A label that every sample shares has no finite bias; half a count of each class is added.
    """
    from scipy.optimize import minimize

    n, d = features.shape
    k = labels.shape[1]
    positives = (labels.sum(axis=0) + 0.5) / (n + 1)
    start = np.zeros((d + 1, k))
    start[-1] = np.log(positives / (1 - positives))
    varied = (labels.min(axis=0) != labels.max(axis=0)).nonzero()[0]
    targets = labels[:, varied]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(d + 1, len(varied))
        logits = features @ weights[:-1] + weights[-1]
        value = (np.logaddexp(0, logits) - targets * logits).sum() / n
        error = (_sigmoid(logits) - targets) / n
        gradient = np.vstack([features.T @ error + penalty * weights[:-1], error.sum(axis=0)])
        return value + penalty / 2 * np.square(weights[:-1]).sum(), gradient.ravel()

    options = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-12, "gtol": 1e-7}
    if len(varied):
        found = minimize(
            objective, start[:, varied].ravel(), jac=True, method="L-BFGS-B", options=options
        )
        start[:, varied] = found.x.reshape(d + 1, len(varied))
    return start


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))


def predict(weights: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Logits (n, findings)."""
    return features @ weights[:-1] + weights[-1]


# --- AUROC and its uncertainty --------------------------------------------------------------------


def auroc(scores: np.ndarray, truth: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """AUROC of each column (n, findings); ties count half; NaN where one class is absent.

    `counts` (R, n) weights the samples R times over (a bootstrap): the result is then
    (R, findings).
    """
    weights = np.ones((1, len(scores))) if counts is None else counts.astype(np.float64)
    columns = [_auroc(scores[:, j], truth[:, j] > 0.5, weights) for j in range(truth.shape[1])]
    result = np.stack(columns, axis=1)
    return result[0] if counts is None else result


def _auroc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # one group a distinct score
    inside = positive[order]
    sorted_weights = weights[:, order]
    above = np.add.reduceat(sorted_weights * inside, starts, axis=1)
    below = np.add.reduceat(sorted_weights * ~inside, starts, axis=1)
    wins = (above * (below.cumsum(axis=1) - below / 2)).sum(axis=1)
    pairs = above.sum(axis=1) * below.sum(axis=1)
    return np.divide(wins, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def mean_auroc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the findings that have both classes; NaN if none has."""
    values = auroc(scores, truth)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def resampled_auroc(
    runs: Sequence[np.ndarray], truth: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """AUROC (1 + R, findings + 1), mean over runs: as observed, then of R resamples.

    `runs`: test scores (n, findings), one per seed. `counts` (R, n): how often each resample draws
    each sample, the same for whatever is to be compared. The last column is the mean over the
    findings that have both classes; a finding without is NaN.
    """
    weights = np.vstack([np.ones((1, len(truth))), counts])
    values = np.mean([auroc(scores, truth, weights) for scores in runs], axis=0)
    known = np.isfinite(values)
    sums = np.where(known, values, 0).sum(axis=1, keepdims=True)
    each = known.sum(axis=1, keepdims=True)
    return np.hstack(
        [values, np.divide(sums, each, out=np.full_like(sums, np.nan), where=each > 0)]
    )


def spread(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """(value, low, high) of a column of `resampled_auroc`, or of a difference of two.

    The interval's ends are percentiles of the resamples in which the value exists.
    """
    low, high = np.nanquantile(values[1:], [(1 - level) / 2, (1 + level) / 2])
    return float(values[0]), float(low), float(high)


# --- retrieval ------------------------------------------------------------------------------------


def answers(
    images: np.ndarray,
    reports: np.ndarray,
    texts: Sequence[str] | None = None,
    ranks: Sequence[int] = RANKS,
) -> dict[str, np.ndarray]:
    """Recall and precision at `ranks` of each query (n,), both directions; embeddings (n, d).

    Recall@K: whether a right answer is among the K best (MGCA's in-batch "precision@K").
    Precision@K: share of the K best that are right. Right is the query's own partner and, when
    `texts` are given, any pair whose report reads the same. Equal similarities rank in the order
    of the samples, so a constant embedding scores chance.
    """
    right = _same(texts, len(images))
    similarity = images.astype(np.float64) @ reports.astype(np.float64).T
    result = {}
    for direction, scores in (("image_to_text", similarity), ("text_to_image", similarity.T)):
        order = np.argsort(-scores, axis=1, kind="stable")
        hits = np.take_along_axis(right, order, axis=1)
        for k in (k for k in ranks if k <= len(images)):
            result[f"{direction}/recall@{k}"] = hits[:, :k].any(axis=1).astype(float)
            result[f"{direction}/precision@{k}"] = hits[:, :k].mean(axis=1)
    return result


def _same(texts: Sequence[str] | None, n: int) -> np.ndarray:
    if texts is None:
        return np.eye(n, dtype=bool)
    _, group = np.unique(np.asarray(texts), return_inverse=True)
    return group[:, None] == group[None, :]


def chance(
    n: int, texts: Sequence[str] | None = None, ranks: Sequence[int] = RANKS
) -> dict[str, float]:
    """Expected precision@K (any K) and recall at `ranks` of a random ranking of n pairs.

    A query with r right answers misses all of them with probability C(n - r, K) / C(n, K).
    """
    right = _same(texts, n).sum(axis=1)
    place = np.arange(n)
    misses = np.clip((n - right[:, None] - place) / (n - place), 0, 1).cumprod(axis=1)
    recalls = {f"recall@{k}": float(1 - misses[:, k - 1].mean()) for k in ranks if k <= n}
    return {"precision": float(right.mean() / n), **recalls}
