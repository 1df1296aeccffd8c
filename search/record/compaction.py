"""Many small objects put into few: what segments of the log and epochs of trials have in common.

What is packed never changes, and a pack is written before what it holds is deleted: so nothing is
lost wherever that is interrupted, and a reader finds everything in one place or in the other.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from trainables.storage.sealed_json import DamagedRecord, unseal
from trainables.storage.store import Store


class Moved(DamagedRecord):
    """Something is missing that a writer may have packed away while it was looked for.

    A reader looks again; what is still missing then has been lost.
    """

    @classmethod
    def of(cls, what: str) -> "Moved":
        """Return the error for an object, or for what else is told to be missing."""
        return cls(f"{what} is missing; restore it from a copy")


class Piece(NamedTuple):
    """One object, with all that is in it: the numbers ``first`` to ``last`` (inclusive)."""

    path: str
    generation: int
    """The owner that wrote it."""
    first: int
    last: int


def open_piece(store: Store, kind: str, path: str) -> dict[str, Any]:
    """Return what a piece holds; `Moved` if it is not there any more."""
    try:
        return unseal(kind, store.get(path), path)
    except FileNotFoundError:
        raise Moved.of(path) from None


def delete_packed(store: Store, pieces: Iterable[Piece], by: int, pack: str = "") -> list[str]:
    """Delete the pieces of a pack that has been written, and return their names.

    Also safe if this process, of the generation ``by``, has been succeeded and does not know it
    yet: nothing of a newer owner is deleted. The pack itself may be among the pieces.
    """
    paths = [one.path for one in pieces if one.generation <= by and one.path != pack]
    for path in paths:
        store.delete(path)
    return paths
