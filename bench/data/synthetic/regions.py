"""Which sentence of a report names which finding, and where the finding lies on the films."""

from __future__ import annotations

from functools import lru_cache

from bench.data.study import Box as Share
from bench.data.study import Region
from bench.data.synthetic import language
from bench.data.synthetic.cases import Finding
from bench.data.synthetic.film import boxes
from bench.data.synthetic.keys import case_of
from bench.data.synthetic.language import Phrases, Writer

SIZE = 128  # pixels that boxes are found at
ONE = {
    "cardiomegaly": language.BIG_HEART,
    "effusion": language.EFFUSION,
    "pneumothorax": language.PNEUMOTHORAX,
    "nodule": language.NODULE,
    "consolidation": language.CONSOLIDATION,
    "atelectasis": language.ATELECTASIS,
    "fracture": language.FRACTURE,
}
BOTH = {"effusion": language.BOTH_EFFUSION, "atelectasis": language.BOTH_ATELECTASIS}


@lru_cache(maxsize=1024)
def regions(study: str, report: str) -> tuple[Region, ...]:
    """The sentences of `report` that name the study's findings, in the order of the findings.

    What lies on both sides and is told in one sentence is one region with the boxes of both.
    """
    findings = case_of(study).findings
    found = []
    for name in dict.fromkeys(f.name for f in findings):
        mine = [i for i, f in enumerate(findings) if f.name == name]
        groups = [mine] if name in BOTH else [[i] for i in mine]
        for group in groups:
            phrase = _said(report, findings[group[0]], len(group))
            if phrase:
                found.append(Region(name, phrase, _places(study, group)))
    return tuple(found)


def _said(report: str, finding: Finding, sides: int) -> str:
    """The sentence of the report that names the finding; "" where there is none."""
    filled = (Writer.filled(phrase, finding) for phrase in _phrases(finding, sides))
    return next((sentence for sentence in filled if sentence in report), "")


def _phrases(finding: Finding, sides: int) -> Phrases:
    if finding.name == "device":
        return language.DEVICE[finding.kind]
    return BOTH[finding.name] if sides == 2 else ONE[finding.name]


def _places(study: str, group: list[int]) -> dict[str, tuple[Share, ...]]:
    every = boxes(study, SIZE)
    views = dict.fromkeys(view for i in group for view in every[i])
    return {
        view: tuple(_share(every[i][view]) for i in group if view in every[i]) for view in views
    }


def _share(box: tuple[int, int, int, int]) -> Share:
    x0, y0, x1, y1 = (edge / SIZE for edge in box)
    return x0, y0, x1, y1
