"""A table as data: what its cells show, and the numbers behind them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    text: str
    bold: bool = False
    quiet: bool = False  # set in grey where there is grey
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
    group: str = ""  # LaTeX: set above the columns that share it
    short: str = ""  # instead of `head` where it is narrow: in LaTeX, and in text where ungrouped

    @property
    def name(self) -> str:
        """What text has above the column, which has no groups."""
        return self.short if self.short and not self.group else self.head


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

    @property
    def grouped(self) -> bool:
        """Whether rows have several lines."""
        return any(not row.first for row in self.rows)

    def width(self, i: int) -> int:
        """Letters of a column's longest cell, its head among them."""
        return max(len(x) for x in (self.columns[i].name, *(r.cells[i].text for r in self.rows)))
