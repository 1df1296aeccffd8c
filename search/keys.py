"""Unknown keys, with what was probably meant."""

import difflib
from collections.abc import Iterable


def unknown_keys(given: Iterable[object], known: Iterable[str], *, where: str = "") -> list[str]:
    """Return a problem for each key that is not known.

    Args:
        given: The keys that were given.
        known: Those that could be.
        where: The path of the mapping they stand in; empty at the top.

    Example:
        >>> unknown_keys(["trails"], ["trials", "epochs"], where="budget")
        ["budget has no key 'trails'; did you mean 'trials'? Known are ['epochs', 'trials']"]
    """
    known = list(known)
    return [
        f"{where or 'study'} has no key {key!r}; {_hint(str(key), known)}Known are {sorted(known)}"
        for key in given
        if key not in known
    ]


def _hint(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]!r}? " if close else ""
