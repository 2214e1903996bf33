"""The claims ledger: each claim of a paper held against our runs, as data.

Confirmed and contradicted need an interval on one side of zero and a p of at most .05 after
Holm's correction over all claims that could be tested.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from bench.config import load_yaml
from bench.errors import unknown
from bench.reporting.summary import Summary
from bench.runs.features import FEATURES
from bench.spec import TREATMENT, from_dict
from bench.stats.compare import NOT_RUN, VERDICTS, Comparison, corrected
from bench.terminal import interval, number, p_value

HEAD = ("section", "claim", "rows", "metric", "paper", "ours [95 %]", "p (Holm)", "verdict")


@dataclass(frozen=True)
class Claim:
    """`a` is said to be `direction` ("higher" or "lower") than `b` in `metric`, by `paper`."""

    section: str
    text: str
    a: str
    b: str
    metric: str
    direction: str
    paper: float | None = None


@dataclass(frozen=True)
class Entry:
    claim: Claim
    found: Comparison | None

    @property
    def verdict(self) -> str:
        return NOT_RUN if self.found is None else self.found.verdict(self.claim.direction)


def claims(name: str = "uar") -> list[Claim]:
    """The claims of conf/claims/<name>.yaml."""
    entries = load_yaml("claims", name)["claims"]
    return [from_dict(Claim, entry, f"claims {name}[{i}]") for i, entry in enumerate(entries)]


def ledger(suite: Summary, name: str = "uar") -> list[Entry]:
    """Every claim with the comparison behind it; rows that were not run have none."""
    known = claims(name)
    found = [_compare(suite, claim) for claim in known]
    tested = iter(corrected([c for c in found if c is not None]))
    return [
        Entry(claim, next(tested) if c is not None else None)
        for claim, c in zip(known, found, strict=True)
    ]


def _compare(suite: Summary, claim: Claim) -> Comparison | None:
    if claim.a not in suite.keys or claim.b not in suite.keys:
        return None
    text = FEATURES if claim.metric == "alignment" else TREATMENT
    if not suite.has(claim.metric, text, (claim.a, claim.b)):
        return None
    return suite.compare(claim.a, claim.b, claim.metric, text)


def _cells(entry: Entry) -> list[str]:
    claim, found = entry.claim, entry.found
    ours = "–" if found is None else f"{number(found.difference)} {interval(found.low, found.high)}"
    return [
        claim.section,
        claim.text,
        f"{claim.a} - {claim.b}",
        claim.metric,
        "–" if claim.paper is None else number(claim.paper),
        ours,
        "–" if found is None else p_value(found.p_corrected),
        entry.verdict,
    ]


def notes(entries: Sequence[Entry], dataset: str, name: str = "uar") -> list[str]:
    """How the ledger is to be read, and what it comes to."""
    source = load_yaml("claims", name)
    found = [entry.found for entry in entries if entry.found is not None]
    counts = Counter(entry.verdict for entry in entries)
    lines = [
        f"{len(entries)} claims of {source['source']}: "
        + ", ".join(f"{counts[v]} {v}" for v in VERDICTS)
        + ".",
        f"Ours: difference of the two rows on {dataset}, test split, {TREATMENT}, 95 % bootstrap "
        f"interval; approximate randomization, Holm over the {len(found)} claims that could be "
        "tested. Confirmed and contradicted need both p <= .05 and an interval on one side of 0.",
        f"Paper: the difference printed there, on {source['dataset']}, single runs.",
    ]
    if dataset != source["dataset"]:
        lines.append(f"Verdicts on {dataset} are about {dataset}, not about the paper's data.")
    if any(c.lone for c in found):
        lines.append("Rows of one run: the spread over seeds is not counted.")
    return lines


def render(entries: Sequence[Entry], form: str = "md", said: Sequence[str] = ()) -> str:
    """The ledger as md, latex, csv or html, `said` below it (the CSV has no place for it)."""
    rows = [_cells(entry) for entry in entries]
    if form == "csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([HEAD, *rows])
        return text.getvalue()
    if form == "html":
        body = "".join(f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in r)}</tr>\n" for r in rows)
        head = "".join(f"<th>{h}</th>" for h in HEAD)
        listed = "".join(f"<li>{escape(note)}</li>" for note in said)
        return (
            f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n"
            f"<ul>{listed}</ul>\n"
        )
    if form == "latex":
        return _latex(rows, said)
    if form == "md":
        lines = [list(HEAD), ["---"] * len(HEAD), *rows]
        table = "\n".join("| " + " | ".join(row) + " |" for row in lines) + "\n"
        return table + "".join(f"{'' if i else chr(10)}- {note}\n" for i, note in enumerate(said))
    raise unknown("format", form, ("md", "latex", "csv", "html"))


def _latex(rows: Sequence[Sequence[str]], said: Sequence[str]) -> str:
    from bench.reporting.tables import tex

    body = [" & ".join(map(tex, row)) + r" \\" for row in rows]
    columns = "llllrrrl"
    return "\n".join(
        [
            "% \\usepackage{booktabs,graphicx}",
            "\\begin{table*}[t]",
            "\\centering",
            f"\\caption{{{tex(' '.join(said))}}}",
            "\\resizebox{\\textwidth}{!}{%",
            f"\\begin{{tabular}}{{{columns}}}",
            "\\toprule",
            " & ".join(map(tex, HEAD)) + r" \\",
            "\\midrule",
            *body,
            "\\bottomrule",
            "\\end{tabular}}",
            "\\end{table*}",
            "",
        ]
    )
