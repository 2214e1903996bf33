"""The probe of an image tokenizer's codes: its arithmetic, and what it can and cannot see."""

from __future__ import annotations

import numpy as np
import pytest

from bench.pretraining.codes import PENALTIES, _agreement, dual_ridge
from bench.pretraining.probe import auroc


def one_hot(codes: np.ndarray, size: int) -> np.ndarray:
    return np.eye(size)[codes].reshape(len(codes), -1)


def test_agreement_is_the_product_of_one_hot_codes() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (7, 6)), rng.integers(0, 5, (4, 6))
    np.testing.assert_array_equal(_agreement(a, b), one_hot(a, 5) @ one_hot(b, 5).T)


def test_dual_ridge_is_ridge_regression() -> None:
    """Against the normal equations of centred features, at the penalty that was chosen."""
    rng = np.random.default_rng(1)
    x = {name: rng.normal(size=(n, 4)) for name, n in (("train", 30), ("val", 20), ("test", 9))}
    y = {name: (v @ [1.0, -1, 0.5, 0] > 0)[:, None].astype(float) for name, v in x.items()}
    products = {name: v @ x["train"].T for name, v in x.items()}
    found = dual_ridge(products, y["train"], y["val"])
    mean, centred = x["train"].mean(axis=0), x["train"] - x["train"].mean(axis=0)
    scale = np.trace(centred @ centred.T) / 30
    exact = []
    for penalty in PENALTIES:
        inverse = np.linalg.inv(centred.T @ centred + penalty * scale * np.eye(4))
        weights = inverse @ centred.T @ (y["train"] - y["train"].mean())
        exact.append((x["test"] - mean) @ weights)
    assert any(np.allclose(found, each) for each in exact)


@pytest.mark.parametrize(("place", "low", "high"), [(2, 0.95, 1.0), (None, 0.3, 0.7)])
def test_it_reads_a_finding_that_is_in_the_codes(
    place: int | None, low: float, high: float
) -> None:
    rng = np.random.default_rng(2)
    codes = {
        name: rng.integers(0, 8, (n, 10)) for name, n in (("train", 200), ("val", 80), ("test", 80))
    }
    truth = {
        name: (c[:, place] < 2 if place is not None else rng.random(len(c)) < 0.3)[:, None].astype(
            float
        )
        for name, c in codes.items()
    }
    products = {name: _agreement(c, codes["train"]) for name, c in codes.items()}
    scores = dual_ridge(products, truth["train"], truth["val"])
    assert low <= auroc(scores, truth["test"])[0] <= high
