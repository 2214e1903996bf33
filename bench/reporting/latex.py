"""Tables in LaTeX: 8 pt across both columns of a paper, several tables where one page is too short.

Needs booktabs, amssymb, array and xcolor. Nothing is shrunk: long texts break their lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from bench.reporting.layout import Cell, Row, Sheet

PAGE, LEAST = 60, 20  # lines of a table that fit on a page, and that are worth one
NOTED = 125  # letters of a line of notes
WIDE = 505  # pt, across both columns
LETTER, SEPARATION = 4.1, 2.0  # pt: a letter at 8 pt on average, and the space beside a column
LONG = 24  # letters from which a column of text breaks its lines
NARROW = 50  # pt, such a column at least

_ESCAPED = {
    **{sign: f"\\{sign}" for sign in "&%_#${}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "✓": r"$\checkmark$",
    "†": r"\dag{}",
    "Δ": r"$\Delta$",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}
_HALF = re.compile(r" ±([\d.]+)")


def tex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(_ESCAPED.get(c, c) for c in text)


def latex(sheet: Sheet) -> str:
    """table* environments that compile in a two-column paper."""
    sheet = _headed(sheet)
    notes = tex(" ".join(sheet.notes))
    parts = list(_parts(sheet, max(LEAST, PAGE - len(notes) // NOTED)))
    blocks = []
    for number, rows in enumerate(parts):
        title = tex(sheet.title) + (" (continued)" if number else "")
        last = number == len(parts) - 1
        blocks.append("\n".join(_table(sheet, rows, title, notes if last else "")))
    return "% \\usepackage{booktabs,amssymb,array,xcolor}\n" + "\n".join(blocks)


def _headed(sheet: Sheet) -> Sheet:
    """Without the columns that have no heading: they only say what other forms need."""
    kept = [i for i, column in enumerate(sheet.columns) if column.head]
    columns = tuple(sheet.columns[i] for i in kept)
    rows = tuple(replace(row, cells=tuple(row.cells[i] for i in kept)) for row in sheet.rows)
    return replace(sheet, columns=columns, rows=rows)


def _parts(sheet: Sheet, most: int) -> Iterator[list[Row]]:
    """Rows page by page; a page begins with the first line of a row where it can."""
    kinds = _kinds(sheet)
    part: list[Row] = []
    lines = 0.0
    for row in sheet.rows:
        height = _lines(sheet, row, kinds)
        if part and ((lines + height > PAGE and row.first) or lines + height > 1.5 * PAGE):
            yield part
            part, lines = [], 0.0
        part.append(row)
        lines += height
    if part or not sheet.rows:
        yield part


def _lines(sheet: Sheet, row: Row, kinds: Sequence[float | None]) -> float:
    """Lines that a row takes on the page, with the space above it."""
    wrapped = [
        -(-len(cell.text) * LETTER // width)
        for cell, width in zip(sheet.shown(row), kinds, strict=True)
        if width and cell.text
    ]
    return max([1.0, *wrapped]) + (0.5 if row.first else 0.0)


def _kinds(sheet: Sheet) -> list[float | None]:
    """The width in pt of each column that breaks its lines; None of the others."""
    longest = [sheet.width(i) for i in range(len(sheet.columns))]
    broken = {i for i, c in enumerate(sheet.columns) if not c.right and longest[i] > LONG}
    fixed = sum(LETTER * n for i, n in enumerate(longest) if i not in broken)
    free = WIDE - fixed - 2 * SEPARATION * len(longest)
    weights = {i: min(longest[i], 90) ** 0.5 for i in broken}
    total = sum(weights.values()) or 1.0
    shares = {i: max(NARROW, free * weight / total) for i, weight in weights.items()}
    # One broken column of short texts needs no more than they are long.
    return [min(shares[i], LETTER * longest[i]) if i in broken else None
            for i in range(len(longest))]  # fmt: skip


def _table(sheet: Sheet, rows: Sequence[Row], title: str, notes: str) -> Iterator[str]:
    kinds = _kinds(sheet)
    columns = "".join(
        "r" if c.right else _broken(width) if width else "l"
        for c, width in zip(sheet.columns, kinds, strict=True)
    )
    yield "\\begin{table*}[t]"
    yield f"\\centering\\footnotesize\\setlength{{\\tabcolsep}}{{{SEPARATION:g}pt}}"
    yield f"\\caption{{{title}}}"
    yield f"\\begin{{tabular}}{{{columns}}}"
    yield "\\toprule"
    yield from _heads(sheet)
    yield "\\midrule"
    for i, row in enumerate(rows):
        if i and row.kind == "floor" and rows[i - 1].kind != "floor":
            yield "\\midrule"
        elif i and row.first and sheet.grouped:
            yield "\\addlinespace"
        yield " & ".join(_cell(cell) for cell in sheet.shown(row)) + r" \\"
    yield from ("\\bottomrule", "\\end{tabular}")
    if notes:
        yield f"\\par\\smallskip\\parbox{{\\textwidth}}{{\\footnotesize {notes}}}"
    yield from ("\\end{table*}", "")


def _broken(width: float) -> str:
    """A column that breaks its lines, set apart from the next."""
    apart = 3 * SEPARATION
    inner = width - apart
    return rf">{{\raggedright\arraybackslash}}p{{{inner:.0f}pt}}@{{\hspace{{{apart:g}pt}}}}"


def _heads(sheet: Sheet) -> Iterator[str]:
    """One line of headings, and one above it for those that share one."""
    if any(c.group for c in sheet.columns):
        cells, rules, first = [], [], 1
        for group, found in groupby(sheet.columns, key=lambda c: c.group):
            count = len(list(found))
            cells.append(f"\\multicolumn{{{count}}}{{c}}{{{tex(group)}}}")
            if group:
                rules.append(f"\\cmidrule(lr){{{first}-{first + count - 1}}}")
            first += count
        yield " & ".join(cells) + r" \\"
        yield "".join(rules)
    yield " & ".join(tex(c.short or c.head) for c in sheet.columns) + r" \\"


def _cell(cell: Cell) -> str:
    shown = _HALF.sub(r"{\\scriptsize\\,$\\pm$\1}", tex(cell.text).replace(r" $\pm$", " ±"))
    if cell.bold and cell.text:
        return f"\\textbf{{{shown}}}"
    return f"\\textcolor{{gray}}{{{shown}}}" if cell.quiet and cell.text else shown
