"""The claims ledger: each claim of a paper held against our runs, as data.

Confirmed and contradicted need an interval on one side of zero and a p of at most .05 after
Holm's correction over all claims that could be tested.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from bench.assess import FEATURES
from bench.compare import Comparison, corrected, interval, number, p_value
from bench.errors import unknown
from bench.report import TEXTS, Summary
from bench.spec import from_dict
from bench.suite import load_yaml

HEAD = ("section", "claim", "rows", "metric", "paper", "ours [95 %]", "p (Holm)", "verdict")
NOT_RUN = "not run"


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
    text = FEATURES if claim.metric == "alignment" else TEXTS[0]
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


def render(entries: Sequence[Entry], form: str = "md") -> str:
    """The ledger as md, latex, csv or html."""
    rows = [_cells(entry) for entry in entries]
    if form == "csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([HEAD, *rows])
        return text.getvalue()
    if form == "html":
        body = "".join(f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in r)}</tr>\n" for r in rows)
        head = "".join(f"<th>{h}</th>" for h in HEAD)
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n"
    if form == "latex":
        return _latex(rows)
    if form == "md":
        lines = [list(HEAD), ["---"] * len(HEAD), *rows]
        return "\n".join("| " + " | ".join(row) + " |" for row in lines) + "\n"
    raise unknown("format", form, ("md", "latex", "csv", "html"))


def _latex(rows: Sequence[Sequence[str]]) -> str:
    from bench.tables import tex

    body = [" & ".join(map(tex, row)) + r" \\" for row in rows]
    columns = "llllrrrl"
    return "\n".join(
        [
            "% \\usepackage{booktabs,graphicx}",
            "\\begin{table*}[t]",
            "\\centering",
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
