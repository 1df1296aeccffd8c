"""What the check of a data set has to tell: problems, bad rows that may be left out, warnings."""

from collections.abc import Callable
from typing import Any

from trainables.data.request import DataRequest
from trainables.spec.problems import MOST_ROWS, Problems


class DataProblems(Problems):
    """Collects what is wrong or odd about a data set, to be told all at once.

    A bad row is a problem, unless the request says to leave such rows out; then they are
    collected. A warning is about what is legal but suspicious; where the request is strict, it is
    a problem. A note says what the set is.
    """

    def __init__(self, request: DataRequest, place: Callable[[int], str]) -> None:
        super().__init__(f"data {request.uri!r}", place)
        self.place = place
        self.request = request
        self.bad_rows: dict[int, str] = {}
        """By row: why it is left out."""
        self.warnings: list[str] = []
        self.notes: list[str] = []

    def copy(self) -> "DataProblems":
        """Return one of its own with what has been noted so far."""
        other = DataProblems(self.request, self.place)
        other.extend(self)
        other.bad_rows |= self.bad_rows
        other.warnings += self.warnings
        other.notes += self.notes
        return other

    def note_rows(self, rule: str, rows: Any, received: Callable[[int], str]) -> None:
        """Note one problem of several rows ``(rows,)``, or have them left out."""
        if not self.request.skips_bad_rows:
            super().note_rows(rule, rows, received)
            return
        for row in map(int, rows):
            self.bad_rows.setdefault(row, f"{rule}, got {received(row)}")

    def stop(self, rows: Any) -> bool:
        """Tell whether bad rows ``(rows,)`` keep a column from being read on."""
        return bool(len(rows)) and not self.request.skips_bad_rows

    def warn(self, text: str, *, is_problem: bool = False) -> None:
        """Note what is suspicious; a problem if it is as bad as that, or the request is strict."""
        if is_problem or self.request.is_strict:
            self.note(text)
        else:
            self.warnings.append(text)

    def tell_bad_rows(self) -> None:
        """Say which rows are left out; refuse to leave out all of them."""
        if self.bad_rows:
            rows = sorted(self.bad_rows)
            told = "; ".join(
                f"{self.place(row)}: {self.bad_rows[row]}" for row in rows[:MOST_ROWS]
            )
            more = "; ..." if len(rows) > MOST_ROWS else ""
            self.notes.append(f"{len(rows)} bad rows are left out: {told}{more}")
