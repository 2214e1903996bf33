"""What `bench score` is asked to score: files of reports with references of a file or a dataset.

What a file was taken for, and who is left out, is told a line at a time; what an option cannot mean
for these files is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.data.registry import EMBEDDED, PART, chosen_dataset
from bench.data.study import SECTIONS, Dataset, said_section
from bench.data.text import Vocabulary
from bench.errors import BenchError, DataError, some, unknown
from bench.formats.oddities import noticed
from bench.formats.reports import Pairs, Reports, read_pairs, read_predictions, refers
from bench.formats.roles import Columns
from bench.formats.vocabulary import read_vocabulary
from bench.metrics import own_references

OWN = ("cleaning", "section", "split")  # settings where references come in a file
SECTION = f"{PART}section"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Files:
    """The files of a scoring, and what names their fields."""

    predictions: Path
    references: Path | None
    vocabulary: Path | None
    columns: Columns


@dataclass(frozen=True)
class Job:
    """What is to be scored: predictions by id, and the dataset that holds the references."""

    predictions: Mapping[str, str]
    dataset: Dataset
    split: str
    own: bool  # references of a file
    words: Vocabulary | None


def job_of(files: Files, settings: dict[str, str], say: Say) -> Job:
    """The job of a command line; DataError where files, settings and options do not fit."""
    if _is_own(files, settings):
        return _own(files, settings, say)
    return _of(files, settings, say)


def _is_own(files: Files, settings: Mapping[str, str]) -> bool:
    """Whether references come in a file: a second one, or the predictions' own."""
    if files.references is not None:
        if "dataset" in settings:
            raise BenchError(
                "references are given twice: --references and dataset=", "leave one of them out"
            )
        return True
    if any(key not in OWN for key in settings):
        return False
    return refers(files.predictions, files.columns, settings.get("split", ""))


def _own(files: Files, settings: Mapping[str, str], say: Say) -> Job:
    for key in settings:
        if key not in OWN:
            raise unknown("setting", key, OWN)
    pairs = read_pairs(
        files.predictions, files.references, files.columns, settings.get("split", "")
    )
    _tell(pairs, say)
    cleaning = settings.get("cleaning", "iu")
    source = own_references.dataset(pairs.references, cleaning, pairs.section, pairs.sections)
    words = _words(files.vocabulary, cleaning, say)
    return Job(pairs.predictions, source, own_references.SPLIT, True, words)


def _words(path: Path | None, cleaning: str, say: Say) -> Vocabulary | None:
    if path is None:
        return None
    words = read_vocabulary(path, cleaning)
    say(f"{path}: {len(words)} words, for r2gen@1")
    return words


def _tell(pairs: Pairs, say: Say) -> None:
    """What the files were taken for, in a line each."""
    for line in pairs.said:
        say(line)
    for kind, side in (("predictions", pairs.predictions), ("references", pairs.references)):
        if empty := sum(not text.strip() for text in side.values()):
            say(f"{empty} {kind} are empty: scored as such")
    if pairs.left_out:
        names = some(pairs.left_out)
        say(f"{len(pairs.left_out)} studies without that section are left out: {names}")


# --- a dataset ----------------------------------------------------------------------------------


def _of(files: Files, settings: dict[str, str], say: Say) -> Job:
    if "section" in settings and "dataset" in settings:
        raise BenchError(
            "section= is of files; a dataset has its own", f"{SECTION}={settings['section']}"
        )
    dataset = chosen_dataset(settings, others=("split",))
    split = settings.get("split", "test")
    lacking = _lacking(settings, dataset, split)
    if SECTION in settings or lacking:
        names = f": {some(lacking)}" if lacking else ""
        say(f"{dataset.section}: {len(lacking)} studies without it left out{names}")
    made = read_predictions(files.predictions, files.columns, settings.get("split", ""))
    say(made.said)
    if "dataset" not in settings and files.references is None:
        say(
            f"no references given (--references FILE, or --reference-column NAME of this file): "
            f"scored against dataset={EMBEDDED}"
        )
    given = _in_order(made, dataset, split, lacking) if files.columns.in_order else _by_id(made)
    given = {i: text for i, text in given.items() if i not in lacking}
    for line in noticed("predictions", given.values()):
        say(line)
    if files.vocabulary and dataset.split("train"):
        raise BenchError(
            f"{dataset.name} has a vocabulary of its own, that of its train split",
            "leave --vocabulary out",
        )
    words = _words(files.vocabulary, dataset.cleaning, say)
    return Job(given, dataset, split, False, words)


def _lacking(settings: Mapping[str, str], dataset: Dataset, split: str) -> dict[str, int]:
    """The studies of the split that have another section and not this one, and so are not scored:
    id -> their place among those with findings, or behind them."""
    if SECTION not in settings and not said_section(dataset.section):
        return {}
    known = {study.id for study in dataset.split(split)}
    every: dict[str, None] = {}
    for section in SECTIONS[:2]:
        with suppress(DataError):  # no study has it
            other = chosen_dataset({**settings, SECTION: section}, ("split",))
            every |= dict.fromkeys(study.id for study in other.split(split))
    return {study: place for place, study in enumerate(every) if study not in known}


def _by_id(made: Reports) -> dict[str, str]:
    if not made.named:
        raise BenchError(
            f"{made.path} has no ids",
            "give a column study_id; reports in the order of the split: --in-order",
        )
    return made.by_id()


def _in_order(
    made: Reports, dataset: Dataset, split: str, lacking: Mapping[str, int]
) -> dict[str, str]:
    """Reports in the order of the split: of those that have the section, or of all of it."""
    ids = [study.id for study in dataset.split(split)]
    if len(made.texts) == len(ids) + len(lacking):
        for study, place in lacking.items():
            ids.insert(place, study)
    if len(made.texts) != len(ids):
        raise BenchError(
            f"{made.path} has {len(made.texts)} reports, {dataset.name} {split} {len(ids)} studies",
            "give a column study_id",
        )
    return dict(zip(ids, made.texts, strict=True))
