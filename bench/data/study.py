"""A study, its images, and the dataset that holds them.

A reader (one module per dataset) turns a folder into a `Dataset`; everything after that, from
training to scoring, sees only the classes here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

SPLITS = ("train", "val", "test")
FINDINGS = "findings"  # R2Gen's section: what a score is of that names no other
SECTIONS = (FINDINGS, "impression", "both")


def said_section(section: str) -> str:
    """The section as names and signatures say it: findings, which are usual, are not said."""
    return "" if section == FINDINGS else section


@dataclass(frozen=True, slots=True)
class Image:
    """One view of a study. `key` names it inside its dataset, independent of any path."""

    key: str
    view: str  # "frontal", "lateral" or "other"


@dataclass(frozen=True, slots=True)
class Study:
    """One examination: the images a model sees and the report that it is asked to write."""

    id: str
    patient: str
    split: str
    images: tuple[Image, ...]
    report: str  # raw text as the release has it; treatments are applied by `bench.data.text`
    labels: frozenset[str] | None = None  # ground truth or expert codes; None: not known
    sections: Mapping[str, str] = field(default_factory=dict)  # e.g. "impression", "indication"


Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Region:
    """A phrase of a study's report, the finding that it names, and where that is to be seen.

    boxes: by view, (x0, y0, x1, y1) as shares of the film's width and height.
    """

    finding: str
    phrase: str
    boxes: Mapping[str, Sequence[Box]]


@dataclass(frozen=True)
class Dataset:
    """Studies in manifest order, and the function that reads one image as grey uint8 (H, W).

    `manifest` is a digest of ids, splits, patients and the hashes of texts and images; it enters
    the identity of every run. `cleaning` names the variant of R2Gen's cleaning ("iu" or
    "mimic"); `min_count` and `max_length` are R2Gen's vocabulary threshold and token limit.
    """

    name: str
    studies: tuple[Study, ...]
    manifest: str
    read: Callable[[Image], np.ndarray]
    cleaning: str = "iu"
    min_count: int = 3
    max_length: int = 60
    section: str = ""  # that the reports are: one of SECTIONS; "" where none are known
    # What identifies an image's content without reading it (a hash from the manifest, or size
    # and time of the file): the key of the image cache.
    fingerprint: Callable[[Image], str] = lambda image: image.key
    # Told which images will be read next, where several at once come cheaper.
    ahead: Callable[[Sequence[Image]], None] = lambda images: None
    # The phrases of a study's report that name a finding whose place is known.
    regions: Callable[[Study], Sequence[Region]] = lambda study: ()

    _known: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """What `compute` gives, kept under a name: what follows from the whole dataset."""
        if name not in self._known:
            self._known[name] = compute()
        return self._known[name]

    @cached_property
    def _by_split(self) -> dict[str, tuple[Study, ...]]:
        return {s: tuple(x for x in self.studies if x.split == s) for s in SPLITS}

    def split(self, name: str) -> tuple[Study, ...]:
        """The studies of one split, in manifest order. KeyError for an unknown split."""
        return self._by_split[name]
