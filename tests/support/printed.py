"""What is printed on a console of some width, as text and as lines."""

import io

from rich.console import Console


def text_console(width=120):
    return Console(file=io.StringIO(), width=width, markup=False, emoji=False, highlight=False)


def shown(print_it, *arguments, width=120):
    console = text_console(width)
    print_it(console, *arguments)
    return console.file.getvalue()


def squeezed(text):
    """Return the lines with single blanks."""
    return [" ".join(line.split()) for line in text.splitlines()]
