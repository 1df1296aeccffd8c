"""How values are put into words: numbers, times, changes, and text that may be hostile."""

import math
import os
import shlex
import unicodedata
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from trainables.storage.uri_keys import without_keys_in

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that a terminal obeys, hides, or cannot encode."""

LONGEST_LINE = 300
"""Characters of a `repr`."""
LARGEST_CHANGE = 10.0
"""A loss that many times the reference's, or more, is told as a factor."""


def clean(text: object, *, keep_lines: bool = False) -> str:
    r"""Return text that no terminal takes for a command: what is not printable is escaped.

    Names, labels, reasons and paths may come from strangers' data. A key or a password in a URI
    is left out; ``keep_lines`` lets line feeds stay.

    Example:
        >>> clean("a\x1b[2Jb"), clean("x\ny"), clean("Größe")
        ('a\\x1b[2Jb', 'x\\ny', 'Größe')
    """
    return "".join(
        letter
        if unicodedata.category(letter) not in _HIDDEN or (keep_lines and letter == "\n")
        else letter.encode("unicode_escape").decode("ascii")
        for letter in without_keys_in(str(text))
    )


def one_line(value: object, describe: Callable[[], str]) -> str:
    """Return the `repr` of a value: its type and its words, in one line of bounded length.

    Whatever the value holds, this raises nothing: a debugger and a notebook call it, too.
    ``describe`` returns the words.
    """
    try:
        words = clean(describe())
    except Exception as error:
        words = f"({type(error).__name__})"
    cut = f"{words[:LONGEST_LINE]}..." if len(words) > LONGEST_LINE else words
    return f"<{type(value).__name__} {cut}>"


def number(value: float | None) -> str:
    """Return a number with four significant digits, whole ones in full; ``-`` for None."""
    if value is None:
        return "-"
    if isinstance(value, int) or (abs(value) < 1e9 and float(value).is_integer()):
        return str(int(value))
    return f"{value:.4g}"


def value(given: Any) -> str:
    """Return a parameter's value as it is written in YAML, numbers as `number` does."""
    if isinstance(given, bool):
        return str(given).lower()
    return number(given) if isinstance(given, int | float) else clean(given)


def change(loss: float, reference: float) -> str:
    """Return by how much a loss differs from the reference's: ``-38 %``, ``±0 %``, ``60 times``.

    Empty where that means nothing.
    """
    if not (math.isfinite(loss) and math.isfinite(reference)) or reference <= 0:
        return ""
    ratio = loss / reference
    if ratio >= LARGEST_CHANGE:
        return f"{ratio:.3g} times"
    percent = round(100 * (ratio - 1))
    return f"{percent:+d} %" if percent else "±0 %"


def duration(seconds: float) -> str:
    """Return a time as a person says it: ``8 s``, ``1 min 40 s``, ``2 h 05 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def count(num: int, noun: str) -> str:
    """Return a number with its noun: ``1 epoch``, ``9 epochs``."""
    return f"{num} {noun}" if num == 1 else f"{num} {noun}s"


def our_version() -> str:
    """Return the version of this program."""
    try:
        return version("twohead-search")
    except PackageNotFoundError:
        return "not installed"


def short_path(path: str) -> str:
    """Return a path relative to the working folder if it lies below, cleaned for showing."""
    try:
        here = os.getcwd().rstrip("/") + "/"
    except FileNotFoundError:  # it was deleted
        return clean(path)
    return clean(path.removeprefix(here) if path.startswith(here) else path)


def quoted(path: str) -> str:
    """Return a path as it is typed into a shell, short and with quotes where it needs them."""
    return shlex.quote(short_path(path))


def gibibytes(size: float) -> str:
    """Return a size for people: ``300 MiB``, ``5.0 GiB``, ``12 GiB``."""
    if size < 2**30:
        return f"{size / 2**20:.0f} MiB"
    figure = size / 2**30
    return f"{figure:.1f} GiB" if figure < 10 else f"{figure:.0f} GiB"
