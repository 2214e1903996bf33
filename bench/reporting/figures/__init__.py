"""Every figure by name: what it is drawn from is a `Summary`, of a board or of local runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.figures import save
from bench.files import csv_text, write_atomic

if TYPE_CHECKING:
    from bench.reporting.summary import Summary


@dataclass(frozen=True)
class Drawn:
    """A matplotlib figure, and the numbers in it: one record a mark."""

    figure: Any
    data: Sequence[Mapping[str, object]]


# name -> (module here, what it shows). Each module has `draw(suite) -> Drawn | None`.
FIGURES: dict[str, tuple[str, str]] = {
    "hero": ("hero", "own and shuffled CIDEr, findings F1 and distinct reports of every row"),
    "claims": ("claims", "the paper's claims beside our intervals, coloured by verdict"),
    "findings": ("findings", "F1 by finding, less that of the nearest image's report"),
    "image-information": ("information", "what is read from the images, by row and by word"),
    "attention": ("attention", "UAR's Figure 6: do words look where their finding lies"),
    "alignment": ("alignment", "UAR's Figure 4: own pairs of image and report against others"),
    "retrieval": ("retrieval", "UAR's Figure 3: reports found for a film, and ranks over all"),
    "gram": ("gram", "UAR's Figure 5: shared matrices beside a random one"),
    "reconstructions": ("reconstructions", "what image codes keep of a film"),
    "strata": ("strata", "studies whose report also stands in train, and others"),
    "beams": ("beams", "what one training writes with narrower and wider beams"),
    "learning": ("learning", "validation scores along the trainings"),
    "cost": ("cost", "quality against FLOPs and parameters"),
    "agreement": ("agreement", "how alike metrics order the rows"),
}
DIGITS = 10  # of numbers in CSV
FIRST = ("hero", "claims")  # above the tables of a report


def draw(name: str, suite: Summary, folder: Path) -> list[Path]:
    """`folder`/NAME.svg, .png and .csv; the PNG, or nothing where the runs hold nothing of it."""
    module = import_module(f"bench.reporting.figures.{FIGURES[name][0]}")
    function: Callable[[Summary], Drawn | None] = module.draw
    drawn = function(suite)
    if drawn is None:
        return []
    write_atomic(folder / f"{name}.csv", _csv(drawn.data))
    return save(drawn.figure, folder / name)


def _csv(records: Sequence[Mapping[str, object]]) -> str:
    heads = list(dict.fromkeys(key for record in records for key in record))
    return csv_text(heads, ([_number(record.get(k)) for k in heads] for record in records))


def _number(value: object) -> object:
    """Ten digits: the last of sixteen may differ from machine to machine."""
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else value
