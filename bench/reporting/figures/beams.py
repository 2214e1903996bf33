"""What is written with narrower and wider beams: a training a line, a way to decode a dot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.figures import GREY, INK, ORANGE, PALE, TWO, pyplot
from bench.reporting.conclusions import DISTINCT, RAW, distinct, studies
from bench.reporting.figures import Drawn
from bench.reporting.figures.parts import bands_across, floor_handles, legend_height
from bench.reporting.tables import Figure
from bench.spec import TREATMENT, DecodeSpec, RunSpec
from bench.store import RunFolder, load_spec

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

SCORES = {  # panel -> score, and of what text
    "distinct reports": (DISTINCT, TREATMENT),
    "micro-F1 of five findings": ("chexpert-rules-F1-micro-5", RAW),
    "CIDEr": ("CIDEr", TREATMENT),
    "BLEU-4": ("BLEU-4", TREATMENT),
}
COLOURS = (INK, GREY, PALE, ORANGE)  # of trainings; floors have the others
ASIDE = 1.06  # between lines, of a place on the axis of beams
MARKERS = ("^", "s", "D", "v")  # of length penalties, in their order
HEIGHT, NAMES_A_LINE = 2.3, 3  # inches without the legend, and a line of it


@dataclass(frozen=True)
class Written:
    """A row: one way to write the reports of its training."""

    row: str
    decode: DecodeSpec


def trainings(suite: Summary) -> dict[str, list[Written]]:
    """The row that a training is named after -> its ways to write, narrow beams first; only of
    trainings whose reports were written with several beams, all else being equal."""
    specs = {r: load_spec(RunFolder(suite.contrasts.out, suite.keys[r][0])) for r in suite.trained}
    found = {}
    for rows in suite.of_one_training(suite.trained):
        named = _named(rows, specs)
        ways = [Written(r, specs[r].decode) for r in rows]
        ways = [w for w in ways if _is_a_beam(w.decode, specs[named].decode)]
        if len({w.decode.beam_size for w in ways if not w.decode.length_penalty}) > 1:
            found[named] = sorted(ways, key=_order)
    return found


def _is_a_beam(decode: DecodeSpec, usual: DecodeSpec) -> bool:
    """Whether a way to write differs in nothing but beam size and length penalty."""
    same = replace(decode, beam_size=usual.beam_size, length_penalty=usual.length_penalty)
    return decode.method == "beam" and same == usual


def _order(written: Written) -> tuple[float, int]:
    return written.decode.length_penalty, written.decode.beam_size


def _named(rows: Sequence[str], specs: Mapping[str, RunSpec]) -> str:
    """The row whose selection decodes as its test, else the first."""
    return next((r for r in rows if specs[r].training.decode == specs[r].decode), rows[0])


def draw(suite: Summary) -> Drawn | None:
    """A panel a score, a line a training; length penalties stand alone."""
    found = trainings(suite)
    panels = {
        name: score
        for name, score in SCORES.items()
        if found and all(suite.has(*score, [w.row]) for ways in found.values() for w in ways)
    }
    if not panels:
        return None
    figures = {
        (name, w.row): _figure(suite, w.row, score)
        for name, score in panels.items() for ways in found.values() for w in ways
    }  # fmt: skip
    figure, axes = pyplot().subplots(
        1, len(panels), figsize=(TWO, HEIGHT), squeeze=False, gridspec_kw={"wspace": 0.42}
    )
    shown: list[str] = []
    texts = _said(suite, list(found))
    for axis, (name, score) in zip(axes[0], panels.items(), strict=True):
        for i, (training, ways) in enumerate(found.items()):
            values = [(w, figures[name, w.row]) for w in ways]
            aside = ASIDE ** (i - (len(found) - 1) / 2)
            _line(axis, values, aside, COLOURS[i % len(COLOURS)], texts[training])
        if score[0] != DISTINCT:
            shown += bands_across(axis, suite, *score)
        _beams(axis, found)
        axis.set_title(name, pad=3)
    lines, names = axes[0][0].get_legend_handles_labels()
    known = dict(zip(names, lines, strict=True))
    handles = [*known.values(), *floor_handles(shown)]
    figure.legend(handles=handles, loc="lower center", ncols=NAMES_A_LINE)
    below = legend_height(len(handles), NAMES_A_LINE)
    height = HEIGHT + below
    figure.set_size_inches(TWO, height)
    figure.suptitle(_title(suite, found), x=0.01, y=1 - 0.07 / height, ha="left", va="top")
    figure.subplots_adjust(
        left=0.055, right=0.985, top=1 - 0.55 / height, bottom=(0.5 + below) / height
    )
    return Drawn(figure, _records(found, figures))


def _figure(suite: Summary, row: str, score: tuple[str, str]) -> Figure:
    """A score with its interval; how many reports are distinct is counted, not estimated."""
    if score[0] == DISTINCT:
        count = _count(suite, row)
        return Figure(count, count, count)
    return suite.figure(row, *score)


def _count(suite: Summary, row: str) -> float:
    """Distinct reports of a row that is known to have them."""
    return distinct(suite, row) or 0.0


def _line(
    axis: Any, values: Sequence[tuple[Written, Figure]], aside: float, colour: str, text: str
) -> None:
    """Beams without a penalty joined, by their numbers of hypotheses; penalties as marks.

    aside: what places are multiplied by, so that intervals of several lines stand side by side.
    """
    plain = [(w.decode.beam_size * aside, f) for w, f in values if not w.decode.length_penalty]
    beams = [beam for beam, _ in plain]
    axis.plot(beams, [f.value for _, f in plain], "-o", color=colour, linewidth=1, markersize=3,
              label=text, clip_on=False)  # fmt: skip
    for beam, f in plain:
        axis.vlines(beam, f.low, f.high, color=colour, linewidth=0.6, alpha=0.6)
    penalties = sorted({w.decode.length_penalty for w, _ in values} - {0})
    for w, f in values:
        if penalty := w.decode.length_penalty:
            place, beam = w.decode.beam_size * aside, w.decode.beam_size
            marker = MARKERS[penalties.index(penalty) % len(MARKERS)]
            text = f"beam {beam}, length penalty {penalty:g}"
            axis.plot(place, f.value, marker, color=colour, markerfacecolor="white", markersize=4,
                      label=text, linestyle="none")  # fmt: skip


def _beams(axis: Any, found: Mapping[str, Sequence[Written]]) -> None:
    beams = sorted({w.decode.beam_size for ways in found.values() for w in ways})
    axis.set_xscale("log")
    axis.set_xticks(beams, [f"{beam}" for beam in beams])
    axis.minorticks_off()
    axis.set_xlim(beams[0] / 1.25, beams[-1] * 1.25)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("beam size")


def _said(suite: Summary, rows: Sequence[str]) -> dict[str, str]:
    """`BASE: 12,000 examples` for BASE_half, where the lengths tell the trainings apart."""
    budgets = {r: load_spec(RunFolder(suite.contrasts.out, suite.keys[r][0])).budget for r in rows}
    said = {row: f"{b.amount:,.0f} {b.unit}" for row, b in budgets.items()}
    short = {row: f"{row.partition('_')[0]}: {text}" for row, text in said.items()}
    if len(set(short.values())) == len(short):
        return short
    return {row: f"{row}: {text}" for row, text in said.items()}


def _title(suite: Summary, found: Mapping[str, Sequence[Written]]) -> str:
    """Of the training with the most to lose: what its narrowest and its widest beam write."""
    if not suite.has(DISTINCT, TREATMENT, [w.row for ways in found.values() for w in ways]):
        return "What one training writes with narrower and wider beams"
    ends = {}
    for training, ways in found.items():
        plain = [w for w in ways if not w.decode.length_penalty]
        ends[training] = tuple((w, _count(suite, w.row)) for w in (plain[0], plain[-1]))
    training, ((narrow, many), (wide, few)) = max(
        ends.items(), key=lambda x: x[1][0][1] - x[1][1][1]
    )
    first, last = (_search(w.decode.beam_size) for w in (narrow, wide))
    return (
        f"{training} writes {many:,.0f} distinct reports with {first}, {few:,.0f} with {last}, "
        f"for {studies(suite):,} studies"
    )


def _search(beam: int) -> str:
    return "greedy search" if beam == 1 else f"beam {beam}"


def _records(
    found: Mapping[str, Sequence[Written]], figures: Mapping[tuple[str, str], Figure]
) -> list[dict[str, object]]:
    return [
        {"training": training, "row": w.row, "beam size": w.decode.beam_size,
         "length penalty": w.decode.length_penalty, "score": name,
         "value": f.value, "low": f.low, "high": f.high}
        for training, ways in found.items() for w in ways
        for (name, row), f in figures.items() if row == w.row
    ]  # fmt: skip
