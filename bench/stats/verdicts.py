"""What our runs say of a claim: rules, in order, on the interval of its contrast.

Everything is oriented to the claim: an effect above 0 is what it says. `claimed` is the size that
the paper prints, on the same scale as the effect.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.stats.effect import Effect
from bench.stats.power import ALPHA

LEVEL = 0.95
KINDS = (
    NOT_MEASURED,
    NOT_RUN,
    ONE_TRAINING,
    CONFIRMED,
    REVERSED,
    NO_EFFECT,
    EXCLUDED,
    UNRESOLVED,
) = (
    "not measured yet",
    "not run",
    "one training",
    "confirmed",
    "reversed",
    "no practical effect",
    "claimed size excluded",
    "unresolved",
)
TESTED = (CONFIRMED, REVERSED, NO_EFFECT, EXCLUDED, UNRESOLVED)


@dataclass(frozen=True)
class Verdict:
    """`detail`: the size of what was confirmed; `p`: of the test that the verdict rests on."""

    kind: str
    detail: str = ""
    p: float | None = None


def judge(effect: Effect | None, claimed: float | None, lone: bool = False) -> Verdict:
    """The first rule that applies.

    Not run: there is no effect. One training: a side whose other seeds are not known, so that
    nothing is said of methods. Confirmed, L > 0: the size is compatible with the claimed one,
    smaller or larger. Reversed, U < 0. No practical effect: the 90 % interval lies within half
    the claimed size either way. Claimed size excluded, U < claimed. Else unresolved.

    A claimed size of 0 or less (a text and its table that disagree) or None is no size to
    hold anything against.
    """
    if effect is None or not effect.defined:
        return Verdict(NOT_RUN)
    if lone:
        return Verdict(ONE_TRAINING)
    low, high = effect.interval(LEVEL)
    size = claimed if claimed is not None and claimed > 0 else None
    if low > 0:
        return Verdict(CONFIRMED, _size(low, high, size), effect.p())
    if high < 0:
        return Verdict(REVERSED, "", effect.p())
    if size is not None and effect.equivalence(size / 2) <= ALPHA:
        return Verdict(NO_EFFECT, "", effect.equivalence(size / 2))
    if size is not None and high < size:
        return Verdict(EXCLUDED, "", effect.p(size))
    return Verdict(UNRESOLVED, "", effect.p())


def oriented(effect: Effect, direction: str) -> Effect:
    """With its sign turned where the claim says "lower"."""
    if direction == "higher":
        return effect
    return Effect(-effect.value, effect.studies, effect.seeds, effect.degrees)


def _size(low: float, high: float, claimed: float | None) -> str:
    if claimed is None:
        return ""
    if high < claimed:
        return "smaller"
    return "larger" if low > claimed else "size compatible"
