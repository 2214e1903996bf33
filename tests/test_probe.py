"""Linear probes, AUROC and retrieval against slow or library versions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from bench.pretraining import probe


def made(n: int, d: int = 12, seed: int = 0, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Features and three labels of which the features tell something."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, d)) * np.linspace(0.1, 5, d)
    truth = np.random.default_rng(99).standard_normal((d, 3)) / np.linspace(0.1, 5, d)[:, None]
    logits = features @ truth + noise * rng.standard_normal((n, 3))
    return features, (logits > [0, 1, 2]).astype(int)


def test_auroc_equals_sklearn_with_ties() -> None:
    rng = np.random.default_rng(0)
    scores, truth = rng.integers(0, 6, (80, 4)).astype(float), rng.random((80, 4)) < 0.3
    expected = [roc_auc_score(truth[:, j], scores[:, j]) for j in range(4)]
    assert probe.auroc(scores, truth) == pytest.approx(expected)


def test_auroc_of_counts_equals_auroc_of_copies() -> None:
    rng = np.random.default_rng(1)
    scores, truth = rng.integers(0, 9, (30, 2)).astype(float), rng.random((30, 2)) < 0.4
    counts = rng.multinomial(30, np.full(30, 1 / 30), size=5)
    expected = [probe.auroc(scores.repeat(c, axis=0), truth.repeat(c, axis=0)) for c in counts]
    assert probe.auroc(scores, truth, counts) == pytest.approx(np.array(expected))


def test_auroc_of_one_class_is_not_a_number() -> None:
    values = probe.auroc(np.zeros((3, 2)), np.array([[1, 0], [1, 1], [1, 0]]))
    assert np.isnan(values[0])
    assert values[1] == 0.5
    assert probe.mean_auroc(np.zeros((3, 2)), np.array([[1, 0], [1, 1], [1, 0]])) == 0.5


def test_logistic_regression_equals_sklearn() -> None:
    features, labels = made(200)
    found = probe.logistic_regression(features, labels.astype(float), penalty=0.05)
    for j in range(3):
        other = LogisticRegression(C=1 / (0.05 * 200), tol=1e-10, max_iter=5000)
        other.fit(features, labels[:, j])
        assert found[:-1, j] == pytest.approx(other.coef_[0], abs=1e-4)
        assert found[-1, j] == pytest.approx(other.intercept_[0], abs=1e-4)


def test_a_label_that_never_varies_keeps_its_rate() -> None:
    features, labels = made(20)
    labels[:, 1] = 0
    weights = probe.logistic_regression(features, labels.astype(float), 0.1)
    assert not weights[:-1, 1].any()
    assert weights[-1, 1] == pytest.approx(np.log(0.5 / 20.5))


def test_few_samples_of_many_features_are_solved_in_their_span() -> None:
    rng = np.random.default_rng(3)
    features, labels = rng.standard_normal((20, 300)), (rng.random((20, 2)) < 0.5).astype(float)
    axes, inside = probe._row_space(features - features.mean(axis=0))
    assert axes.shape[1] == 19
    whole = probe.logistic_regression(features - features.mean(axis=0), labels, 0.1)
    small = probe.logistic_regression(inside, labels, 0.1)
    assert axes @ small[:-1] == pytest.approx(whole[:-1], abs=1e-5)


def test_probe_learns_more_from_more_labels() -> None:
    train, val, (test, truth) = made(2000), made(300, seed=1), made(600, seed=2)
    means = []
    for fraction in probe.FRACTIONS:
        runs = [probe.linear_probe(train, val, test, fraction, seed) for seed in probe.SEEDS]
        assert [r.labels for r in runs] == [round(2000 * fraction)] * 3
        means.append(np.mean([np.nanmean(probe.auroc(r.scores, truth)) for r in runs]))
        again = probe.linear_probe(train, val, test, fraction, 1)
        assert np.array_equal(again.scores, runs[1].scores)
    assert means[0] < means[1] < means[2]
    assert means[2] > 0.8


def test_probe_ignores_constant_features_and_scale() -> None:
    (features, labels), val, (test, _) = made(200), made(100, seed=1), made(50, seed=2)

    def widened(x: np.ndarray) -> np.ndarray:
        return np.hstack([1000 * x, np.full((len(x), 1), 7.0)])

    plain = probe.linear_probe((features, labels), val, test, 1.0, 0)
    wide = probe.linear_probe(
        (widened(features), labels), (widened(val[0]), val[1]), widened(test), 1.0, 0
    )
    assert wide.scores == pytest.approx(plain.scores, abs=1e-3)


def test_resampled_auroc_and_its_spread() -> None:
    rng = np.random.default_rng(5)
    truth = rng.random((300, 3)) < 0.4
    good = [truth + rng.standard_normal((300, 3)) for _ in range(3)]
    bad = [rng.standard_normal((300, 3)) for _ in range(3)]
    counts = rng.multinomial(300, np.full(300, 1 / 300), size=200)
    ours, theirs = (probe.resampled_auroc(runs, truth, counts) for runs in (good, bad))
    assert ours.shape == (201, 4)
    assert ours[0, :3] == pytest.approx(np.mean([probe.auroc(x, truth) for x in good], axis=0))
    assert ours[7, 1] == pytest.approx(
        np.mean([probe.auroc(x, truth, counts[6:7])[0, 1] for x in good])
    )
    assert ours[:, 3] == pytest.approx(ours[:, :3].mean(axis=1))
    value, low, high = probe.spread((ours - theirs)[:, -1])
    assert 0 < low < value < high
    assert probe.spread((ours - ours)[:, -1]) == (0.0, 0.0, 0.0)


def test_a_finding_of_one_class_is_left_out_of_the_mean() -> None:
    rng = np.random.default_rng(8)
    truth = np.stack([rng.random(40) < 0.5, np.zeros(40, dtype=bool)], axis=1)
    values = probe.resampled_auroc([rng.random((40, 2))], truth, np.ones((2, 40)))
    assert np.isnan(values[:, 1]).all()
    assert values[:, 2] == pytest.approx(values[:, 0])


def retrieval(images: np.ndarray, reports: np.ndarray, *more, **options) -> dict[str, float]:
    """Means over queries."""
    found = probe.answers(images, reports, *more, **options)
    return {name: float(values.mean()) for name, values in found.items()}


def test_retrieval_against_loops() -> None:
    rng = np.random.default_rng(6)
    images, reports = rng.standard_normal((2, 12, 4))
    texts = [f"report {i // 2}" for i in range(12)]
    found = retrieval(images, reports, texts, ranks=(1, 5))
    hits = []
    for i in range(12):
        order = sorted(range(12), key=lambda j: -(images[i] @ reports[j]))
        hits.append([texts[j] == texts[i] for j in order[:5]])
    assert found["image_to_text/recall@5"] == pytest.approx(np.mean([any(h) for h in hits]))
    assert found["image_to_text/precision@5"] == pytest.approx(np.mean(hits))
    assert set(found) == {
        f"{d}/{m}@{k}"
        for d in ("image_to_text", "text_to_image")
        for m in ("recall", "precision")
        for k in (1, 5)
    }


def test_retrieval_of_perfect_and_constant_embeddings() -> None:
    perfect = retrieval(np.eye(10), np.eye(10))
    assert perfect["image_to_text/recall@1"] == perfect["text_to_image/recall@1"] == 1
    assert perfect["image_to_text/precision@5"] == pytest.approx(0.2)
    constant = retrieval(np.ones((10, 3)), np.ones((10, 3)))
    assert constant["image_to_text/recall@1"] == 0.1
    assert probe.chance(10)["recall@1"] == pytest.approx(0.1)
    assert probe.chance(4, ["a", "a", "b", "c"])["precision"] == pytest.approx(6 / 16)


def test_chance_is_what_random_rankings_reach() -> None:
    texts = [f"report {i // 3}" for i in range(12)]
    rng = np.random.default_rng(9)
    runs = [retrieval(*rng.standard_normal((2, 12, 3)), texts, ranks=(1, 4)) for _ in range(800)]
    expected = probe.chance(12, texts, ranks=(1, 4, 50))
    assert set(expected) == {"precision", "recall@1", "recall@4"}
    for k in (1, 4):
        mean = np.mean([run[f"image_to_text/recall@{k}"] for run in runs])
        assert mean == pytest.approx(expected[f"recall@{k}"], abs=0.02)
