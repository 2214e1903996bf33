"""Parts of a split that are scored apart: what was seen in train, and what is normal."""

from __future__ import annotations

from bench.data.study import Dataset, Study
from bench.data.text import clean, normalise


def strata(dataset: Dataset, split: str) -> dict[str, tuple[str, ...]]:
    """Stratum name -> study ids of `split`, in manifest order.

    "seen" / "unseen": the cleaned reference also occurs, word for word, in train. "normal" /
    "abnormal": the labels say "normal" or something else; studies without labels are in neither.
    """
    train = {_text(dataset, s) for s in dataset.split("train")}
    parts: dict[str, list[str]] = {"seen": [], "unseen": [], "normal": [], "abnormal": []}
    for study in dataset.split(split):
        parts["seen" if _text(dataset, study) in train else "unseen"].append(study.id)
        if study.labels:
            parts["normal" if study.labels == {"normal"} else "abnormal"].append(study.id)
    return {name: tuple(ids) for name, ids in parts.items()}


def _text(dataset: Dataset, study: Study) -> str:
    return normalise(clean(study.report, dataset.cleaning))
