"""What the few trainings of a row show of their spread, and when it should not be trusted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.terminal import number

# Of normal seeds of equal spread, either is seen in about 2 % of pairs of five trainings.
GAP = 0.8  # of the range of a row's scores, between two neighbours
RATIO = 4.0  # of two rows' standard deviations
FEWEST = 5  # trainings; of fewer, normal seeds look so too often
# Measured by `bench.scripts.coverage`; a test holds these figures to its record.
LIMIT = (
    "Where the trainings of one row either escape from a plateau or do not, and those of the other "
    "are alike, the 95 % interval of five against five held the true difference in only 66 to "
    "81 % of simulated cases."
)


def uneven(scores: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Warnings about rows whose trainings are unlike a normal sample, or unlike each other's.

    `scores`: row -> the score of each of its trainings. Where trainings of a row either escape
    from a plateau or do not, a few of them can all lie on one side, and no interval that is
    made of them can know; `bench.scripts.coverage` measures how often it then is wrong.
    """
    several = {row: np.sort(x) for row, x in scores.items() if len(x) >= FEWEST and np.ptp(x) > 0}
    found = [
        f"one part of {row}'s trainings lies far from the rest ({_listed(x)})"
        for row, x in several.items()
        if np.diff(x).max() > GAP * np.ptp(x)
    ]
    spreads = {row: float(np.std(x, ddof=1)) for row, x in several.items()}
    if len(spreads) > 1:
        wide, narrow = (f(spreads, key=spreads.__getitem__) for f in (max, min))
        ratio = spreads[wide] / spreads[narrow]
        if ratio > RATIO:
            found.append(f"{wide}'s trainings vary {ratio:.0f} times as much as {narrow}'s")
    return tuple(found)


def next_run(scores: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Prediction interval (m,) for the score of one more training on the same studies.

    `scores` (S, m) of S trainings, taken as normal: mean +- t(S - 1) sd sqrt(1 + 1 / S). None of
    one training: its spread is not known. A published single run of the same method on the same
    studies lies in it with this probability; in the interval of the mean it does far more rarely.
    """
    from scipy.special import stdtrit

    S = len(scores)
    if S == 1:
        return None
    reach = stdtrit(S - 1, (1 + level) / 2) * scores.std(axis=0, ddof=1) * np.sqrt(1 + 1 / S)
    return scores.mean(axis=0) - reach, scores.mean(axis=0) + reach


def _listed(x: np.ndarray) -> str:
    return ", ".join(number(float(v)) for v in x)
