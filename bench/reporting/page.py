"""report.html: a suite's README as one file, its figures inside, and where its numbers come from.

The README is the only source of what is said; this turns the Markdown that the harness writes
(headings, paragraphs, lists, pipe tables, figures) into HTML, and adds the provenance of each run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from bench.boards.rows import BoardRow
from bench.errors import some
from bench.store import read_json, write_atomic
from bench.suites.suite import floor_title

if TYPE_CHECKING:
    from bench.reporting.summary import Summary

NAME = "report.html"
STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem; color: #1a1a1a }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: 1rem 0; font-size: 12.5px }
th, td { padding: .2rem .6rem; text-align: left; white-space: nowrap; border-bottom: 1px solid #e4e4e4 }
th { border-bottom: 2px solid #888; position: sticky; top: 0; background: #fff }
tr.paper td, tr.delta td, tr.verdict td { color: #666 }
tr.floor td { background: #f6f6f2 }
svg { max-width: 100%; height: auto }
code { background: #f3f3f3; padding: 0 .2rem }
ul { color: #333 }
"""  # noqa: E501
_IMAGE = re.compile(r"!\[(?P<title>.*)\]\((?P<name>.*)\.png\)")
_COLUMNS = ("row", "run", "seed", "model", "budget", "steps", "parameters", "device", "commit",
            "initial weights", "predictions sha256")  # fmt: skip


def write_page(suite: Summary, rows: Sequence[BoardRow], folder: Path) -> Path:
    """From a folder that `write_suite` has written."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    body = "\n".join([*_blocks(text, folder), *provenance(suite, rows)])
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(suite.suite.title)}: {escape(suite.dataset)}</title>\n"
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
    write_atomic(folder / NAME, page)
    return folder / NAME


# --- Markdown ----------------------------------------------------------------------------------


def _blocks(text: str, folder: Path) -> Iterator[str]:
    """HTML of each block; blocks are parted by empty lines."""
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.splitlines()
        heading = re.match(r"(#+) (.*)", lines[0])
        image = _IMAGE.fullmatch(lines[0])
        if heading:
            level = len(heading[1])
            yield f"<h{level}>{inline(heading[2])}</h{level}>"
        elif image:
            yield f"<figure>{_svg(folder / image['name'])}</figure>"
        elif lines[0].startswith("|"):
            yield _table(lines)
        elif lines[0].startswith("- "):
            yield "<ul>" + "".join(f"<li>{inline(x[2:])}</li>" for x in lines) + "</ul>"
        else:
            yield f"<p>{inline(' '.join(lines))}</p>"


def inline(text: str) -> str:
    """Bold and code of one line of text; everything else is text."""
    text = escape(text, quote=False)
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text)
    return re.sub(r"`(.+?)`", r"<code>\1</code>", text)


def _table(lines: Sequence[str]) -> str:
    head, _, *body = [
        [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
    ]
    rows = [f"<tr>{''.join(f'<th>{inline(c)}</th>' for c in head)}</tr>"]
    for cells in body:
        kind = next((c for c in cells if c in ("paper", "delta", "verdict", "floor")), "")
        marked = f'<tr class="{kind}">' if kind else "<tr>"
        rows.append(f"{marked}{''.join(f'<td>{inline(c)}</td>' for c in cells)}</tr>")
    return "<table>\n" + "\n".join(rows) + "\n</table>"


def _svg(stem: Path) -> str:
    """A figure's drawing without the prologue of a file of its own."""
    text = stem.parent.joinpath(f"{stem.name}.svg").read_text(encoding="utf-8")
    return text[text.index("<svg") :]


# --- provenance --------------------------------------------------------------------------------


def provenance(suite: Summary, rows: Sequence[BoardRow]) -> Iterator[str]:
    """Each run, the machines and packages behind them, and every metric's signature."""
    first = {(r.variant, r.run_id): r for r in reversed(rows)}  # the first row of each run
    order = list(dict.fromkeys((r.variant, r.run_id) for r in rows))
    body = [f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in _run(first[x]))}</tr>" for x in order]
    yield "<h2>Provenance</h2>"
    yield f"<table>\n<tr>{''.join(f'<th>{c}</th>' for c in _COLUMNS)}</tr>"
    yield "\n".join(body) + "\n</table>"
    machines: dict[str, list[str]] = {}
    for variant, run_id in order:
        machines.setdefault(_machine(suite, run_id), []).append(variant)
    yield "<ul>"
    yield from (f"<li>{escape(m)}: {escape(some(v, 30))}</li>" for m, v in machines.items())
    yield "</ul>\n<h3>Signatures</h3>\n<ul>"
    signatures = dict.fromkeys(r.signature for r in rows if r.stratum == "all" and r.signature)
    intervals = dict.fromkeys(r.interval for r in rows if r.stratum == "all" and r.interval)
    yield from (f"<li><code>{escape(s)}</code></li>" for s in [*signatures, *intervals])
    yield "</ul>"


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
