"""The trials of a row: the same number for every row, in a fixed order from the YAML's values.

Learning rates first near, then what the model's YAML calls tunable, then learning rates far:
rate x 1, 1/2, 2; each value under `tunable`, all else as in the YAML; rate x 1/4, 4, 1/8, 8, ...
A row with little to tune gets its trials all the same, on a wider range of rates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import count, islice
from typing import Any

from bench.errors import BenchError
from bench.spec import RunSpec

RATE = "rate"  # multiplies the rates of all parameter groups
MOST = 100  # trials of a row: further ones would try rates beyond all numbers
NEAR = 3  # rate multipliers that come before everything else


def grid(trials: int, tunable: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """What each of `trials` trials changes: dotted names below `model`, or `RATE`."""
    if not isinstance(trials, int) or not 0 <= trials <= MOST:
        raise BenchError(f"tune={trials}", f"give a number of trials, 0 for none, at most {MOST}")
    return list(islice(_all(tunable), trials))


def alternatives(model: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What the model's YAML lists under `tunable`, without the values that it has anyway."""
    found = {}
    for name, values in (model.get("tunable") or {}).items():
        if (part := (model.get("tunable_with") or {}).get(name)) and not _value(model, part):
            continue  # of a part that is off: it would change nothing
        place, last = _place(model, name)
        found[name] = [value for value in values if value != place[last]]
    return found


def _all(tunable: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    rates = _multipliers()
    for _ in range(NEAR):
        yield {RATE: next(rates)}
    for name, values in tunable.items():
        yield from ({name: value} for value in values)
    for rate in rates:
        yield {RATE: rate}


def _multipliers() -> Iterator[float]:
    """1, 1/2, 2, 1/4, 4, ..."""
    yield 1.0
    for power in count(1):
        yield 2.0**-power
        yield 2.0**power


def tried(config: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a trial, or of a row with the settings found."""
    result = deepcopy(dict(config))
    for name, value in change.items():
        if name == RATE:
            result["rate_factor"] = value
        else:
            place, last = _place(result["model"], name)
            place[last] = value
    return result


def _place(model: Mapping[str, Any], name: str) -> tuple[Any, str]:
    """The mapping that holds a setting, and its key there."""
    *path, last = name.split(".")
    place: Any = model
    for part in path:
        place = place.get(part) if isinstance(place, Mapping) else None
    if not isinstance(place, Mapping) or last not in place:
        raise BenchError(f"tunable setting {name!r} is none of the model's", "see its YAML")
    return place, last


def _value(model: Mapping[str, Any], name: str) -> Any:
    place, last = _place(model, name)
    return place[last]


def shortened(spec: RunSpec, share: float, setting: str = "tune_share") -> RunSpec:
    """A training on a share of the budget that goes through its whole schedule of rates."""
    if not 0 < share <= 1:
        raise BenchError(f"{setting}={share:g}", "give a share of the budget, above 0, at most 1")
    schedule = spec.train.schedule
    schedule = replace(schedule, every_epochs=schedule.every_epochs * share)
    return replace(
        spec,
        budget=replace(spec.budget, amount=spec.budget.amount * share),
        train=replace(spec.train, schedule=schedule),
    )
