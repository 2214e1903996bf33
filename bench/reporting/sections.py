"""What a suite's report says beside its tables: the short summary, image gain, strata, texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from bench.boards.rows import BoardRow
from bench.metrics.registry import BRIEF, RANKED_BY
from bench.runs.controls import DERANGEMENTS, SHUFFLED
from bench.spec import TREATMENT
from bench.stats.compare import TESTS, Comparison, corrected
from bench.stats.seeds import LIMIT
from bench.suites.suite import floor_title
from bench.terminal import interval, number, p_value

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

STAR = "*"  # after what holds for a whole family, by Holm
STRATA = ("seen", "unseen", "normal", "abnormal")
WORDS = {
    "diversity-unique": "distinct reports",
    "diversity-copied": "copied from train",
    "diversity-length-ratio": "length / reference",
}


def words(c: Comparison) -> str:
    """The finding of a comparison in words, with a star where it holds for a whole family.

    Without any spread the two hold the same reports. One training a side says nothing of methods.
    """
    kind = _kind(c, c.separate)
    if kind in ("higher", "lower") and c.lone:
        return f"{kind} in this training"
    return kind + STAR if _starred(c) else kind


def _kind(c: Comparison, told_apart: bool) -> str:
    if c.difference == c.low == c.high == 0:
        return "equal"
    if not told_apart:
        return "not distinguishable"
    return "higher" if c.difference > 0 else "lower"


def _starred(c: Comparison) -> bool:
    return c.family > 1 and c.distinguishable


def name_of(row: str) -> str:
    return floor_title(row)


# --- summary -----------------------------------------------------------------------------------


def summary(
    suite: Summary,
    gains: Mapping[tuple[str, str], Comparison],
    harder: Mapping[tuple[str, str], Comparison],
) -> str:
    """The findings in plain words, most important first; "" where nothing was scored."""
    rows = [r for r in suite.trained if suite.has(RANKED_BY, TREATMENT, [r])]
    if not rows:
        return ""
    lines = [_best(suite, rows)]
    if floor := suite.best_floor():
        lines += _against_floor(suite, rows, floor[0])
    lines += _gain_words(gains, harder)
    lines += one_run(suite, rows)
    return "### Rows, floors and images\n\n" + "\n".join(f"- {line}" for line in lines) + "\n"


def _best(suite: Summary, rows: Sequence[str]) -> str:
    top = max(rows, key=lambda r: suite.figure(r, RANKED_BY, TREATMENT).value)
    tied = [r for r in rows if r != top and r in suite.best(rows, RANKED_BY, TREATMENT)]
    also = f"; not distinguishable from it: {', '.join(tied)}" if tied else ""
    return f"Best trained row by {RANKED_BY}: **{top}**, {_value(suite, top)}{also}."


def _value(suite: Summary, row: str) -> str:
    figure = suite.figure(row, RANKED_BY, TREATMENT)
    return f"{number(figure.value)} {interval(figure.low, figure.high)}"


def _against_floor(suite: Summary, rows: Sequence[str], floor: str) -> list[str]:
    by_words: dict[str, list[str]] = {}
    for row, c in _held_against(suite, rows, floor).items():
        by_words.setdefault(_kind(c, c.distinguishable), []).append(row)
    told = [
        f"{kind}: {', '.join(by_words[key])}"
        for key, kind in (
            ("higher", "above it"),
            ("not distinguishable", "not distinguishable from it"),
            ("equal", "equal to it"),
            ("lower", "below it"),
        )
        if key in by_words
    ]
    others = "; ".join(
        f"{name_of(f)} {number(suite.figure(f, RANKED_BY, TREATMENT).value)}"
        for f in suite.floors
        if f != floor and suite.has(RANKED_BY, TREATMENT, [f])
    )
    return [
        f"Best floor: {name_of(floor)}, {_value(suite, floor)}"
        + (f" (others: {others})." if others else "."),
        f"Against that floor, {'; '.join(told)}.",
    ]


def _held_against(suite: Summary, rows: Sequence[str], floor: str) -> dict[str, Comparison]:
    """Each row's comparison with the floor as its table has it; of several, the least certain."""
    found: dict[str, Comparison] = {}
    for table in suite.suite.tables.values():
        for c in suite.comparisons(table):
            if (c.b, c.score) != (floor, RANKED_BY) or c.a not in rows:
                continue
            if c.a not in found or found[c.a].p_corrected < c.p_corrected:
                found[c.a] = c
    return {row: found[row] for row in rows if row in found}


def _gain_words(
    gains: Mapping[tuple[str, str], Comparison], harder: Mapping[tuple[str, str], Comparison]
) -> list[str]:
    """What the images are worth in the metric that ranks."""
    found = _ranking(gains)
    using = {row: c for row, c in found.items() if c.distinguishable and c.difference > 0}
    idle = [row for row in found if row not in using]
    lines = []
    if using:
        top = max(using, key=lambda r: using[r].difference)
        lines.append(
            "Reports fit the images of their own study better than those of others, be it in "
            f"wording or in findings: {', '.join(using)}; most of all {top}, by "
            f"{_size(using[top])} {RANKED_BY}."
        )
        within = _ranking(harder).get(top)
        if within is not None:
            lines.append(
                f"Given to other studies with the same labels, {top}'s reports lose "
                f"{_size(within)}: this part of the gain is not explained by the labels."
            )
    if idle:
        lines.append(f"No detectable image gain: {', '.join(idle)}.")
    return lines


def _ranking(gains: Mapping[tuple[str, str], Comparison]) -> dict[str, Comparison]:
    """Row -> its gain in the metric that ranks, corrected over all that are shown."""
    tested = zip(gains, corrected(list(gains.values())), strict=True)
    return {row: c for (row, metric), c in tested if metric == RANKED_BY}


def _size(c: Comparison) -> str:
    return f"{number(c.difference)} {interval(c.low, c.high)}"


def one_run(suite: Summary, rows: Sequence[str]) -> list[str]:
    lone = [r for r in rows if suite.trainings(r) == 1]
    if not lone:
        return []
    which = "Every row" if len(lone) == len(rows) else ", ".join(lone)
    verb = "is" if len(lone) in (1, len(rows)) else "are each"
    if suite.folds > 1:
        return [
            f"{which} {verb} one training a fold: differences in tables hold for these trainings; "
            "verdicts on claims are of the differences within folds, whose spread has that of "
            "trainings in it."
        ]
    return [
        f"{which} {verb} one training: differences between rows hold for these trainings, since "
        "the spread over seeds is not known (`--seeds N`)."
    ]


# --- comparisons -------------------------------------------------------------------------------


def comparisons(found: Sequence[Comparison]) -> str:
    """One table per row that others are held against: differences, and the finding in words."""
    parts = []
    tests = " or ".join(dict.fromkeys(TESTS[c.test] for c in found))
    family = max(c.family for c in found)
    holm = f"; {STAR} also after Holm over {family} contrasts in {RANKED_BY}" if family > 1 else ""
    for against in dict.fromkeys(c.b for c in found):
        mine = [c for c in found if c.b == against]
        metrics = list(dict.fromkeys(c.score for c in mine))
        lines = [
            f"**Comparisons with {name_of(against)}**: difference [95 %], p ({tests}), not "
            f"corrected{holm}\n",
            f"| row | {' | '.join(metrics)} | in words |\n|{'---|' * (len(metrics) + 2)}",
        ]
        for row in dict.fromkeys(c.a for c in mine):
            each = {c.score: c for c in mine if c.a == row}
            cells = [_difference(each[m]) if m in each else "–" for m in metrics]
            lines.append(f"| {row} | {' | '.join(cells)} | {in_words(each)} |")
        parts.append("\n".join([*lines, *_seeds(mine)]) + "\n")
    return "\n".join(parts)


def _seeds(found: Sequence[Comparison]) -> list[str]:
    """Where the spread of the seeds should be looked at, and what is known of such cases."""
    warned = dict.fromkeys(w for c in found if c.score == RANKED_BY for w in c.warnings)
    return [f"\nSeeds to look at, in {RANKED_BY}: {'; '.join(warned)}. {LIMIT}"] if warned else []


def _difference(c: Comparison) -> str:
    star = STAR if _starred(c) else ""
    return f"{number(c.difference)} {interval(c.low, c.high)}, {p_value(c.p)}{star}"


def in_words(each: Mapping[str, Comparison]) -> str:
    """`lower`, or `higher in CIDEr; not distinguishable in BLEU-4`."""
    kinds: dict[str, list[str]] = {}
    for metric, c in each.items():
        kinds.setdefault(words(c), []).append(metric)
    if len(kinds) == 1:
        return next(iter(kinds))
    return "; ".join(f"{kind} in {', '.join(metrics)}" for kind, metrics in kinds.items())


# --- image gain --------------------------------------------------------------------------------


def image_gain(suite: Summary, control: str = SHUFFLED) -> dict[tuple[str, str], Comparison]:
    """(row, metric) -> own images against those that the control shows instead.

    Each training is held against its own control: one that looks at the images more scores higher
    on its own and lower on others, and the spread of the gain over seeds is not the sum of both.
    """
    found = {}
    for row in suite.trained:
        own, contrasts = suite.keys[row], suite.contrasts
        shown = (control, *own)
        names = (row, f"{row}, {control}")
        for metric in BRIEF:
            if contrasts.has(own, metric, TREATMENT) and contrasts.has(shown, metric, TREATMENT):
                found[row, metric] = contrasts.compare(own, shown, names, metric, TREATMENT)
    return found


def gain(
    suite: Summary,
    plain: Mapping[tuple[str, str], Comparison],
    harder: Mapping[tuple[str, str], Comparison],
) -> str:
    """Both controls: images of any other study, and of one that shows the same."""
    if not plain:
        return ""
    counts = sorted({n for row, _ in plain for n in suite.derangements(row, SHUFFLED)})
    paired = (
        "Whom a study is paired with is one derangement, whose chance is most of the noise (runs "
        f"scored now average {DERANGEMENTS})."
        if counts == [1]
        else "Whom a study is paired with is averaged over "
        f"{' or '.join(map(str, counts))} derangements."
    )
    text = (
        "### Image gain: own images against images of other studies\n\n"
        f"{paired} 95 % intervals and p, not "
        f"corrected, of a t-test over trainings and studies where there are several trainings; "
        f"{STAR} also after Holm over {len(plain)} gains.\n\n{_gain_table(plain)}"
    )
    if not harder:
        return text
    n = {c.n for c in harder.values()}
    total = max(c.n for c in plain.values())
    return (
        f"{text}\nHarder: images shuffled only among studies with the same labels. "
        f"{'/'.join(map(str, sorted(n)))} of {total} studies take part; no other study has the "
        "labels of the rest. What is gained here lies beyond the labels: wording, place, "
        f"severity.\n\n{_gain_table(harder)}"
    )


def _gain_table(gains: Mapping[tuple[str, str], Comparison]) -> str:
    found = dict(zip(gains, corrected(list(gains.values())), strict=True))
    lines = [
        f"| {row} | {metric} | {number(c.value_a)} | {number(c.value_b)} | "
        f"{_size(c)} | {p_value(c.p).removeprefix('p').strip(' =')} | {words(c)} |"
        for (row, metric), c in found.items()
    ]
    head = "| row | metric | own | shuffled | gain [95 %] | p | in words |\n|" + "---|" * 7 + "\n"
    return head + "\n".join(lines) + "\n"


# --- strata and texts --------------------------------------------------------------------------


def strata(suite: Summary, rows: Iterable[BoardRow]) -> str:
    """BLEU-4 on the parts of the split, and what the reports look like."""
    known = [*suite.trained, *suite.floors]
    shown = [
        r for r in rows if r.treatment == TREATMENT and r.origin != "control" and r.variant in known
    ]
    counts = {r.stratum: r.n for r in shown if r.metric == RANKED_BY and r.stratum in STRATA}
    parts = [s for s in STRATA if s in counts]
    cells: dict[tuple[str, str], list[BoardRow]] = {}
    for row in shown:
        if row.metric == RANKED_BY and row.stratum in parts:
            cells.setdefault((row.variant, row.stratum), []).append(row)
        elif row.metric in WORDS and row.stratum == "all":
            cells.setdefault((row.variant, row.metric), []).append(row)
    columns = [*parts, *(m for m in WORDS if any((r, m) in cells for r in known))]
    if not columns:
        return ""
    heads = [f"{RANKED_BY}, {c} (n = {counts[c]})" if c in counts else WORDS[c] for c in columns]
    lines = [
        f"| {name_of(row)} | " + " | ".join(_cell(cells.get((row, c), [])) for c in columns) + " |"
        for row in known
    ]
    return (
        "### Strata and texts\n\n"
        "Seen: the cleaned reference also stands, word for word, in train. Distinct reports and "
        "those copied from train are shares of the split.\n\n"
        f"| row | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 1)}\n" + "\n".join(lines) + "\n"
    )


def _cell(found: Sequence[BoardRow]) -> str:
    """One run with its interval; of several runs the mean."""
    values = [r.value for r in found if r.value is not None]
    if not values:
        return "–"
    text = number(sum(values) / len(values))
    [row, *more] = found
    if more or row.stratum == "all" or row.ci_low is None or row.ci_high is None:
        return text
    return f"{text} {interval(row.ci_low, row.ci_high)}"
