"""What difference a design can find, and what it costs: trainings, studies and folds.

A pilot says how far trainings and studies scatter: the published runs of a board, or with --out
those of a folder (as many trainings of each row as are there). A figure is the smallest true
difference that 80 % of such experiments would find, at 5 % false alarms after the correction that
is named. --difference D turns the question round: how many trainings of each row find D?
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.boards.rows import BOARDS
from bench.errors import BenchError
from bench.reporting.pilot import Pair, Pilot, measure
from bench.reporting.source import chosen
from bench.runs.workspace import default_cache
from bench.settings import ranged
from bench.spec import PROTOCOL
from bench.stats.power import (
    POWER,
    Design,
    detectable_between,
    minimum_detectable_effect,
    seeds_for,
)
from bench.terminal import number, percent, table

ONE, FACTORIAL = "one claim, stated beforehand", "one main effect of a 2 x 2 factorial"
SERIES = (2, 3, 5, 10, 20)  # trainings of each row that are shown beside those asked for
FEW = 5  # trainings of each row below which a figure is somewhat too small
PILOT = 20  # trainings of each row that are looked for in a folder
MOST = 1000
WIDTH = 100  # columns of text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", nargs="?", default="ablations")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="dataset=NAME")
    parser.add_argument("--board", type=Path, default=BOARDS / PROTOCOL, help="pilot: its runs")
    parser.add_argument("--out", type=Path, help="pilot: a folder of runs, instead of the board's")
    parser.add_argument(
        "--seeds", type=ranged(1, 10_000), help="trainings of each row (in each fold)"
    )
    parser.add_argument("--studies", type=ranged(2), help="test studies (of each fold)")
    parser.add_argument(
        "--folds", type=ranged(1, 10_000), help="folds, each with trainings of its own"
    )
    parser.add_argument(
        "--family",
        type=ranged(1),
        action="append",
        default=[],
        help="tests of a family; may be repeated",
    )
    parser.add_argument("--metric", default="BLEU-4", help="the score that the design is for")
    parser.add_argument(
        "--difference", type=ranged(0, 1e12, float), help="how many trainings find this much?"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cache", type=Path, default=default_cache())


def run(arguments: argparse.Namespace) -> int:
    if arguments.difference is not None and not arguments.difference > 0:
        raise BenchError(f"--difference {arguments.difference:g}", "give a difference above 0")
    source = argparse.Namespace(**{**vars(arguments), "seeds": PILOT, "reports": None})
    pilot = measure(chosen(source).summary, arguments.metric)
    wanted = arguments.seeds, arguments.studies, arguments.folds
    found = plan(pilot, *wanted, arguments.difference, arguments.family)
    print(json.dumps(found.record(), indent=1) if arguments.json else found.render(), end="")
    return 0


@dataclass(frozen=True)
class Line:
    """One way to correct. `series`: trainings a row -> smallest difference found."""

    correction: str
    family: int
    rows: int
    smallest: float
    series: dict[int, float]
    overlap: float | None  # the smallest with Nadeau and Bengio's correction; None without folds
    seeds: int | None  # that find the difference asked for; None: not even `MOST` do


@dataclass(frozen=True)
class Power:
    """A design held against a pilot."""

    pilot: Pilot
    design: Design
    lines: tuple[Line, ...]
    pairs: tuple[tuple[Pair, float], ...]  # and the smallest difference found, as one claim
    difference: float | None

    @property
    def training_seconds(self) -> float:
        """Device-seconds of the whole design, evaluation not counted."""
        each = self.pilot.training_seconds + self.pilot.pretraining_seconds
        return self.design.folds * self.design.seeds * each

    def record(self) -> dict[str, Any]:
        """For JSON, at full precision; a difference that the score cannot have is None."""
        fields = asdict(self) | {"device_seconds": self.training_seconds}
        fields["pilot"]["largest"] = _reached(self.pilot, self.pilot.largest)
        fields["pairs"] = [
            {**asdict(p), "smallest": _reached(self.pilot, d)} for p, d in self.pairs
        ]
        for line in fields["lines"]:
            for key in ("smallest", "overlap"):
                line[key] = line[key] and _reached(self.pilot, line[key])
            series = line["series"].items()
            line["series"] = {k: _reached(self.pilot, v) for k, v in series}
        return fields

    def render(self) -> str:
        """In words and tables of at most 100 columns."""
        parts = [_about(self), _corrections(self), _by_pair(self), _cost(self)]
        return "\n".join(parts)


def plan(
    pilot: Pilot,
    seeds: int | None = None,
    studies: int | None = None,
    folds: int | None = None,
    difference: float | None = None,
    families: Sequence[int] = (),
) -> Power:
    """What a design finds; what is not given is as in the pilot, its families too."""
    design = Design(
        pilot.seeds if seeds is None else seeds,
        pilot.studies if studies is None else studies,
        pilot.folds if folds is None else folds,
    )
    corrected = {f"Holm over {n} tests": n for n in families} or pilot.families
    ways = [(ONE, 1, 2), (FACTORIAL, 1, 4), *((name, n, 2) for name, n in corrected.items())]
    lines = [_line(pilot, replace(design, family=n, rows=r), w, difference) for w, n, r in ways]
    pairs = [(p, detectable_between(design, p.seed_sds, p.study_sd)) for p in pilot.pairs]
    return Power(pilot, design, tuple(lines), tuple(pairs), difference)


def _line(pilot: Pilot, design: Design, way: str, difference: float | None) -> Line:
    spread = pilot.seed_sd, pilot.study_sd
    even = pilot.evenness
    overlap = pilot.overlap or 1 / max(design.folds - 1, 1)

    def smallest(seeds: int, overlap: float = 0.0) -> float:
        return minimum_detectable_effect(replace(design, seeds=seeds), *spread, overlap, even)

    return Line(
        way,
        design.family,
        design.rows,
        smallest(design.seeds),
        {seeds: smallest(seeds) for seeds in sorted({*SERIES, design.seeds})},
        smallest(design.seeds, overlap) if design.folds > 1 else None,
        None
        if difference is None
        else seeds_for(difference, design, *spread, evenness=even, most=MOST),
    )


def _reached(pilot: Pilot, value: float) -> float | None:
    """None for more than the score can differ by, and where nothing is found at all."""
    return value if value <= pilot.largest and value < float("inf") else None


# --- in words ----------------------------------------------------------------------------------


def _about(found: Power) -> str:
    pilot = found.pilot
    where = f"{pilot.folds} folds of about {pilot.studies}" if pilot.folds > 1 else pilot.studies
    return (
        f"{pilot.name} on {pilot.dataset}: what a design can find in {pilot.metric}\n\n"
        + _paragraph(
            f"Pilot: {len(pilot.rows)} rows, {pilot.seeds} trainings each, {where} test studies. "
            f"Two trainings of one row differ by a standard deviation of {number(pilot.seed_sd)}; "
            f"the difference of two rows differs by {number(pilot.study_sd)} from one study to "
            "another."
        )
    )


def _corrections(found: Power) -> str:
    design = found.design
    counts = list(found.lines[0].series)
    head = ["correction", *map(str, counts)]
    rows = [[x.correction, *(_cell(found, v) for v in x.series.values())] for x in found.lines]
    if design.folds > 1:
        head.append("corrected")
        corrected = [_cell(found, x.overlap or 0.0) for x in found.lines]
        rows = [[*row, cell] for row, cell in zip(rows, corrected, strict=True)]
    if found.difference is not None:
        head.append(f"for {number(found.difference)}")
        rows = [[*row, _needed(x)] for row, x in zip(rows, found.lines, strict=True)]
    where = f" in each of {design.folds} folds" if design.folds > 1 else ""
    tested = f"{design.studies} test studies{' a fold' if where else ''}"
    title = _paragraph(
        f"The smallest true difference that {percent(POWER)} of such experiments find, with "
        f"{tested}, by the number of trainings of each row{where}:"
    )
    return table(title.rstrip(), head, rows) + _notes(found)


def _cell(found: Power, value: float) -> str:
    return number(value if _reached(found.pilot, value) is not None else float("nan"))


def _needed(line: Line) -> str:
    return "no number" if line.seeds is None else _trainings(line.seeds)


def _trainings(count: int) -> str:
    return f"{count} training{'s' * (count > 1)}"


def _notes(found: Power) -> str:
    lines, design = [], found.design
    if design.folds > 1:
        lines.append(
            f"corrected: with {_trainings(design.seeds)}, after Nadeau and Bengio (2003), "
            "since the training sets of folds overlap."
        )
    if found.difference is not None and any(x.seeds is None for x in found.lines):
        lines.append("no number: more trainings do not help; it takes more studies or folds.")
    if design.folds == 1 and min(found.lines[0].series) < FEW:
        lines.append(
            f"Below {FEW} trainings of each row the figures are a little too small, since the test "
            "must estimate each row's spread: with 3 it finds them in 63-77 %, not in 80 %."
        )
    series = [v for x in found.lines for v in x.series.values()]
    if any(_reached(found.pilot, v) is None for v in series):
        lines.append("–: no difference that the score can have would be found.")
    return "".join("\n" + _paragraph(line) for line in lines)


def _by_pair(found: Power) -> str:
    head = ["pair", "over trainings", "over studies", "smallest found", "in the pilot"]
    rows = [
        [
            f"{p.a} - {p.b}",
            ", ".join(map(number, p.seed_sds)),
            number(p.study_sd),
            _cell(found, smallest),
            number(p.difference),
        ]
        for p, smallest in found.pairs
    ]
    design = found.design
    title = _paragraph(
        f"Pair by pair, as one claim stated beforehand, with {_trainings(design.seeds)} of each "
        "row: "
        "standard deviations over trainings (of either row) and over studies (of the difference), "
        "the smallest difference found, and the difference in the pilot."
    )
    return table(title.rstrip(), head, rows)


def _cost(found: Power) -> str:
    pilot, design = found.pilot, found.design
    trainings = len(pilot.rows) * design.seeds * design.folds
    more = _time(pilot.training_seconds * design.folds)
    return _paragraph(
        f"Cost: {_trainings(trainings)} and what they begin with take "
        f"{_time(found.training_seconds)} of optimiser steps; one more training of each row takes "
        f"{more}. Measured in the pilot ({pilot.machine}); validation, decoding and scoring come "
        "on top."
    )


def _paragraph(text: str) -> str:
    return textwrap.fill(text, WIDTH) + "\n"


def _time(seconds: float) -> str:
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
