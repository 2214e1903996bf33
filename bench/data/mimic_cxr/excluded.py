"""What a reader leaves out, counted by reason: nothing is dropped without a word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

IMAGES, STUDIES = "images", "studies"

# Reasons, in the words of a sentence "N images: REASON".
OTHER_VIEW = "of another view"
NO_POSITION = "without ViewPosition"
NO_METADATA = "without a row in the metadata"
REPEATED = "listed twice"
NO_FILE = "without a file"
EMPTY_FILE = "whose file is empty"
CUT_FILE = "whose file is cut off"
NO_IMAGE = "without an image of these views"
NO_IMAGE_FILE = "whose images are not here"
NO_REPORT = "without a report"
COMBINED = "whose findings and impression are one section"
ANOTHER_ALONE = "with the other section alone"
NO_SECTION = "without findings and impression"

# What helps where a reason leaves out every study.
_VIEWS = "take images of every view: dataset=mimic_cxr_all, or dataset.views=all"
SCORING = "without any image reports can be scored, as dataset.subset=whole"
REMEDIES = {
    NO_IMAGE_FILE: f"get images of MIMIC-CXR-JPG; {SCORING}",
    OTHER_VIEW: _VIEWS,
    NO_POSITION: f"ViewPosition is blank: {_VIEWS}",
    NO_METADATA: f"get the metadata of the same release as the split file; or {_VIEWS}",
    NO_REPORT: "put mimic-cxr-reports.zip of MIMIC-CXR (not MIMIC-CXR-JPG) there, or name another "
    "place: dataset.reports=PATH",
    COMBINED: "take both sections: dataset.section=both",
    ANOTHER_ALONE: "take the other section: dataset.section=impression, or findings",
}


@dataclass
class Excluded:
    """Counts, and the first name, by (what, reason)."""

    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    first: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, what: str, reason: str, name: str) -> None:
        key = (what, reason)
        self.counts[key] = self.counts.get(key, 0) + 1
        self.first.setdefault(key, name)

    def of(self, what: str) -> Iterator[tuple[str, int, str]]:
        """(reason, how many, one of them) of images or studies, most first."""
        mine = [(n, reason) for (kind, reason), n in self.counts.items() if kind == what]
        for count, reason in sorted(mine, key=lambda x: -x[0]):
            yield reason, count, self.first[what, reason]

    def count(self, what: str, reason: str) -> int:
        return self.counts.get((what, reason), 0)

    def commonest(self) -> str:
        """The commonest reason of studies; where their images were left out, of these."""
        reason = next((r for r, *_ in self.of(STUDIES)), "")
        images = [r for r, *_ in self.of(IMAGES) if r != REPEATED]
        return images[0] if reason == NO_IMAGE and images else reason
