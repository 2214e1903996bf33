"""The embedded default dataset: synthetic chest radiographs and the reports that they determine.

A phantom is not a patient: scores here say whether a pipeline works and whether a model looks
at its images, nothing about clinical use. Its language and pictures owe nothing to any real
report or film.

Every study is a pure function of its id, `VERSION` and `REVISION`; the id holds the seed.
Generators are PCG64, seeded by a sha256 of what they draw, and pixels are computed with exactly
rounded operations only (see `canvas`), so that a film has the same bytes on every machine.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.data.study import SPLITS, Dataset, Image, Study
from bench.data.synthetic.ahead import Films
from bench.data.synthetic.canvas import Box
from bench.data.synthetic.cases import CHEXPERT, FINDINGS, VERSION, Finding, case, visits
from bench.data.synthetic.film import REVISION, VIEWS, boxes
from bench.data.synthetic.keys import case_of
from bench.data.synthetic.language import findings_section, impression_section
from bench.data.synthetic.regions import regions
from bench.errors import DataError

__all__ = ["CHEXPERT", "FINDINGS", "VERSION", "Box", "Finding", "chexpert", "load", "read", "truth"]

SIZE = 128  # pixels along a side
SIZES = (32, 2048)  # below, a rib is thinner than a pixel; above, a film takes seconds
MOST = 1_000_000  # studies of a split
STUDY = 3e3  # bytes that a study takes in memory
SEEDS = (0, 1 << 53)


def load(
    root: Path | str | None = None,
    seed: int = 0,
    train: int = 1200,
    val: int = 150,
    test: int = 300,
    size: int = SIZE,
) -> Dataset:
    """The dataset of a seed. `root` is not used: there is nothing on disk.

    A smaller split is the beginning of a larger one; splits never share a patient.
    """
    counts = dict(zip(SPLITS, (train, val, test), strict=True))
    _check(seed, counts, size)
    studies = tuple(_study(i, s) for s, n in counts.items() for i in _ids(seed, s, n))
    return Dataset(
        name="synthetic",
        studies=studies,
        manifest=_manifest(seed, counts, size, studies),
        read=lambda image: read(image.key, size),
        ahead=lambda images: _films.ahead([image.key for image in images], size),
        regions=lambda study: regions(study.id, study.report),
        fingerprint=lambda image: f"synthetic@{VERSION}.{REVISION}/{size}/{image.key}",
    )


def read(key: str, size: int = SIZE) -> np.ndarray:
    """The film "<study id>/<view>" as grey uint8 (size, size), not to be written to."""
    return _films(key, size)


_films = Films()


def truth(study: str, size: int = SIZE) -> tuple[Finding, ...]:
    """What a study shows, each finding with its box (x0, y0, x1, y1; ends exclusive) by view.

    A view in which a finding does not show has no box. Empty for a normal study.
    """
    found = case_of(study).findings
    return tuple(replace(f, boxes=b) for f, b in zip(found, boxes(study, size), strict=True))


def chexpert(study: Study) -> frozenset[str]:
    """The CheXpert observations that a study's labels stand for."""
    return frozenset(CHEXPERT[name] for name in study.labels or ())


def _check(seed: int, counts: dict[str, int], size: int) -> None:
    _within("seed", seed, SEEDS)
    _within("size", size, SIZES, "pixels along a side")
    for split, count in counts.items():
        if count > MOST:
            raise DataError(
                f"dataset.{split}={count} synthetic studies would take "
                f"{count * STUDY / 1e9:,.0f} GB of memory, and their films "
                f"{count * len(VIEWS) * size * size / 1e9:,.0f} GB of cache",
                f"give from 1 to {MOST} studies",
            )
        _within(split, count, (1, MOST), "studies")


def _within(name: str, value: int, ends: tuple[int, int], unit: str = "") -> None:
    if not ends[0] <= value <= ends[1]:
        raise DataError(
            f"synthetic data cannot have dataset.{name}={value}",
            f"give from {ends[0]} to {ends[1]} {unit}".rstrip(),
        )


def _ids(seed: int, split: str, count: int) -> list[str]:
    """The first `count` studies of a split, in order of patient and visit."""
    ids: list[str] = []
    number = 0
    while len(ids) < count:
        patient = f"syn{seed}-{split}{number:05d}"
        ids += [f"{patient}-{visit + 1}" for visit in range(visits(patient))]
        number += 1
    return ids[:count]


def _study(study: str, split: str) -> Study:
    found = case(study)
    return Study(
        id=study,
        patient=found.patient,
        split=split,
        images=tuple(Image(f"{study}/{view}", view) for view in VIEWS),
        report=findings_section(found),
        labels=frozenset(f.name for f in found.findings) or frozenset({"normal"}),
        sections={"impression": impression_section(found)},
    )


def _manifest(seed: int, counts: dict[str, int], size: int, studies: tuple[Study, ...]) -> str:
    """sha256 of what determines every film, and of every report text."""
    texts = hashlib.sha256()
    for study in studies:
        texts.update(f"{study.id}\t{study.report}\n".encode())
    content = {
        "name": "synthetic",
        "version": [VERSION, REVISION],
        "seed": seed,
        "size": size,
        "counts": counts,
        "reports": texts.hexdigest(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
