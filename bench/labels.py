"""What a study shows by someone's word: CheXpert's observations from ground truth or expert codes.

Not from a report's text: a labeler that reads reports would make image and report agree by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from bench.build import resolve
from bench.data.study import Study
from bench.errors import MissingError
from bench.metrics.observations import OBSERVATIONS, POSITIVE
from bench.metrics.rules_mesh import code_labels
from bench.suite import load_yaml, names

Labels = frozenset[str] | None  # observations of one study; None: nobody has said


def source(dataset: str) -> str:
    """The function from a study to its observations that the dataset's YAML names; "" if none."""
    return load_yaml("dataset", dataset).get("labels", "") if dataset in names("dataset") else ""


def observations(dataset: str, studies: Sequence[Study]) -> tuple[np.ndarray, np.ndarray]:
    """Which studies are labelled (n,) bool, and their labels (n, 14) of 0 and 1.

    Columns in the order of `OBSERVATIONS`. MissingError where no study has labels.
    """
    if not (target := source(dataset)):
        raise MissingError(
            f"dataset {dataset!r} has no labels but its reports",
            "name a function from a study to its observations as `labels` in its YAML",
        )
    labels: Callable[[Study], Labels] = resolve(target)
    found = [labels(study) for study in studies]
    known = np.array([x is not None for x in found])
    if not known.any():
        raise MissingError(
            f"none of the {len(studies)} studies of {dataset} carries labels",
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
