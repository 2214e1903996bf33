"""What a study shows by someone's word: CheXpert's observations from ground truth or expert codes.

Not from a report's text: a labeler that reads reports would make image and report agree by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from bench.config import load_yaml, names
from bench.data.manifest import SAMPLE
from bench.data.study import Study
from bench.errors import MissingError
from bench.metrics.clinical.observations import BLANK, NO_FINDING, OBSERVATIONS, POSITIVE
from bench.targets import resolve

Labels = frozenset[str] | None  # observations of one study; None: nobody has said


def source(dataset: str) -> str:
    """The function from a study to its observations that the dataset's YAML names; "" if none."""
    dataset = dataset.partition(SAMPLE)[0]
    return load_yaml("dataset", dataset).get("labels", "") if dataset in names("dataset") else ""


def observations(dataset: str, studies: Sequence[Study]) -> tuple[np.ndarray, np.ndarray]:
    """Which studies are labelled (n,) bool, and their labels (n, 14) of 0 and 1.

    Columns in the order of `OBSERVATIONS`. MissingError where no study has labels.
    """
    if not (target := source(dataset)):
        raise MissingError(
            f"dataset {dataset!r} has no labels apart from its reports",
            "name a function from a study to its observations as `labels` in its YAML",
        )
    labels: Callable[[Study], Labels] = resolve(target)
    found = [labels(study) for study in studies]
    known = np.array([x is not None for x in found])
    if not known.any():
        raise MissingError(
            f"none of the {len(studies)} studies of {dataset} has labels",
            "prepare the dataset from a release that has them: bench data prepare",
        )
    return known, np.array([[name in (x or ()) for name in OBSERVATIONS] for x in found], float)


@cache
def _iu_mesh() -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """conf/labels/iu_mesh.yaml, and its terms by their lower-cased form (a reader's labels)."""
    mapping = load_yaml("labels", "iu_mesh")
    terms = [*mapping["left_out"], *mapping["neutral"]]
    terms += [term for entry in mapping["observations"].values() for term in entry["problems"]]
    return mapping, {term.lower(): term for term in terms}


def expert_codes(study: Study) -> Labels:
    """IU X-ray: the experts' Problems terms, mapped by conf/labels/iu_mesh.yaml."""
    if study.labels is None:
        return None
    mapping, spelled = _iu_mesh()
    terms = [spelled.get(term, term) for term in sorted(study.labels)]
    if not terms or set(terms) & set(mapping["left_out"]):
        return None
    values = code_labels({"Problems": ";".join(terms)}, mapping, "problems")
    pairs = zip(OBSERVATIONS, values, strict=True)
    return frozenset(name for name, value in pairs if value == POSITIVE)


def code_labels(row: Mapping[str, str], mapping: Mapping[str, Any], columns: str) -> list[int]:
    """POSITIVE or BLANK for each observation, from one study's codes."""
    terms = _split(row["Problems"])
    codes = _split(row["MeSH"]) if columns == "mesh" else []
    labels = [BLANK] * len(OBSERVATIONS)
    for name, entry in mapping["observations"].items():
        if _coded(entry, terms, codes):
            labels[OBSERVATIONS.index(name)] = POSITIVE
    if set(terms) <= set(mapping["neutral"]):
        labels[NO_FINDING] = POSITIVE
    return labels


def _split(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(";") if part.strip()]


def _coded(entry: Mapping[str, Any], terms: Sequence[str], codes: Sequence[str]) -> bool:
    if not codes:
        return any(term in entry["problems"] for term in terms)
    denied = [re.compile(p, re.IGNORECASE) for p in entry.get("not_mesh", [])]
    kept = [code for code in codes if not any(p.fullmatch(code) for p in denied)]
    if any(code.split("/")[0].strip() in entry["problems"] for code in kept):
        return True
    wanted = [re.compile(p, re.IGNORECASE) for p in entry.get("mesh", [])]
    return any(p.fullmatch(code) for p in wanted for code in kept)
