"""Collects what is wrong with a data set, so that all of it is told at once."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.errors import InputError

SHOWN_ROWS = 5
SHOWN_CHARACTERS = 120


def shown(value: Any) -> str:
    """Return a received value for a message: plain, on one line, not too long."""
    text = repr(value)
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[:SHOWN_CHARACTERS]}... ({len(text)} characters)"


class Problems:
    """Messages in the order found; ``place`` turns a row of the whole set into words."""

    def __init__(self, where: str, place: Callable[[int], str]) -> None:
        self._where = where
        self._place = place
        self._messages: list[str] = []

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, message: str) -> None:
        """Note a problem that concerns no single row."""
        self._messages.append(message)

    def add_rows(self, rule: str, rows: NDArray[np.intp], received: Callable[[int], str]) -> None:
        """Note one problem of several rows: the first few with what they hold, and how many.

        Args:
            rule: Who needs what, without a full stop.
            rows: Rows of the whole set, counted from 0; nothing is noted if there are none.
            received: Words for what stands in a row.
        """
        if not len(rows):
            return
        first = "; ".join(
            f"{received(int(r))} in {self._place(int(r))}" for r in rows[:SHOWN_ROWS]
        )
        more = f"; {len(rows)} such rows in all" if len(rows) > SHOWN_ROWS else ""
        self._messages.append(f"{rule}, got {first}{more} (rows count from 0)")

    def raise_if_any(self) -> None:
        """Raise one ``InputError`` of all that was noted, if anything was."""
        if self._messages:
            raise InputError.of(self._messages, where=f"data {self._where!r}")
