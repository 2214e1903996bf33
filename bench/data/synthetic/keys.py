"""What the ids of studies and the keys of films stand for."""

from __future__ import annotations

import numpy as np

from bench.data.study import SPLITS
from bench.data.synthetic.cases import Case, case, visits
from bench.data.synthetic.film import VIEWS, draw
from bench.errors import DataError


def case_of(study: str) -> Case:
    """The case of a study id; an id that is none is a DataError."""
    try:
        seed, patient, visit = study.split("-")
        split, number = patient.rstrip("0123456789"), patient.lstrip("abcdefghijklmnopqrstuvwxyz")
        known = split in SPLITS and seed[:3] == "syn" and seed[3:].isdigit() and len(number) >= 5
        if known and 1 <= int(visit) <= visits(f"{seed}-{patient}"):
            return case(study)
    except ValueError:
        pass
    raise DataError(
        f"no study {study!r} in the synthetic data",
        "ids look like syn0-train00012-1 (seed, split, patient, visit)",
    )


def film(key: str, size: int) -> np.ndarray:
    """The film "<study id>/<view>", drawn: grey uint8 (size, size)."""
    study, _, view = key.rpartition("/")
    if view not in VIEWS:
        raise DataError(
            f"no image {key!r} in the synthetic data", "keys end in /frontal or /lateral"
        )
    return draw(case_of(study), view, size)
