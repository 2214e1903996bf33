"""What a report says of the rows' image tokenizers."""

from __future__ import annotations

import csv
import io

from bench.reporting import tokenizers


def figures(psnr: float, own: float, pixels: float) -> dict[str, object]:
    def row(weights: str, finding: str, positives: int | None, value: float | None) -> object:
        return {"weights": weights, "finding": finding, "positives": positives, "value": value}

    probe = [
        row("films", "Cardiomegaly", 86, pixels), row("codes", "Cardiomegaly", 86, own),
        row("films", "Fracture", 0, None), row("codes", "Fracture", 0, None),
        row("films", "mean", None, pixels), row("codes", "mean", None, own),
    ]  # fmt: skip
    return {"tokenizer": {"dvae/psnr": psnr, "dvae/used": 255.0}, "probe": {"rows": probe}}


def test_figures_are_means_over_trainings() -> None:
    kept = tokenizers._mean("DVAE", ["a", "UAR"], [figures(20, 0.9, 1), figures(22, 0.8, 0.9)])
    text = tokenizers.section([kept])
    assert "The tokenizer of a, UAR; means of 2 trainings." in text
    assert "PSNR, dB 21, codes used 255" in text
    assert "| Cardiomegaly | 86 | 0.950 | 0.850 |" in text
    assert "| mean | – | 0.950 | 0.850 |" in text
    assert "Fracture" not in text  # of which no study shows any
    rows = list(csv.DictReader(io.StringIO(tokenizers.to_csv([kept]))))
    assert {"tokenizer": "DVAE", "trainings": "2", "figure": "auroc codes", "of": "Cardiomegaly",
            "n": "86", "value": repr((0.9 + 0.8) / 2)} in rows  # fmt: skip


def test_without_labels_there_is_no_probe() -> None:
    found = {"tokenizer": {"dvae/psnr": 20.0}, "probe": {"unavailable": "no labels"}}
    text = tokenizers.section([tokenizers._mean("DVAE", ["a"], [found])])
    assert "means of 1 training." in text
    assert text.endswith("No probe: the dataset has no labels.\n")
    assert tokenizers.section([]) == ""
