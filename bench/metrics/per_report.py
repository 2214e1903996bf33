"""Scores of each report on its own, and the worst and best with their differences marked.

A corpus score is no mean of these: BLEU of one report and of a set are different numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

import numpy as np

from bench.errors import DataError
from bench.files import csv_text
from bench.metrics import registry
from bench.metrics.scoring import Scored

RANKED_BY = "ROUGE-L"  # defined for every single report; BLEU-4 of most is near 0
_EXAMPLE = "F1-example-14"  # of a clinical family: the other averages need a set


def columns(scored: Scored) -> dict[str, np.ndarray]:
    """ "BLEU-4 coco@1" -> (n,) that score of each report, in the order of `scored.ids`."""
    found: dict[str, np.ndarray] = {}
    for (treatment, family), table in scored.statistics.items():
        metric = registry.load(family)
        values = metric.aggregate(table, np.ones(len(table)))
        for i, score in enumerate(metric.scores):
            if _is_of_one(family, score):
                found[f"{score} {treatment}"] = values[:, i]
    return found


def _is_of_one(family: str, score: str) -> bool:
    """Whether a score says something of one report."""
    if family in registry.of_kind(registry.LANGUAGE):
        return True
    return family in registry.of_kind(registry.CLINICAL) and score.endswith(_EXAMPLE)


def as_csv(scored: Scored) -> str:
    """study_id and one column a score and treatment; values at full precision."""
    found = columns(scored)
    rows = (
        [study, *(float(values[i]) for values in found.values())]
        for i, study in enumerate(scored.ids)
    )
    return csv_text(["study_id", *found], rows)


def extremes(
    scored: Scored, reports: Sequence[str], references: Sequence[str], count: int
) -> Iterator[str]:
    """The `count` worst and best reports by ROUGE-L under the first treatment, marked."""
    found = columns(scored)
    name = next((c for c in found if c.startswith(f"{RANKED_BY} ")), None)
    if name is None:
        raise DataError(f"no {RANKED_BY} to order the reports by", f"add {RANKED_BY} to --metrics")
    order = np.argsort(found[name], kind="stable").tolist()
    shown = {"worst": order[:count], "best": order[::-1][:count]}
    for title, chosen in shown.items():
        yield f"{title} by {name}; [-only in the reference-] {{+only in the report+}}"
        for i in chosen:
            yield f"  {scored.ids[i]} ({found[name][i]:.3f})  {marked(reports[i], references[i])}"


def marked(report: str, reference: str) -> str:
    """The reference turned into the report, word by word: [-left out-] {+added+}, as wdiff marks.

    Case and punctuation at a word's ends do not count as a difference.
    """
    said, true = report.split(), reference.split()
    parts: list[str] = []
    matcher = SequenceMatcher(None, _plain(true), _plain(said), autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            parts += said[c:d]
            continue
        parts += [f"[-{' '.join(true[a:b])}-]"] if b > a else []
        parts += [f"{{+{' '.join(said[c:d])}+}}"] if d > c else []
    return " ".join(parts)


def _plain(words: Sequence[str]) -> list[str]:
    return [word.lower().strip(".,;:!?()[]\"'") for word in words]
