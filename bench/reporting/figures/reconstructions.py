"""What the codes of a row's image tokenizer keep of a film; needs the tokenizer's weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.figures import TWO, pyplot
from bench.reporting.figures import Drawn
from bench.reporting.tokenizers import trained_for
from bench.runs.workspace import Workspace
from bench.store import WEIGHTS, RunFolder, load_spec

if TYPE_CHECKING:
    from bench.reporting.summary import Summary


def draw(suite: Summary) -> Drawn | None:
    """Films of the first tokenizer whose weights lie beside the runs; None for a board."""
    folder = next(_tokenizers(suite), None)
    if folder is None or not suite.shows_data:
        return None
    from bench.pretraining.reconstructions import painted, rows

    work = Workspace(suite.contrasts.out, suite.contrasts.kept.parent)
    films, again, figures, count = painted(load_spec(folder), work, folder)
    figure, axes = pyplot().subplots(2, len(films), figsize=(TWO, 2.2), squeeze=False)
    rows(axes, films, again)
    values = ", ".join(f"{name.rpartition('/')[2]} {value:.3g}" for name, value in figures.items())
    figure.suptitle(f"What codes keep of {count} validation studies: {values}",
                    x=0.01, y=0.98, ha="left", va="top")  # fmt: skip
    figure.tight_layout(pad=0.3, rect=(0, 0, 1, 0.97))
    return Drawn(figure, [{"figure": k, "value": v} for k, v in figures.items()])


def _tokenizers(suite: Summary) -> Iterator[RunFolder]:
    """Of those that rows began with the ones whose weights are here."""
    for row in suite.trained:
        yield from (folder for folder in trained_for(suite, row) if (folder / WEIGHTS).exists())
