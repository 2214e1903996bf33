"""Study by study: films, reference and reports, with what the rule labeler reads in each sentence.

The page's script marks the sentences; here are the data for it, each sentence and each report
once. Reports are those of a row's first training. Texts and films of a real dataset are in the
page only where it is made of one's own runs, on the machine that has them.
"""

from __future__ import annotations

import base64
import io
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from bench.errors import BenchError
from bench.metrics import predictions
from bench.metrics.clinical.observations import NO_FINDING, OBSERVATIONS, POSITIVE
from bench.metrics.predictions import PREDICTIONS
from bench.reporting.conclusions import FINDINGS, readings
from bench.store import RunFolder

if TYPE_CHECKING:
    from bench.data.study import Dataset, Study
    from bench.reporting.summary import Summary

MOST = 300  # studies in a page
SIDE, QUALITY = 224, 55  # pixels along a film, and JPEG's quality
FIRST = 3  # rows that are shown before any is chosen
_SIDES = (("L", r"\bleft"), ("R", r"\bright"), ("LR", r"\bboth|\bbilateral|\bbibasilar"))


def browser(suite: Summary) -> str:
    """JSON for the page; "" where no row's reports are here."""
    studies = suite.data.split("test")[:MOST]
    reports = {row: found for row in suite.trained if (found := _reports(suite, row))}
    if not reports or suite.folds > 1 or not suite.shows_data:
        return ""
    known = _Texts()
    data = {
        "first": _first(suite, list(reports)),
        "studies": [_study(suite.data, study, known) for study in studies],
        "rows": {
            row: [known.report(found.get(study.id, "")) for study in studies]
            for row, found in reports.items()
        },
    }
    text = json.dumps({**data, **known.tables()}, ensure_ascii=False, separators=(",", ":"))
    return text.replace("</", "<\\/")


def _reports(suite: Summary, row: str) -> dict[str, str]:
    path = RunFolder(suite.contrasts.out, suite.keys[row][0]) / PREDICTIONS
    return dict(predictions.read(path)) if path.exists() else {}


def _first(suite: Summary, rows: list[str]) -> list[str]:
    """Rows that read most and least: those that name findings, the baseline, the last."""
    kinds = readings(suite)
    readers = [r for r in rows if kinds[r].kind == FINDINGS][-1:]
    wanted = [*readers, suite.suite.baseline, *reversed(rows)]
    return list(dict.fromkeys(r for r in wanted if r in rows))[:FIRST]


def _study(dataset: Dataset, study: Study, known: _Texts) -> dict[str, Any]:
    views = [image.view for image in study.images]
    return {
        "id": study.id,
        "report": known.report(study.report),
        "shows": known.findings(study.report),
        "films": _films(dataset, study),
        "boxes": [
            [region.finding, views.index(view), *(round(x, 3) for x in box)]
            for region in dataset.regions(study)
            for view, boxes in region.boxes.items()
            for box in boxes
        ],
    }


def _films(dataset: Dataset, study: Study) -> list[tuple[str, str]]:
    """(view, address) of each image; none where the films are not on this machine."""
    try:
        return [(image.view, _address(dataset.read(image))) for image in study.images]
    except (BenchError, OSError):
        return []


def _address(grey: np.ndarray) -> str:
    small = Image.fromarray(grey)
    small.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


class _Texts:
    """Sentences and reports, each kept once and named by a number."""

    def __init__(self) -> None:
        self._sentences: dict[str, int] = {}
        self._reports: dict[str, int] = {}
        self._labels: dict[str, list[str]] = {}

    def report(self, text: str) -> int:
        for sentence in sentences(text):
            self._sentences.setdefault(sentence, len(self._sentences))
        return self._reports.setdefault(text, len(self._reports))

    def findings(self, text: str) -> list[str]:
        """What the sentences of a report state; each sentence is read once."""
        own = sentences(text)
        self._read([s for s in own if s not in self._labels])
        return sorted({name for s in own for name in self._labels[s]})

    def tables(self) -> dict[str, Any]:
        self._read([s for s in self._sentences if s not in self._labels])
        return {
            "sentences": [[s, self._labels[s], sides(s)] for s in self._sentences],
            "reports": [[self._sentences[s] for s in sentences(r)] for r in self._reports],
        }

    def _read(self, texts: list[str]) -> None:
        from bench.metrics.clinical.rules import labeler

        if not texts:
            return
        for text, row in zip(texts, labeler()(texts) == POSITIVE, strict=True):
            self._labels[text] = [OBSERVATIONS[i] for i in np.flatnonzero(row) if i != NO_FINDING]


def sentences(text: str) -> list[str]:
    """The sentences of a report, raw or cleaned."""
    parts = (part.strip(" .") for part in re.split(r"\.(?:\s+|$)", text))
    return [f"{part}." for part in parts if part]


def sides(sentence: str) -> str:
    """ "L", "R" or both letters: the sides that a sentence names."""
    found = "".join(letters for letters, word in _SIDES if re.search(word, sentence, re.I))
    return "".join(letter for letter in "LR" if letter in found)
