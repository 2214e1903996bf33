"""Where in the reports the images tell: own less mean of others, by class of word and by finding.

For attribution only. The difference of a token's log-probabilities, given its study's own images
and on average over those of other studies, is pointwise V-information (Ethayarajh et al.,
arXiv:2110.08420) with other images instead of none; overconfidence inflates it, so that it
orders words within a model, and models not at all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from bench.metrics.clinical.f1 import ratio
from bench.metrics.clinical.observations import OBSERVATIONS
from bench.metrics.image_information import Likelihoods

END = ""  # of a report, as a token
# Class -> words, in the cleaned reports' spelling; a word is of the first class that it fits.
CLASSES: dict[str, str] = {
    "negation": "no|not|without|negative|absent|free",
    "finding": (
        r"cardiomegaly|enlarge\w*|effusions?|pneumothora\w*|nod\w*|mass(es)?|lesions?|opaci\w*"
        r"|consolidat\w*|infiltrat\w*|pneumonia|atelecta\w*|fractur\w*|edema|congestion|fluid"
        r"|emphysema\w*|scar\w*|fibro\w*|granuloma\w*|hernia\w*|collapse|blunt\w*|obscur\w*"
        r"|thicken\w*|airspace|disease|abnormalit\w*|prominen\w*|callus|displaced"
    ),
    "device": (
        r"pacemaker|leads?|wires?|sternotomy|port|catheter|line|tubes?|clips?|prosthe\w*|picc|icd"
    ),
    "normal": r"normal|clear|unremarkable|intact|preserved|sharp|limits|stable|expanded|aerated",
    "degree": (
        r"mild\w*|moderate\w*|severe\w*|small|large|minimal\w*|trace|patchy|focal|dense"
        r"|extensive|linear|round|partial|complete|thin"
    ),
    "side": r"left\w*|right\w*|bilateral\w*|both|bibasilar",
    "place": (
        r"upper|lower|middle|mid|lobes?|lungs?|bas(e|es|ilar|al)|ap(ex|ices|ical)|lingula|heart"
        r"|cardiac|silhouette|mediastin\w*|hil\w*|chest|rib|ribs|spine|pleural?|angles?|vena|cava"
        r"|ventric\w*|atrium|hemidiaphragms?|hemithorax|osseous|bones?|bony|costophrenic"
    ),
    "other": r".*",
}
_PATTERNS = {name: re.compile(words) for name, words in CLASSES.items()}


def word_class(word: str) -> int:
    """The number of a word's class in `CLASSES`; of the end, "other"."""
    return next(i for i, p in enumerate(_PATTERNS.values()) if p.fullmatch(word))


class ImageAttribution(Likelihoods):
    """`-<class>`: nats a token of that class; `-in-<observation>`: nats a report that states it.

    0 where there is none. Statistics: sums and counts by class, then by observation.
    """

    name: ClassVar[str] = "image-attribution"
    scores = (
        *(f"image-attribution-{name}" for name in CLASSES),
        *(f"image-attribution-in-{name.lower().replace(' ', '-')}" for name in OBSERVATIONS),
    )

    def aggregate(self, sums: np.ndarray, n: np.ndarray | int) -> np.ndarray:
        half = len(self.scores)
        return ratio(sums[..., :half], sums[..., half:])


def statistics(gaps: np.ndarray, words: Sequence[Sequence[str]], shown: np.ndarray) -> np.ndarray:
    """(n, 44) of the tokens' gaps (n, T), the first of them a report's first word.

    words: per report its tokens, the end among them if it was predicted. shown: bool (n, 14).
    """
    classes = {word: word_class(word) for report in words for word in report}
    sums, counts = np.zeros((2, len(words), len(CLASSES)))
    for i, report in enumerate(words):
        which = [classes[word] for word in report]
        np.add.at(sums[i], which, gaps[i, : len(report)])
        np.add.at(counts[i], which, 1.0)
    totals = np.array([gap[: len(r)].sum() for gap, r in zip(gaps, words, strict=True)])
    return np.column_stack([sums, shown * totals[:, None], counts, shown])
