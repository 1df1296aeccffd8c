"""The errors of this project that a caller may handle; both packages raise them."""

from collections.abc import Sequence


class SearchError(Exception):
    """Root of every error that this project raises on purpose."""


class InputError(SearchError, ValueError):
    """What the caller gave is wrong: a file, a field, a label, a range.

    The message names the place, shows what was received and says what would be right.
    The commands end with exit status 2 on it.
    """

    @classmethod
    def of(cls, problems: Sequence[str], *, where: str = "") -> "InputError":
        """Return the problems found in one place as one error; see `joined`."""
        return cls(joined(problems, where=where))


def joined(problems: Sequence[str], *, where: str = "", most: int | None = None) -> str:
    """Return problems as one message: a single one as it is, several one per line.

    Each is complete in itself; ``where`` is what all of them concern, and of more than ``most``
    the rest is only counted.
    """
    prefix = f"{where}: " if where else ""
    if len(problems) == 1:
        return f"{prefix}{problems[0]}"
    told = list(problems[:most])
    if len(told) < len(problems):
        told.append(f"and {len(problems) - len(told)} more")
    return f"{prefix}{len(problems)} problems" + "".join(f"\n  - {line}" for line in told)


class StorageError(SearchError):
    """The study's storage refused or garbled something."""


class StorageFull(StorageError):
    """The study's storage has no room left; nothing acknowledged is lost."""


class OversizedObject(StorageError):
    """An object is longer than what was written can be; it has not been read."""


class UnfitNode(SearchError):
    """A node cannot train any trial of the study; the message names it and what is wrong."""
