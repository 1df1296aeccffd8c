"""Problems with what was given: where each stands, what was received, what was meant."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest

from search.errors import InputError
from trainables.storage.uri_keys import without_keys_in

Path = tuple[str | int, ...]
"""The keys that lead to a value, from the top of a study: ``("start_with", 0, "l2")``."""

MOST_SHOWN = 20
"""Problems of one error that are told; the rest is counted."""
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
    """Return a problem whose message begins with its path.

    Args:
        path: Where it stands.
        text: What goes on after the path, or a message with a subject of its own.

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
        super().__init__(joined([found.message for found in self.problems]))

    def __reduce__(self) -> tuple[type["PlacedError"], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class Problems:
    """Collects what is wrong, to be told all at once."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)

    def add(self, path: Path, text: str) -> None:
        """Note a problem."""
        self._found.append(problem(path, text))

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
        """Raise a `PlacedError` if there is any problem."""
        if self._found:
            raise PlacedError(self._found)


def joined(problems: Sequence[str], *, where: str = "") -> str:
    """Return problems as one message: a single one as it is, several one per line.

    Args:
        problems: At least one, each complete in itself.
        where: What all of them concern, if there is such a thing.
    """
    prefix = f"{where}: " if where else ""
    if len(problems) == 1:
        return f"{prefix}{problems[0]}"
    told = list(problems[:MOST_SHOWN])
    if len(problems) > MOST_SHOWN:
        told.append(f"and {len(problems) - MOST_SHOWN} more")
    return f"{prefix}{len(problems)} problems" + "".join(f"\n  - {line}" for line in told)


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
    """Return a problem for each key that is not known.

    Args:
        given: The keys that were given.
        known: Those that could be.
        at: The path of the mapping they stand in; empty at the top.

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
        close = [_SHORT_FOR[text].casefold()]
    else:
        close = (
            difflib.get_close_matches(text, folded, n=1) if len(text) <= LONGEST_MATCHED else []
        )
    if not close:
        return f"known are {known}"
    return f"did you mean {folded[close[0]]!r}? Known are {known}"


def check_mapping(value: object, path: Path, such_as: str) -> Mapping[object, object]:
    """Return the value if it is a mapping.

    Raises:
        PlacedError: If it is not.
    """
    if not isinstance(value, Mapping):
        raise refused(path, f"needs a mapping such as {such_as}, got {shown(value)}")
    return value


def refused(path: Path, text: str) -> PlacedError:
    """Return the error of a single problem."""
    return PlacedError([problem(path, text)])
