"""A table as data, and its five forms: text, Markdown, LaTeX, CSV, HTML.

What a cell shows and the numbers behind it stand side by side: every form but CSV prints the
text, CSV the numbers, at full precision and in columns of their own.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap

from bench.errors import unknown

WIDTH = 100  # columns of the text form
PAGE = 45  # rows that fit on a page of LaTeX; more of them are a longtable
LONG = 30  # characters from which a column of text breaks its lines there
GAP = "  "


@dataclass(frozen=True)
class Cell:
    text: str
    bold: bool = False
    numbers: tuple[float | str | None, ...] = ()  # as many as its column names; () = the text


@dataclass(frozen=True)
class Column:
    """`numbers`: the heads of its columns in CSV (one of the same head, if none are named).

    `heading`: text prints it above the rows that share it; other forms on the first of them,
    CSV on each.
    """

    head: str
    numbers: tuple[str, ...] = ()
    right: bool = False
    heading: bool = False
    key: bool = False  # text repeats it where the other columns need a second block


@dataclass(frozen=True)
class Row:
    cells: tuple[Cell, ...]
    kind: str = ""
    first: bool = True  # of the lines that belong together


@dataclass(frozen=True)
class Sheet:
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def shown(self, row: Row) -> list[Cell]:
        """Its cells as a table has them: what the rows above share is not said again."""
        return [
            Cell("") if column.heading and not row.first else cell
            for cell, column in zip(row.cells, self.columns, strict=True)
        ]


def render(sheet: Sheet, form: str) -> str:
    """`form`: text, md, latex, csv or html."""
    if form not in FORMS:
        raise unknown("format", form, FORMS)
    return FORMS[form](sheet)


# --- text --------------------------------------------------------------------------------------


def text(sheet: Sheet) -> str:
    """Aligned columns of at most `WIDTH`; what does not fit follows in a block of its own."""
    parts = [*wrap(sheet.title, WIDTH), ""] if sheet.title else []
    for block in _blocks(sheet):
        parts += [*_block(sheet, block), ""]
    for note in sheet.notes:
        parts += wrap(note, WIDTH, initial_indent="- ", subsequent_indent="  ")
    return "\n".join(parts).rstrip() + "\n"


def _blocks(sheet: Sheet) -> list[list[int]]:
    """Which printed columns stand beside one another; headings stand above the rows."""
    columns = sheet.columns
    widths = [_width(sheet, i) for i in range(len(columns))]
    keys = [i for i, c in enumerate(columns) if c.key]
    room = WIDTH - sum(widths[i] + len(GAP) for i in keys)
    blocks: list[list[int]] = []
    left = -1
    for i, column in enumerate(columns):
        if column.key or column.heading:
            continue
        left -= widths[i] + len(GAP)
        if left < -len(GAP) or not blocks:
            blocks.append(list(keys))
            left = room - widths[i] - len(GAP)
        blocks[-1].append(i)
    return blocks or [keys]


def _width(sheet: Sheet, i: int) -> int:
    return max(len(x) for x in (sheet.columns[i].head, *(r.cells[i].text for r in sheet.rows)))


def _block(sheet: Sheet, chosen: Sequence[int]) -> Iterator[str]:
    columns = sheet.columns
    widths = {i: _width(sheet, i) for i in chosen}

    def line(cells: Sequence[str]) -> str:
        sides = (
            c.rjust(widths[i]) if columns[i].right else c.ljust(widths[i])
            for i, c in zip(chosen, cells, strict=True)
        )
        return GAP.join(sides).rstrip()

    yield line([columns[i].head for i in chosen])
    yield GAP.join("-" * widths[i] for i in chosen)
    above = ""
    headed = any(column.heading for column in columns)
    for row in sheet.rows:
        cells = row.cells
        heading = GAP.join(c.text for c, col in zip(cells, columns, strict=True) if col.heading)
        if headed and heading != above:
            yield ""
            yield from wrap(heading, WIDTH, subsequent_indent="  ")
            above = heading
        if any(cells[i].text for i in chosen):
            yield line([cells[i].text for i in chosen])


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
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([h for c in sheet.columns for h in c.numbers or (c.head,)])
    for row in sheet.rows:
        fields: list[object] = []
        for cell, column in zip(row.cells, sheet.columns, strict=True):
            wanted = len(column.numbers or (column.head,))
            given = cell.numbers or (cell.text,)
            fields += [*("" if x is None else x for x in given), *[""] * (wanted - len(given))]
        writer.writerow(fields)
    return out.getvalue()


def html(sheet: Sheet) -> str:
    def cell(c: Cell) -> str:
        shown = escape(c.text)
        return f"<td><b>{shown}</b></td>" if c.bold and c.text else f"<td>{shown}</td>"

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


# --- LaTeX -------------------------------------------------------------------------------------

_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%_#${}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "✓": r"\checkmark",
    "†": r"\dag{}",
    "±": r"$\pm$",
}


def tex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(_LATEX.get(c, c) for c in text)


def latex(sheet: Sheet) -> str:
    """A table* that compiles with booktabs, amssymb and graphicx; of many rows a longtable."""
    caption = ". ".join(filter(None, [tex(sheet.title), tex(" ".join(sheet.notes))]))
    head = " & ".join(tex(c.head) for c in sheet.columns) + r" \\"
    body = list(_latex_rows(sheet))
    if len(sheet.rows) > PAGE:
        return "\n".join(_longtable(sheet, caption, head, body))
    columns = "".join("r" if c.right else "l" for c in sheet.columns)
    lines = [
        "% \\usepackage{booktabs,amssymb,graphicx}",
        "\\begin{table*}[t]",
        "\\centering",
        f"\\caption{{{caption}}}",
        "\\resizebox{\\textwidth}{!}{%",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        head,
        "\\midrule",
    ]
    return "\n".join([*lines, *body, "\\bottomrule", "\\end{tabular}}", "\\end{table*}", ""])


def _latex_rows(sheet: Sheet) -> Iterator[str]:
    for i, row in enumerate(sheet.rows):
        if row.first and i:
            yield "\\addlinespace"
        cells = (
            f"\\textbf{{{tex(c.text)}}}" if c.bold and c.text else tex(c.text)
            for c in sheet.shown(row)
        )
        yield " & ".join(cells) + r" \\"


def _longtable(sheet: Sheet, caption: str, head: str, body: Sequence[str]) -> list[str]:
    """Over several pages of one column; long texts break their lines."""
    kinds = [
        "r" if c.right else r"p{0.14\textwidth}" if _width(sheet, i) > LONG else "l"
        for i, c in enumerate(sheet.columns)
    ]
    return [
        "% \\usepackage{booktabs,amssymb,longtable}",
        "\\begingroup\\scriptsize\\setlength{\\tabcolsep}{3pt}",
        f"\\begin{{longtable}}{{{''.join(kinds)}}}",
        "\\toprule",
        head,
        "\\midrule",
        "\\endhead",
        "\\bottomrule",
        f"\\caption{{{caption}}}",
        "\\endlastfoot",
        *body,
        "\\end{longtable}",
        "\\endgroup",
        "",
    ]


FORMS: Mapping[str, Callable[[Sheet], str]] = {
    "text": text,
    "md": markdown,
    "latex": latex,
    "csv": to_csv,
    "html": html,
}
