"""A table as data, and its five forms: text, Markdown, LaTeX, CSV, HTML.

What a cell shows and the numbers behind it stand side by side: every form but CSV prints the
text, CSV the numbers, at full precision and in columns of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from textwrap import wrap

from bench.errors import unknown
from bench.files import csv_text
from bench.reporting.latex import latex
from bench.reporting.layout import Cell, Sheet
from bench.terminal import GAP, painted, room

BROKEN = 17  # letters of a last column that breaks its lines, at least


def render(sheet: Sheet, form: str) -> str:
    """`form`: text, md, latex, csv or html."""
    if form not in FORMS:
        raise unknown("format", form, FORMS)
    return FORMS[form](sheet)


# --- text --------------------------------------------------------------------------------------


def text(sheet: Sheet) -> str:
    """Aligned columns within the terminal; what does not fit follows in a block of its own."""
    width = room()
    parts = [*wrap(sheet.title, width), ""] if sheet.title else []
    for block in _blocks(sheet, width):
        parts += [*_block(sheet, block, width), ""]
    for note in sheet.notes:
        parts += wrap(note, width, initial_indent="- ", subsequent_indent="  ")
    return "\n".join(parts).rstrip() + "\n"


def _blocks(sheet: Sheet, width: int) -> list[list[int]]:
    """Which printed columns stand beside one another; headings stand above the rows.

    The last column breaks its lines rather than stand in a block of its own.
    """
    columns = sheet.columns
    keys = [i for i, c in enumerate(columns) if c.key]
    free = width - sum(sheet.width(i) + len(GAP) for i in keys)
    blocks: list[list[int]] = []
    left = -1
    for i, column in enumerate(columns):
        if column.key or column.heading:
            continue
        last = i == len(columns) - 1 and not column.right
        needed = min(sheet.width(i), BROKEN) if last else sheet.width(i)
        if needed > left or not blocks:
            blocks.append(list(keys))
            left = free
        left -= needed + len(GAP)
        blocks[-1].append(i)
    return blocks or [keys]


def _block(sheet: Sheet, chosen: Sequence[int], width: int) -> Iterator[str]:
    columns = sheet.columns
    widths = {i: sheet.width(i) for i in chosen}
    used = sum(widths[i] + len(GAP) for i in chosen[:-1])
    widths[chosen[-1]] = min(widths[chosen[-1]], max(BROKEN, width - used))

    def line(cells: Sequence[str]) -> str:
        sides = (
            c.rjust(widths[i]) if columns[i].right else c.ljust(widths[i])
            for i, c in zip(chosen, cells, strict=True)
        )
        return GAP.join(sides).rstrip()

    def lines(cells: Sequence[str]) -> Iterator[str]:
        first, *rest = wrap(cells[-1], widths[chosen[-1]]) or [""]
        shown = line([*cells[:-1], first])
        yield shown.removesuffix(first) + painted(first) if first else shown
        yield from (" " * used + more for more in rest)

    yield line([columns[i].name for i in chosen])
    yield GAP.join("-" * widths[i] for i in chosen)
    above = ""
    headed = any(column.heading for column in columns)
    for row in sheet.rows:
        cells = row.cells
        heading = GAP.join(c.text for c, col in zip(cells, columns, strict=True) if col.heading)
        if headed and heading != above:
            yield ""
            yield from wrap(heading, width, subsequent_indent="  ")
            above = heading
        if any(cells[i].text for i in chosen):
            yield from lines([cells[i].text for i in chosen])


# --- Markdown, CSV, HTML -----------------------------------------------------------------------


def markdown(sheet: Sheet) -> str:
    rows = [[c.head for c in sheet.columns], ["---:" if c.right else "---" for c in sheet.columns]]
    for row in sheet.rows:
        rows.append([f"**{c.text}**" if c.bold and c.text else c.text for c in sheet.shown(row)])
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    head = f"### {sheet.title}\n\n" if sheet.title else ""
    body = "".join("| " + " | ".join(row) + " |\n" for row in escaped)
    notes = "".join(f"- {note}\n" for note in sheet.notes)
    return head + body + (f"\n{notes}" if notes else "")


def to_csv(sheet: Sheet) -> str:
    rows = []
    for row in sheet.rows:
        fields: list[object] = []
        for cell, column in zip(row.cells, sheet.columns, strict=True):
            wanted = len(column.numbers or (column.head,))
            given = cell.numbers or (cell.text,)
            fields += [*given, *[""] * (wanted - len(given))]
        rows.append(fields)
    return csv_text([h for c in sheet.columns for h in c.numbers or (c.head,)], rows)


def html(sheet: Sheet) -> str:
    def cell(c: Cell) -> str:
        shown = escape(c.text)
        if c.bold and c.text:
            return f"<td><b>{shown}</b></td>"
        return f'<td class="quiet">{shown}</td>' if c.quiet else f"<td>{shown}</td>"

    head = "".join(f"<th>{escape(c.head)}</th>" for c in sheet.columns)
    rows = [
        f'<tr class="{escape(row.kind)}">{"".join(map(cell, sheet.shown(row)))}</tr>'
        for row in sheet.rows
    ]
    title = f"<h3>{escape(sheet.title)}</h3>\n" if sheet.title else ""
    notes = "".join(f"<li>{escape(n)}</li>" for n in sheet.notes)
    return (
        f"{title}<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + f"\n</tbody>\n</table>\n<ul>{notes}</ul>\n"
    )


FORMS: Mapping[str, Callable[[Sheet], str]] = {
    "text": text,
    "md": markdown,
    "latex": latex,
    "csv": to_csv,
    "html": html,
}
