"""UAR's Figure 3: the reports that lie nearest to a film, and where the own one is over all."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.figures import BLUE, GREY, INK, ORANGE, TWO, pyplot
from bench.reporting.figures import Drawn
from bench.reporting.figures.parts import label
from bench.reporting.figures.sealed import OF_EACH, OURS, PAPER_ROWS, cosines, film, ranks, shown
from bench.terminal import number

if TYPE_CHECKING:
    from bench.data.study import Study
    from bench.reporting.summary import Summary

SHOWN = (*PAPER_ROWS, OURS)
TOP = 2  # reports a row
LETTERS = 44  # of a line
MOST = 9  # lines of a report
UNSHOWN = "Films and reports of this dataset are shown only in reports of your own runs (`--out`)."
LINES = ((GREY, "-"), (ORANGE, "-."), (BLUE, "--"), (INK, "-"))  # of a row: colour, dashes


def draw(suite: Summary) -> Drawn | None:
    """The film of one study, its nearest reports in each row, and all own reports' ranks.

    Of a board whose data are not the project's own the ranks alone.
    """
    found = shown(suite, "images", SHOWN)
    if not found:
        return None
    studies = suite.data.split("test")
    similar = {row: cosines(arrays) for row, arrays in found.items()}
    places = {row: ranks(x) for row, x in similar.items()}
    if suite.shows_data:
        figure, height = _with_reports(suite, studies, similar, places)
    else:
        height = 1.75
        figure = pyplot().figure(figsize=(TWO, height))
        figure.text(0.01, 1 - 0.3 / height, UNSHOWN, va="top", color=GREY)
    left = 0.56 if suite.shows_data else 0.3
    axis = figure.add_axes((left, 0.4 / height, 0.98 - left, 0.72 / height))
    _ranks(axis, suite, places, len(studies))
    figure.text(0.01, 0.08 / height, OF_EACH, color=GREY)
    figure.suptitle(_title(places, len(studies)), x=0.01, y=1 - 0.05 / height, ha="left", va="top")
    data = [{"row": row, "study": studies[i].id, "rank": float(r)}
            for row, x in places.items() for i, r in enumerate(x)]  # fmt: skip
    return Drawn(figure, data)


def _with_reports(
    suite: Summary,
    studies: tuple[Study, ...],
    similar: dict[str, np.ndarray],
    places: dict[str, np.ndarray],
) -> tuple[Any, float]:
    """A figure with one study's film and report, and with the nearest reports in each row; its
    height in inches, the lowest part of which is left for the ranks."""
    study = _example(studies, places)
    height = max(1.5 + 1.28 * len(places), 4.2)  # the own report needs its room, too
    figure = pyplot().figure(figsize=(TWO, height))
    left = figure.add_axes((0.01, 1 - 1.95 / height, 0.2, 1.5 / height))
    left.imshow(film(suite, studies[study]), cmap="gray")
    left.set(xticks=[], yticks=[])
    left.set_xlabel(studies[study].id)
    own = "\n".join(_lines(studies[study].report, 27, 14))
    figure.text(0.01, 1 - 2.25 / height, f"Its own report:\n{own}", va="top", linespacing=1.25)
    for i, (row, own_places) in enumerate(places.items()):
        top = 1 - (0.42 + 1.28 * i) / height
        _row(figure, suite, row, similar[row], own_places, study, top)
    return figure, height


def _title(places: dict[str, np.ndarray], count: int) -> str:
    middle = {row: float(np.median(x)) for row, x in places.items()}
    best, worst = (chosen(middle, key=lambda r: middle[r]) for chosen in (min, max))
    others = "" if best == worst else f", at {middle[worst]:.0f} in {worst}"
    return (
        f"The own report stands at rank {middle[best]:.0f} of {count} in {best}{others} "
        f"(median; chance {(count + 1) / 2:.0f})"
    )


def _example(studies: tuple[Study, ...], places: dict[str, np.ndarray]) -> int:
    """A study with a finding whose ranks are nearest to each row's median: no row's showpiece."""
    ill = [i for i, s in enumerate(studies) if s.labels is None or s.labels != {"normal"}]
    off = sum(np.abs(np.log(x / np.median(x))) for x in places.values())
    return min(ill or range(len(studies)), key=lambda i: float(np.asarray(off)[i]))


def _lines(text: str, letters: int, count: int) -> list[str]:
    lines = wrap(text, letters)
    return lines if len(lines) <= count else [*lines[: count - 1], "…"]


def _row(
    figure: Any, suite: Summary, row: str, similar: np.ndarray, places: np.ndarray, study: int,
    top: float,
) -> None:  # fmt: skip
    """The nearest reports; a sentence that also stands in the own report is blue."""
    studies = suite.data.split("test")
    own = _sentences(studies[study].report)
    tall = figure.get_size_inches()[1]
    figure.text(
        0.235, top, f"{label(suite, row)}   own report: rank {places[study]:.0f}, cosine "
        f"{number(float(similar[study, study]), 2)}", va="top", weight="bold",
    )  # fmt: skip
    for column, other in enumerate(np.argsort(-similar[study], kind="stable")[:TOP]):
        x, y = 0.235 + 0.385 * column, top - 0.15 / tall
        mine = " (own)" if other == study else ""
        figure.text(x, y, f"{column + 1}. cosine {number(float(similar[study, other]), 2)}{mine}",
                    va="top", color=GREY)  # fmt: skip
        count = 0
        for sentence in _sentences(studies[other].report):
            for line in wrap(sentence, LETTERS):
                count += 1
                if count <= MOST - 1:
                    colour = BLUE if sentence in own else INK
                    figure.text(x, y - 0.115 * count / tall, line, va="top", color=colour)


def _sentences(report: str) -> list[str]:
    return [f"{s.strip().rstrip('.')}." for s in report.split(". ") if s.strip()]


def _ranks(axis: Any, suite: Summary, places: dict[str, np.ndarray], count: int) -> None:
    """How many studies have their own report among the first so many."""
    shares = np.arange(1, count + 1) / count
    axis.plot(np.arange(1, count + 1), shares, color=GREY, linewidth=0.8, linestyle=":")
    for (row, x), (colour, dashes) in zip(places.items(), LINES, strict=False):
        axis.step(np.sort(x), shares, color=colour, linestyle=dashes, linewidth=1.0, where="post",
                  label=label(suite, row))  # fmt: skip
    axis.set(
        xscale="log",
        xlim=(1, count),
        xlabel="rank of the own report (dots: chance)",
        ylabel="share",
    )
    axis.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axis.legend(loc="center right", bbox_to_anchor=(-0.16, 0.5))
