"""What can be chosen of MIMIC-CXR: its reader's parameters, all of them in a run's identity."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from bench.errors import BenchError, unknown

VALID = {
    "views": ("frontal", "all"),
    "items": ("studies", "images"),
    "sections": ("bench", "mit-lcp"),
    "section": ("findings", "impression", "both"),
    "subset": ("whole", "present"),
    "source": ("auto", "release", "annotation"),
}


@dataclass(frozen=True)
class Choices:
    """views: images of a study that count, "frontal" (ViewPosition AP or PA) or "all".

    items: "studies", one item with all its images, or "images", one item an image, as R2Gen has
    them. sections: whose rules divide reports. section: what a report is to say. subset: "whole"
    demands every image and report, "present" takes the studies that are here. source: PhysioNet's
    tables ("release"), R2Gen's `annotation.json`, or "auto": the tables where there are any.
    reports: a folder or zip file of reports elsewhere. draft: pixels of the shorter side down to
    which the JPEG decoder itself may scale by 2, 4 or 8; 0 decodes all, as published.
    """

    views: str = "frontal"
    items: str = "studies"
    sections: str = "bench"
    section: str = "findings"
    subset: str = "whole"
    source: str = "auto"
    reports: str = ""
    draft: int = 0

    def __post_init__(self) -> None:
        for name, valid in VALID.items():
            if getattr(self, name) not in valid:
                raise unknown(f"value of dataset.{name}", str(getattr(self, name)), valid)
        if not isinstance(self.draft, int) or self.draft < 0:
            raise BenchError(f"dataset.draft={self.draft}", "give a number of pixels, or 0")

    @property
    def name(self) -> str:
        """Of the dataset: what another choice of views or items makes of it is another one."""
        parts = [
            "all" if self.views == "all" else "",
            "images" if self.by_image else "",
            self.section if self.section != "findings" else "",
            self.subset if self.subset == "present" else "",
        ]
        return "_".join(["mimic_cxr", *filter(None, parts)])

    @property
    def by_image(self) -> bool:
        return self.items == "images"


def chosen(given: dict[str, Any]) -> Choices:
    """The choices of keyword arguments; an unknown name lists the known ones."""
    known = [field.name for field in fields(Choices)]
    for name in given:
        if name not in known:
            raise unknown("setting", f"dataset.{name}", [f"dataset.{k}" for k in known])
    return Choices(**given)
