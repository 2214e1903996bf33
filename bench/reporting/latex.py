"""Tables in LaTeX: 8 pt across both columns of a paper, several tables where one page is too short.

Needs booktabs, amssymb, array and xcolor. Nothing is shrunk: long texts break their lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import groupby, permutations
from textwrap import wrap

from bench.reporting.layout import Cell, Column, Row, Sheet

PAGE, LEAST = 58, 12  # lines of a table that fit on a page, and that are worth one
NOTED = 125  # letters of a line of notes
WIDE = 505  # pt, across both columns
LETTER, CAPITAL = 4.1, 6.2  # pt of a letter at 8 pt on average
SEPARATION = 2.0  # pt beside a column
APART = 3 * SEPARATION  # pt between a column that breaks its lines and the next
LONG = 20  # letters from which a column of text breaks its lines
STEPS = (32, 16, 8, 4)  # pt by which widths are tried

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


def _parts(sheet: Sheet, last: int) -> Iterator[list[Row]]:
    """Rows page by page: those that belong together on one page where it can hold them, and on
    the last page no more than `last` lines, which leaves room for the notes."""
    widths = _widths(sheet)
    *whole, rest = _filled(_groups(sheet.rows), PAGE, sheet, widths)
    yield from whole
    groups, front, height = _groups(rest), [], _height(rest, sheet, widths)
    while len(groups) > 1 and height > last:
        height -= _height(groups[0], sheet, widths)
        front += groups.pop(0)
    if front:
        yield front
    yield from _filled(groups, last, sheet, widths)


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Each first line with those that follow it."""
    groups: list[list[Row]] = []
    for row in rows:
        if row.first or not groups:
            groups.append([])
        groups[-1].append(row)
    return groups


def _filled(
    groups: Sequence[list[Row]], most: int, sheet: Sheet, widths: Sequence[float | None]
) -> list[list[Row]]:
    """Pages of at most so many lines; what is longer than a page is broken."""
    pages: list[list[Row]] = [[]]
    full = 0.0
    for group in groups:
        fits = _height(group, sheet, widths) <= most
        for piece in [group] if fits else [[row] for row in group]:
            height = _height(piece, sheet, widths)
            if pages[-1] and full + height > most:
                pages.append([])
                full = 0.0
            pages[-1] += piece
            full += height
    return pages


def _height(rows: Sequence[Row], sheet: Sheet, widths: Sequence[float | None]) -> float:
    return sum(_lines(sheet, row, widths) for row in rows)


def _lines(sheet: Sheet, row: Row, widths: Sequence[float | None]) -> float:
    """Lines that a row takes on the page, with the space above it."""
    shown = zip(sheet.shown(row), widths, strict=True)
    wrapped = [_wrapped(cell.text, width) for cell, width in shown if width]
    return max([1, *wrapped]) + (0.5 if row.first else 0.0)


@lru_cache(maxsize=4096)
def _wrapped(text: str, width: float) -> int:
    """Lines of a text in a broken column of so many pt."""
    return len(wrap(text, max(1, int((width - APART) / LETTER))))


def _widths(sheet: Sheet) -> list[float | None]:
    """The width in pt of each column that breaks its lines; None of the others."""
    longest = [sheet.width(i) for i in range(len(sheet.columns))]
    broken = [i for i, c in enumerate(sheet.columns)
              if not (c.right or c.key) and longest[i] > LONG]  # fmt: skip
    fixed = sum(LETTER * n for i, n in enumerate(longest) if i not in broken)
    free = WIDE - fixed - 2 * SEPARATION * len(longest)
    found: list[float | None] = [None] * len(longest)
    for i in broken:
        found[i] = max(_least(sheet, i), free / len(broken))
    found = _shared(sheet, found)
    # A column of short texts needs no more than they are long.
    return [None if w is None else min(w, LETTER * longest[i] + APART) for i, w in enumerate(found)]


def _least(sheet: Sheet, i: int) -> float:
    """pt in which the longest word of a column stays whole."""
    words = (word for row in sheet.rows for word in row.cells[i].text.split())
    return APART + max(
        (sum(CAPITAL if c.isupper() else LETTER for c in w) for w in words), default=0
    )


def _shared(sheet: Sheet, widths: list[float | None]) -> list[float | None]:
    """Width goes from one broken column to another as long as that saves lines."""
    least = {i: _least(sheet, i) for i, width in enumerate(widths) if width}
    best = _height(sheet.rows, sheet, widths)
    for step in (*STEPS, *STEPS):
        for give, take in permutations(least, 2):
            tried = list(widths)
            tried[give], tried[take] = (widths[give] or 0) - step, (widths[take] or 0) + step
            count = _height(sheet.rows, sheet, tried)
            if (tried[give] or 0) >= least[give] and count < best:
                widths, best = tried, count
    return widths


def _table(sheet: Sheet, rows: Sequence[Row], title: str, notes: str) -> Iterator[str]:
    columns = "".join(
        "r" if c.right else _broken(width) if width else "l"
        for c, width in zip(sheet.columns, _widths(sheet), strict=True)
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
    inner = width - APART
    return rf">{{\raggedright\arraybackslash}}p{{{inner:.0f}pt}}@{{\hspace{{{APART:g}pt}}}}"


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
    yield " & ".join(_named(c) for c in sheet.columns) + r" \\"


def _named(column: Column) -> str:
    """The heading of a column; `macro-F1, 14` stands on two lines under its group."""
    first, comma, rest = (column.short or column.head).partition(", ")
    if not (column.group and comma):
        return tex(column.short or column.head)
    return rf"\shortstack[r]{{{tex(first)},\\{tex(rest)}}}"


def _cell(cell: Cell) -> str:
    shown = _HALF.sub(r"{\\scriptsize\\,$\\pm$\1}", tex(cell.text).replace(r" $\pm$", " ±"))
    if cell.bold and cell.text:
        return f"\\textbf{{{shown}}}"
    return f"\\textcolor{{gray}}{{{shown}}}" if cell.quiet and cell.text else shown
