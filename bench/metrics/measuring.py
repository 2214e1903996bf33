"""Statistics of many metric families at once, the one that waits for Java beside the others.

METEOR's table and process take longer than all other metrics together. They are started as soon as
the texts are known, and METEOR's answers are waited for while the others are computed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from bench.errors import MissingError
from bench.metrics import registry
from bench.metrics.base import Metric
from bench.metrics.references import ReferenceSet

Progress = Callable[[int, int], None]
Measured = np.ndarray | MissingError  # a family's statistics, or what it lacks
Key = tuple[str, str]  # treatment, family


@runtime_checkable
class Ahead(Protocol):
    """A metric that another process computes: told early which texts are coming."""

    def ahead(self, texts: Sequence[str]) -> None:
        """Begin what takes long; returns at once."""


@runtime_checkable
class Partial(Protocol):
    """A metric of whose scores some mean nothing for certain references."""

    def undefined(self, references: ReferenceSet) -> Mapping[str, str]:
        """Score -> why it has no meaning there."""


class Later:
    """A result that a thread of its own computes. It ends with this process, whatever it does."""

    def __init__(self, work: Callable[[], Measured]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._found: Measured = np.zeros(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._found = self._work()
        except BaseException as error:  # raised again where the result is asked for
            self._error = error

    def result(self) -> Measured:
        """The result, waited for; an error of the thread is raised here."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._found


def measure(
    plan: Mapping[str, Sequence[str]],
    sets: Mapping[str, ReferenceSet],
    reports: Sequence[str],
    progress: Progress,
) -> dict[Key, Measured]:
    """(treatment, family) -> statistics (n, k), or why there are none, in the plan's order."""
    keys = [(treatment, name) for treatment, names in plan.items() for name in names]
    sides = {treatment: _Pairs(sets[treatment], reports) for treatment in plan}
    _begin(keys, sets, [text for pairs in sides.values() for text in pairs.texts])
    found: dict[Key, Measured | Later] = {}
    for treatment, names in plan.items():
        pairs = sides[treatment]
        for name in sorted(names, key=lambda n: not _is_slow(n)):  # those of a thread first
            found[treatment, name] = _start(name, pairs)
            progress(_done(found), len(keys))
    waiting = [key for key in keys if isinstance(found[key], Later)]
    for left, key in reversed([*enumerate(reversed(waiting))]):
        found[key] = _waited(found[key])
        progress(len(keys) - left, len(keys))
    return {key: _waited(found[key]) for key in keys}


def _done(found: Mapping[Key, Measured | Later]) -> int:
    return sum(not isinstance(result, Later) for result in found.values())


def _waited(result: Measured | Later) -> Measured:
    return result.result() if isinstance(result, Later) else result


class _Pairs:
    """The two sides under one treatment, tokenised when a metric first asks."""

    def __init__(self, references: ReferenceSet, reports: Sequence[str]) -> None:
        self.references = references
        self._texts: tuple[list[str], list[str]] | MissingError
        self._tokens: tuple[list[str], list[str]] | None = None
        try:
            self._texts = references.texts(reports)
        except MissingError as error:  # a vocabulary
            self._texts = error

    @property
    def texts(self) -> list[str]:
        """All texts, before they are tokenised; none where they cannot be made."""
        return [] if isinstance(self._texts, MissingError) else [t for s in self._texts for t in s]

    def get(self) -> tuple[list[str], list[str]]:
        """Both sides as a metric reads them; MissingError for what the treatment lacks."""
        if isinstance(self._texts, MissingError):
            raise self._texts
        self._tokens = self._tokens or self.references.tokens(*self._texts)
        return self._tokens


def _start(name: str, pairs: _Pairs) -> Measured | Later:
    """A family's statistics, or the thread that will have them, or what the family lacks."""
    try:
        metric = _ready(name)
        sides = pairs.get()
        given = metric.given(pairs.references)
        if isinstance(metric, Ahead):
            return Later(lambda: _caught(given, sides))
        return given.statistics(*sides)
    except MissingError as error:
        return error


def _caught(metric: Metric, sides: tuple[list[str], list[str]]) -> Measured:
    try:
        return metric.statistics(*sides)
    except MissingError as error:
        return error


def _ready(name: str) -> Metric:
    metric = registry.load(name)
    metric.require()
    return metric


def _is_slow(name: str) -> bool:
    try:
        return isinstance(registry.load(name), Ahead)
    except MissingError:
        return False


def _begin(keys: Sequence[Key], sets: Mapping[str, ReferenceSet], texts: Sequence[str]) -> None:
    """Tell the slow metrics what is coming."""
    for treatment, name in {name: (treatment, name) for treatment, name in keys}.values():
        try:
            metric = _ready(name)
        except MissingError:
            continue
        if isinstance(metric, Ahead):
            metric.given(sets[treatment])
            metric.ahead(texts)
