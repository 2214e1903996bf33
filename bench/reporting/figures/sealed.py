"""What runs sealed for figures (`bench.runs.representations`), and films to show beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.runs.representations import REPRESENTATIONS
from bench.store import RunFolder, read_arrays

if TYPE_CHECKING:
    from bench.data.study import Study
    from bench.reporting.summary import Summary

PAPER_ROWS = ("BASE", "a", "e")  # those of UAR's Figures 3 and 4
OURS = "d"  # the row that the paper leaves out of them
OF_EACH = "first training of each row"  # said where a row may have several
Arrays = dict[str, np.ndarray]


def arrays(suite: Summary, row: str, training: int = 0) -> Arrays:
    """Of one training of a row; empty where the run sealed nothing or was not run."""
    runs = suite.keys.get(row, ())
    if training >= len(runs) or suite.folds > 1:
        return {}
    path = RunFolder(suite.contrasts.out, runs[training]) / REPRESENTATIONS
    if not path.exists():
        return {}
    return read_arrays(path)


def holding(suite: Summary, name: str, rows: tuple[str, ...] = ()) -> dict[str, Arrays]:
    """Rows whose first training sealed the array `name`: of `rows`, or the first row of each
    training, where several rows are written by one."""
    found = {row: arrays(suite, row) for row in rows or suite.trained}
    having = [row for row, a in found.items() if name in a]
    kept = having if rows else [group[0] for group in suite.of_one_training(having)]
    return {row: found[row] for row in kept}


def shown(suite: Summary, name: str, rows: tuple[str, ...]) -> dict[str, Arrays]:
    """`holding` of these rows, or of the suite's first few where it has fewer than two of them."""
    found = holding(suite, name, rows)
    return found if len(found) > 1 else dict(list(holding(suite, name).items())[: len(rows)])


def cosines(found: Arrays) -> np.ndarray:
    """(n, n) of each film with each report; equal reports get equal cosines, so that they tie."""
    images, reports = (found[k].astype(np.int64) for k in ("images", "reports"))
    # Of whole numbers, so that no machine's order of adding decides a rank.
    return np.asarray(images @ reports.T / np.outer(_norms(images), _norms(reports)))


def _norms(rows: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum((rows * rows).sum(axis=1), 1))


def ranks(similar: np.ndarray) -> np.ndarray:
    """(n,) the place of the own report among all, 1 best; ties are broken half way."""
    own = np.diag(similar)[:, None]
    ahead = (similar > own).sum(axis=1) + 0.5 * ((similar == own).sum(axis=1) - 1)
    return np.asarray(1.0 + ahead)


def film(suite: Summary, study: Study, view: int = 0) -> np.ndarray:
    """A view of a study, grey uint8; read from the user's data where the dataset is real."""
    return suite.data.read(study.images[view])


def by_finding(suite: Summary) -> tuple[np.ndarray, int]:
    """An order of the test studies by what they show, and how many of them come first as normal."""
    shown = [sorted(s.labels or ()) for s in suite.data.split("test")]
    order = sorted(range(len(shown)), key=lambda i: (shown[i] != ["normal"], shown[i]))
    return np.array(order), sum(x == ["normal"] for x in shown)
