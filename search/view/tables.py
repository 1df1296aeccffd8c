"""The one style of what is printed: lines, labelled lines, and tables short and long."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group
from rich.table import Column as TableColumn
from rich.table import Table
from rich.text import Text

from search.text import change, clean, value

GAP = 2
"""Columns of the terminal between those of a table."""
LABEL_WIDTH = 9
"""Columns of what stands before a line."""

STATE_STYLES: Mapping[str, str] = {
    "complete": "green",
    "finished": "green",
    "running": "cyan",
    "stopped": "yellow",
    "interrupted": "magenta",
    "failed": "red",
    "unreadable": "red",
}
"""Of trials and of studies."""

Cell = str | Text


def say(console: Console, line: str = "", style: str = "") -> None:
    """Print one line that is never broken, so that it can be copied."""
    console.print(Text(clean(line), style=style), soft_wrap=True)


def say_labelled(console: Console, label: str, *lines: str) -> None:
    """Print lines behind a label, broken where they are long; nothing where all are empty."""
    for line in filter(None, lines):
        table = Table.grid(padding=0)
        table.add_column(width=LABEL_WIDTH, no_wrap=True, style="dim")
        table.add_column(overflow="fold")
        add_row(table, label, line)
        console.print(table)
        label = ""


def new_table(*columns: TableColumn) -> Table:
    """Return an empty table of a few rows; its columns come from the functions below."""
    return Table(*columns, box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="dim")


def text_column(heading: str, **options: Any) -> TableColumn:
    """Return a column of words, in several lines where the terminal is narrow."""
    return TableColumn(_heading(heading), overflow="fold", **options)


def mark_column(heading: str) -> TableColumn:
    """Return a column of words that are never broken."""
    return TableColumn(_heading(heading), no_wrap=True)


def figure_column(heading: str, **options: Any) -> TableColumn:
    """Return a column of numbers."""
    return TableColumn(_heading(heading), justify="right", no_wrap=True, **options)


def add_row(table: Table, *cells: Cell, style: str = "") -> None:
    """Add a row; text without a style of its own is cleaned here."""
    table.add_row(*(_cell(cell) for cell in cells), style=style)


def change_cell(loss: float, reference: float | None) -> Text:
    """Return by how much a loss differs from the reference's; empty where there is none."""
    words = "" if reference is None else change(loss, reference)
    return Text(words, style="green" if words.startswith("-") else "red")


def config_table(
    heading: str, names: Iterable[str], configs: Sequence[tuple[str, Mapping[str, Any], str]]
) -> Table:
    """Return a row per parameter and a column per config, each with its heading and style."""
    titles = (text_column(title, justify="right") for title, _, _ in configs)
    table = new_table(text_column(heading), *titles)
    for name in names:
        values = [Text(value(given.get(name, "-")), style=style) for _, given, style in configs]
        add_row(table, name, *values)
    return table


@dataclass(frozen=True, slots=True)
class LongColumn:
    """A column of a table of perhaps thousands of rows."""

    heading: str
    """Of several lines perhaps."""
    cells: Sequence[str]
    _: KW_ONLY
    styles: Sequence[str] = ()
    """Of the cells; none: all are plain."""
    is_text: bool = False
    """Whether it begins at the left."""

    @property
    def width(self) -> int:
        """The cells of the terminal that it takes."""
        return max(map(cell_len, [*self.heading.split("\n"), *self.cells]))

    def aligned(self, cells: Sequence[str]) -> list[str]:
        """Return cells of this width."""
        width = self.width
        padded = ((cell, " " * (width - cell_len(cell))) for cell in cells)
        return [cell + blanks if self.is_text else blanks + cell for cell, blanks in padded]


def fit(first: int, columns: Sequence[LongColumn], width: int) -> list[list[LongColumn]]:
    """Deal columns out to tables of at most ``width``, each beside a column of ``first``."""
    groups: list[list[LongColumn]] = []
    used = width
    for column in columns:
        if not groups or used + GAP + column.width > width:
            groups.append([])
            used = first
        groups[-1].append(column)
        used += GAP + column.width
    return groups


def side_by_side(columns: Sequence[LongColumn], gap: int = GAP) -> Group:
    """Return columns side by side, cut where the terminal ends.

    Line by line: for a row of its own tables rich takes a millisecond.
    """
    headings = [column.heading.split("\n") for column in columns]
    height = max(map(len, headings))
    above = [[""] * (height - len(lines)) + lines for lines in headings]
    styles = [(at, column.styles) for at, column in enumerate(columns) if column.styles]
    lines = [_line(cells, gap, "dim") for cells in _rows(columns, above)]
    for row, cells in enumerate(_rows(columns, [column.cells for column in columns])):
        line = _line(cells, gap)
        for at, found in styles:
            start = sum(map(len, cells[:at])) + at * gap
            line.stylize(found[row], start, start + len(cells[at]))
        lines.append(line)
    return Group(*lines)


def _rows(
    columns: Sequence[LongColumn], cells: Sequence[Sequence[str]]
) -> Iterable[tuple[str, ...]]:
    return zip(*(c.aligned(own) for c, own in zip(columns, cells, strict=True)), strict=True)


def _line(cells: Sequence[str], gap: int, style: str = "") -> Text:
    line = (" " * gap).join(cells).rstrip()
    return Text(line, style=style, no_wrap=True, overflow="ellipsis")


def _heading(heading: str) -> Text:
    return Text(clean(heading, keep_lines=True))


def _cell(cell: Cell) -> Text:
    return Text(clean(cell)) if isinstance(cell, str) else cell
