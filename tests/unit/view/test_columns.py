"""Tables of many rows, line by line."""

from io import StringIO

from rich.console import Console

from search.view.tables import LongColumn, side_by_side

STATES = LongColumn(
    heading="state", cells=["complete", "failed"], styles=["green", "red"], is_text=True
)
UNITS = LongColumn("c_\nunits", cells=["8", "1024"])


def printed(columns, width=40, *, colours=False):
    system = "standard" if colours else None
    console = Console(file=StringIO(), width=width, force_terminal=colours, color_system=system)
    console.print(side_by_side(columns))
    return console.file.getvalue().splitlines()


def test_columns_are_as_wide_as_what_is_in_them_and_begin_below_their_headings():
    assert printed([STATES, UNITS]) == [
        "             c_",
        "state     units",
        "complete      8",
        "failed     1024",
    ]


def test_only_what_has_a_style_is_coloured():
    lines = printed([UNITS, STATES], colours=True)

    assert lines[2:] == ["    8  \x1b[32mcomplete\x1b[0m", " 1024  \x1b[31mfailed\x1b[0m"]


def test_letters_that_take_two_cells_are_counted_as_two():
    names = LongColumn("node", cells=["火星", "pc"], is_text=True)

    assert printed([names, UNITS])[2:] == ["火星      8", "pc     1024"]


def test_a_line_ends_with_its_terminal():
    assert printed([STATES, UNITS], 12)[2:] == ["complete   …", "failed     …"]
