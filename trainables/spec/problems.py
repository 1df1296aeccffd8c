"""Problems with what was given: where each stands, what was received, what was meant."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from trainables.errors import InputError, joined
from trainables.storage.uri_keys import without_keys_in

Path = tuple[str | int, ...]
"""The keys that lead to a value, from the top of a study: ``("start_with", 0, "l2")``."""

MOST_SHOWN = 20
"""Problems of one error that are told; the rest is counted."""
MOST_ROWS = 5
"""Rows of a data set with the same problem that are told."""
LONGEST_SHOWN = 200
"""Characters of a received value that are told."""
LONGEST_MATCHED = 64
"""Characters of a key for which a similar one is looked for."""

_PREDICATES = ("needs ", "shapes ")
_SHORT_FOR = {"lr": "learning_rate", "bs": "batch_size", "weight_decay": "l2"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    path: Path
    """Where it stands; empty: the study as a whole."""

    message: str
    """``<path> needs <rule>, got <received>``."""


def problem(path: Path, text: str) -> Problem:
    """Return a problem whose message begins with its path, or goes on after it.

    Example:
        >>> problem(("start_with", 1, "l2"), "needs numbers >= 0, got -1").message
        'start_with[1].l2 needs numbers >= 0, got -1'
        >>> problem(("space", "l2"), "float needs low <= high, got low=2, high=1").message
        'space.l2: float needs low <= high, got low=2, high=1'
    """
    text = without_keys_in(text)
    separator = " " if text.startswith(_PREDICATES) else ": "
    return Problem(path, f"{dotted(path)}{separator}{text}")


class PlacedError(InputError):
    """Problems, each with the path of the key that it concerns."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(joined([one.message for one in self.problems], most=MOST_SHOWN))

    def __reduce__(self) -> tuple[type["PlacedError"], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class Problems:
    """Collects what is wrong, to be told all at once.

    ``where`` names what all of it concerns, where nothing has a path; ``place`` a row of it.
    """

    def __init__(self, where: str = "", place: Callable[[int], str] = str) -> None:
        self._where = where
        self._place = place
        self._found: list[Problem] = []

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def add(self, path: Path, text: str) -> None:
        """Note a problem."""
        self._found.append(problem(path, text))

    def note(self, message: str) -> None:
        """Note a problem that has no path: the message is complete in itself."""
        self._found.append(Problem((), message))

    def note_rows(self, rule: str, rows: Any, received: Callable[[int], str]) -> None:
        """Note one problem of several rows of a data set: the first few, and how many.

        ``rows`` is ``(rows,)``, counted from 0; nothing is noted of none.
        """
        if len(rows):
            told = "; ".join(
                f"{received(r)} in {self._place(r)}" for r in map(int, rows[:MOST_ROWS])
            )
            more = f"; {len(rows)} such rows in all" if len(rows) > MOST_ROWS else ""
            self.note(f"{rule}, got {told}{more} (rows count from 0)")

    def extend(self, problems: Iterable[Problem]) -> None:
        """Note several."""
        self._found.extend(problems)

    @contextmanager
    def at(self, *path: str | int) -> Iterator[None]:
        """Note the `InputError` that the block raises; its own paths, if it has any, hold."""
        try:
            yield
        except PlacedError as error:
            self._found.extend(error.problems)
        except InputError as error:
            self.add(path, str(error))

    def is_at(self, *names: str) -> bool:
        """Tell whether one of these top-level keys, or the study as a whole, has a problem."""
        return any(not found.path or found.path[0] in names for found in self._found)

    def refuse_any(self) -> None:
        """Raise an `InputError` if there is any problem, a `PlacedError` without ``where``."""
        if self._found and self._where:
            raise InputError.of([one.message for one in self._found], where=self._where)
        if self._found:
            raise PlacedError(self._found)


def dotted(path: Path) -> str:
    """Return a path as it is written in messages.

    Example:
        >>> dotted(("start_with", 0, "l2")), dotted(("space", "a b")), dotted(())
        ('start_with[0].l2', "space.'a b'", 'study')
    """
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += f".{key}" if key.isidentifier() and len(key) < 100 else f".{shown(key)}"
    return text.removeprefix(".") or "study"


def shown(value: object) -> str:
    """Return a received value as text of bounded length, whatever it is."""
    if isinstance(value, int) and abs(value) >= 2**63:
        return f"a whole number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__} too large to show"
    text = without_keys_in(text)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def unknown_keys(given: Iterable[object], known: Iterable[str], *, at: Path = ()) -> list[Problem]:
    """Return a problem for each key, of a mapping that stands at a path, that is not known.

    Example:
        >>> unknown_keys(["trails"], ["trials", "epochs"], at=("budget",))[0].message
        "budget has no key 'trails'; did you mean 'trials'? Known are ['epochs', 'trials']"
    """
    known = sorted(known)
    unknown = [key for key in given if key not in known]
    # Of those that are only counted nobody needs the hint, which takes long to find.
    hints = [hint(key, known) for key in unknown[:MOST_SHOWN]]
    return [
        Problem((*at, str(key)), f"{dotted(at)} has no key {shown(key)}; {said}")
        for key, said in zip_longest(unknown, hints, fillvalue="")
    ]


def hint(key: object, known: Iterable[str]) -> str:
    """Return what was probably meant by a key, and what could be."""
    known = list(known)
    folded = {name.casefold(): name for name in known}
    text = str(key)[: LONGEST_MATCHED + 1].casefold()
    if _SHORT_FOR.get(text) in known:
        close = [_SHORT_FOR[text]]
    elif len(text) <= LONGEST_MATCHED:
        close = difflib.get_close_matches(text, folded, n=1)
    else:
        close = []
    if not close:
        return f"known are {known}"
    return f"did you mean {folded[close[0]]!r}? Known are {known}"


def check_mapping(value: object, path: Path, such_as: str) -> Mapping[object, object]:
    """Return the value if it is a mapping; raise a `PlacedError` if not."""
    if not isinstance(value, Mapping):
        raise refused(path, f"needs a mapping such as {such_as}, got {shown(value)}")
    return value


def refused(path: Path, text: str) -> PlacedError:
    """Return the error of a single problem."""
    return PlacedError([problem(path, text)])
