"""report.html: a suite's verdict, claims, leaderboard, studies, figures and provenance in one file.

It needs nothing beside it and is readable without JavaScript, which only sorts, filters and shows
single studies. Words, style and script are in `templates/`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.boards.rows import BoardRow
from bench.errors import some
from bench.files import write_atomic
from bench.reporting import alignment_tables, clinical_tables, short_table, tables
from bench.reporting.browser import browser
from bench.reporting.claims import ledger
from bench.reporting.conclusions import conclusions, studies
from bench.reporting.figures import FIGURES
from bench.reporting.layout import Sheet
from bench.reporting.leaderboard import leaderboard
from bench.reporting.ledger import sheet as ledger_sheet
from bench.spec import TREATMENT
from bench.stats.verdicts import NOT_RUN
from bench.store import read_json
from bench.suites.suite import floor_title

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

NAME = "report.html"
TEMPLATES = Path(__file__).parent / "templates"
COLUMNS = ("row", "run", "seed", "model", "budget", "steps", "parameters", "device", "commit",
           "initial weights", "predictions sha256")  # fmt: skip
_ID = re.compile(r' id="([^"]+)"')


def write_page(suite: Summary, rows: Sequence[BoardRow], folder: Path, origin: str = "") -> Path:
    """Into a folder that `write_suite` has written, whose figures it shows."""
    import jinja2

    loader = jinja2.FileSystemLoader(TEMPLATES)
    made = jinja2.Environment(loader=loader, autoescape=True, keep_trailing_newline=True)
    page = made.get_template("report.html.j2").render(
        title=suite.suite.title,
        dataset=suite.dataset,
        studies=studies(suite),
        conclusions=conclusions(suite),
        figures=list(_figures(folder)),
        claims=_claims(suite),
        board=leaderboard(suite),
        browser=browser(suite),
        sheets=list(_sheets(suite)),
        origin=origin,
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "page.js").read_text(encoding="utf-8"),
        **_provenance(suite, rows),
    )
    write_atomic(folder / NAME, page)
    return folder / NAME


# --- figures ------------------------------------------------------------------------------------


def _figures(folder: Path) -> Iterator[dict[str, str]]:
    for name, (_, text) in FIGURES.items():
        path = folder / f"{name}.svg"
        if path.exists():
            yield {"name": name, "text": text, "svg": inline(path.read_text(encoding="utf-8"))}


def inline(svg: str) -> str:
    """A drawing for the middle of a page: without prologue, and with no id but those it uses."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    used = set(re.findall(r"#([\w.-]+)", svg))
    return _ID.sub(lambda found: found[0] if found[1] in used else "", svg)


# --- claims -------------------------------------------------------------------------------------


def _claims(suite: Summary) -> dict[str, Any] | None:
    """Every claim of which something was run; None where nothing was."""
    entries = ledger(suite)
    found = ledger_sheet(entries, suite)
    pairs = [
        (entry, row)
        for entry, row in zip(entries, found.rows, strict=True)
        if entry.verdict.kind != NOT_RUN
    ]
    if not any(entry.effect for entry, _ in pairs):
        return None
    kinds = Counter(entry.verdict.kind for entry, _ in pairs)
    return {
        "title": found.title,
        "heads": [column.head for column in found.columns],
        "rows": [
            {
                "kind": entry.verdict.kind,
                "metric": entry.metric or "all of them",
                "cells": [cell.text for cell in row.cells],
            }
            for entry, row in pairs
        ],
        "kinds": kinds.most_common(),
        "metrics": list(dict.fromkeys(entry.metric or "all of them" for entry, _ in pairs)),
        "notes": found.notes,
    }


def _sheets(suite: Summary) -> Iterator[Sheet]:
    """Every table of the suite, for the appendix."""
    for table in suite.suite.tables.values():
        if not any(row in suite.keys for row in table.rows):
            continue
        yield short_table.sheet(suite, table)
        yield tables.sheet(suite.grid(table, TREATMENT))
        for module in (clinical_tables, alignment_tables):
            if (grid := module.grid(suite, table)) is not None:
                yield tables.sheet(grid)


# --- provenance ---------------------------------------------------------------------------------


def _provenance(suite: Summary, rows: Sequence[BoardRow]) -> dict[str, Any]:
    """Each run, the machines and packages behind them, and every metric's signature."""
    first = {(r.variant, r.run_id): r for r in reversed(rows)}  # the first row of each run
    order = list(dict.fromkeys((r.variant, r.run_id) for r in rows))
    machines: dict[str, dict[str, None]] = {}
    for variant, run_id in order:
        machines.setdefault(_machine(suite, run_id), {})[floor_title(variant)] = None
    whole = [r for r in rows if r.stratum == "all"]
    signatures = dict.fromkeys(s for r in whole for s in (r.signature, r.interval) if s)
    return {
        "runs": [_run(first[x]) for x in order],
        "run_heads": COLUMNS,
        "machines": [(machine, some(names, 30)) for machine, names in machines.items()],
        "signatures": list(signatures),
    }


def _run(row: BoardRow) -> list[str]:
    return [
        floor_title(row.variant),
        row.run_id,
        str(row.seed),
        row.model,
        row.budget or "–",
        "–" if row.steps is None else f"{row.steps:,}",
        "–" if row.params_m is None else f"{row.params_m:.2f} M",
        "–" if row.device_seconds is None else f"{row.device_seconds:.0f} s",
        row.commit[:10] + ("+dirty" if row.commit.endswith("+dirty") else ""),
        row.initial or "–",
        row.predictions_sha[:12],
    ]


def _machine(suite: Summary, run_id: str) -> str:
    made = read_json(suite.contrasts.out / run_id / "env.json")
    packages = ", ".join(f"{k} {v}" for k, v in made["packages"].items() if v)
    where = f"{made['cpu'] or made['system']}, {made['threads']} threads, {made['device']}"
    return f"{where}; Python {made['python']}, {packages}"
