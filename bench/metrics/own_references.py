"""Scores of texts against references of one's own, without any dataset; `bench.score` is this.

    from bench import score
    scored = score(["The lungs are clear."], ["Lungs are clear."])
    scored.value("BLEU-4", "coco@1")

Needs no torch. Nothing is written but what the cache folder keeps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from bench.data.study import SECTIONS, Dataset, Image, Study
from bench.data.text import MAX_LENGTHS, UNK, Vocabulary
from bench.errors import DataError, unknown
from bench.metrics import arguments, registry
from bench.metrics.cache import folder, keep
from bench.metrics.measuring import Progress
from bench.metrics.references import COCO, KNOWN
from bench.metrics.scoring import Scored, refuse_idle
from bench.metrics.scoring import score as score_dataset
from bench.spec import TREATMENT

NAME, SPLIT = "own references", "test"
FULL = "full@1"
# What the references alone cannot tell: neither a train split nor expert labels come with them.
WITHOUT = ("chexpert-rules-truth",)

Texts = Iterable[str] | Mapping[str, str]


def families() -> tuple[str, ...]:
    """What is computed unasked: all that needs no weights."""
    return tuple(name for name in registry.scored(registry.ALWAYS) if name not in WITHOUT)


def dataset(
    references: Mapping[str, str],
    cleaning: str = "iu",
    section: str = "",
    sections: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> Dataset:
    """References as the test split of a dataset without images; `cleaning` "iu" or "mimic".

    `section`: which one the references are, "" where that is not known; `sections`: id -> all that
    there are. Studies are in the order of their ids, so that one set gives one result in whatever
    order it comes.
    """
    if cleaning not in MAX_LENGTHS:
        raise unknown("cleaning", str(cleaning), MAX_LENGTHS)
    if section and section not in SECTIONS:
        raise unknown("section", str(section), SECTIONS)
    studies = tuple(
        Study(i, i, SPLIT, (), references[i], sections=sections.get(i, {}))
        for i in sorted(references, key=_place)
    )
    return Dataset(
        NAME, studies, "", _no_image, cleaning, max_length=MAX_LENGTHS[cleaning], section=section
    )


def _place(name: str) -> tuple[list[str | int], str]:
    """Of an id in the order of people: numbers in it count as such, "s9" before "s10"."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def _no_image(image: Image) -> np.ndarray:
    raise DataError(f"{NAME} have no images", "name a dataset")


def score(
    predictions: Texts,
    references: Texts,
    *,
    metrics: Sequence[str] = (),
    treatments: Sequence[str] = (),
    cleaning: str = "iu",
    vocabulary: Vocabulary | Iterable[str] | None = None,
    section: str = "",
    missing: str = "error",
    cache: Path | str | None = None,
    progress: Progress = lambda done, total: None,
) -> Scored:
    """Score predictions against references: two lists in one order, or two maps by study id.

    Anything that has an order is a list: a generator, an array, a column of a table. None and NaN
    are empty reports.

    metrics: families or scores; by default all that need no weights.
    treatments: of `bench.metrics.references.KNOWN`; by default coco@1 (the COCO evaluation's PTB
        tokens), full@1 (R2Gen's cleaning, then PTB) and r2gen@1, which needs `vocabulary`: the
        words that R2Gen's tokenizer kept, since it scores against references cut to them.
    cleaning: "iu" or "mimic", the variant of R2Gen's cleaning, for full@1 and r2gen@1.
    section: what the references are, "findings", "impression" or "both"; signatures say so where it
        is not the findings.
    missing: "error" refuses references without a prediction, "empty" scores them as empty.
    cache: folder that keeps tokenised texts and METEOR's answers; by default $BENCH_CACHE, else
        none outlives the process.

    Returns `Scored`: iterate over its scores, or ask for one with `value(metric, treatment)`.
    DataError for lists of different lengths, ids that do not fit, and arguments of other types.
    """
    made, truth = _by_id(predictions, references)
    wanted = arguments.names("metrics", metrics) or list(families())
    names = arguments.names("treatments", treatments, KNOWN) or [COCO, FULL, TREATMENT]
    for name in names:
        if name not in KNOWN:
            raise unknown("text treatment", name, KNOWN)
    refuse_idle(metrics, treatments)
    arguments.refuse_type("cache", cache, (Path, str, type(None)), "the path of a folder")
    arguments.refuse_uncallable("progress", progress)
    words = _vocabulary(vocabulary)
    source = dataset(truth, cleaning, section)
    before = folder()
    keep(Path(cache) if cache is not None else before.parent if before else None)
    try:
        found = score_dataset(
            made, source, SPLIT, wanted, names,
            missing=missing, words=words, telling=True, progress=progress,
        )  # fmt: skip
    finally:
        if before is None:
            keep(None)
    return replace(found, dataset=_named(cleaning, words), split="all")


def _named(cleaning: str, words: Vocabulary | None) -> str:
    """The name of the references, with a cleaning and a vocabulary that are not the usual."""
    cleaned = f", cleaning {cleaning}" if cleaning != "iu" else ""
    cut = f", vocabulary {words.digest[:6]}" if words else ""
    return f"{NAME}{cleaned}{cut}"


def _by_id(predictions: Texts, references: Texts) -> tuple[Mapping[str, str], Mapping[str, str]]:
    made = arguments.texts("predictions", predictions)
    truth = arguments.texts("references", references)
    if isinstance(predictions, Mapping) != isinstance(references, Mapping):
        raise DataError("a list was given beside a map of ids", "give two lists, or two maps")
    if not isinstance(predictions, Mapping):
        arguments.refuse_other_index(predictions, references)
        if len(made) != len(truth):
            raise DataError(
                f"{len(made)} predictions for {len(truth)} references",
                "give one reference per prediction, in one order, or maps by study id",
            )
    if not truth:
        raise DataError("references are empty", "give at least one")
    return made, truth


def _vocabulary(words: Vocabulary | Iterable[str] | None) -> Vocabulary | None:
    if words is None or isinstance(words, Vocabulary):
        return words
    found = list(words) if isinstance(words, (set, frozenset)) else words
    return Vocabulary.of(arguments.names("vocabulary", found, ("clear", UNK)))
