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
NO_IMAGE = "without an image of these views"
NO_IMAGE_FILE = "whose images are not here"
NO_REPORT = "without a report"
COMBINED = "whose findings and impression are one section"
ANOTHER_ALONE = "with the other section alone"
NO_SECTION = "without findings and impression"


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
