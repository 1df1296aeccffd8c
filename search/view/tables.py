"""Tables of many rows on a terminal, as wide as what is in them."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Group
from rich.text import Text

GAP = 2
"""Columns of the terminal between those of a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table of trials."""

    heading: str
    """Of several lines perhaps."""
    cells: list[str]
    styles: list[str] | None = None
    """Of the cells."""
    is_text: bool = False
    """Whether it begins at the left."""

    @property
    def width(self) -> int:
        """The cells of the terminal that it takes."""
        return max(map(cell_len, [*self.heading.split("\n"), *self.cells]))


def fit(first: int, columns: Sequence[Column], width: int) -> list[list[Column]]:
    """Deal columns out to tables of at most ``width``, each beside a column of ``first``."""
    groups: list[list[Column]] = []
    used = width
    for column in columns:
        if not groups or used + GAP + column.width > width:
            groups.append([])
            used = first
        groups[-1].append(column)
        used += GAP + column.width
    return groups


def side_by_side(columns: Sequence[Column], gap: int = GAP) -> Group:
    """Return columns side by side; each line is cut where the terminal ends.

    Line by line: for a row of its own tables rich takes a millisecond.
    """
    headings = [column.heading.split("\n") for column in columns]
    height = max(map(len, headings))
    above = [[""] * (height - len(lines)) + lines for lines in headings]
    rows = zip(*map(_aligned, columns, [column.cells for column in columns]), strict=True)
    styles = [(at, column.styles) for at, column in enumerate(columns) if column.styles]
    lines = []
    for cells in zip(*map(_aligned, columns, above), strict=True):
        lines.append(_line((" " * gap).join(cells), "dim"))
    for row, cells in enumerate(rows):
        line = _line((" " * gap).join(cells))
        for at, found in styles:
            start = sum(map(len, cells[:at])) + at * gap
            line.stylize(found[row], start, start + len(cells[at]))
        lines.append(line)
    return Group(*lines)


def _aligned(column: Column, cells: Sequence[str]) -> list[str]:
    width = column.width
    padding = [" " * (width - cell_len(cell)) for cell in cells]
    if column.is_text:
        return [cell + spaces for cell, spaces in zip(cells, padding, strict=True)]
    return [spaces + cell for cell, spaces in zip(cells, padding, strict=True)]


def _line(text: str, style: str = "") -> Text:
    return Text(text.rstrip(), style=style, no_wrap=True, overflow="ellipsis")
