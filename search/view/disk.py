"""What is printed of the room that a study's checkpoints take, and of what was freed of it."""

from collections.abc import Iterator

from rich.console import Console

from search.errors import StorageError
from search.results.kept import DiskUse, States, disk_use
from search.results.result import StudyResult
from search.text import count, gibibytes
from search.view.tables import say

LEAST_BYTES = 2**20
"""Less is not worth a line."""


def disk_lines(result: StudyResult) -> Iterator[str]:
    """Yield a line of what a study's checkpoints take, and of what can be freed."""
    try:
        used = disk_use(result)
    except StorageError as error:  # all else of the study was read, and is worth showing
        yield f"disk     not known: {error}"
        return
    if used.num_bytes < LEAST_BYTES:
        return
    yield f"disk     {gibibytes(used.num_bytes)} in checkpoints{_free_words(used)}"


def print_clean(console: Console, before: DiskUse, *, stopped: bool, is_done: bool) -> None:
    """Print what cleaning has freed, or would, and what is left."""
    parts = [("complete", before.complete), *([("stopped", before.stopped)] if stopped else [])]
    gone = [(name, states) for name, states in parts if states.numbers]
    freed = sum(states.num_bytes for _, states in gone)
    verb = "freed" if is_done else "would free"
    say(console, f"{verb} {gibibytes(freed)} of {gibibytes(before.num_bytes)} in checkpoints")
    for name, states in gone:
        say(console, f"  {_numbers(states)}, {name}: {gibibytes(states.num_bytes)}")
    if gone:
        say(console, "their weights stay; to go on, they are trained again from the first epoch")
    if before.stopped.numbers and not stopped:
        what = f"{gibibytes(before.stopped.num_bytes)} of {_numbers(before.stopped)}, stopped"
        say(console, f"kept: {what}, which more trials may take up again (`--stopped` frees it)")


def _free_words(used: DiskUse) -> str:
    parts = [("complete", used.complete), ("stopped", used.stopped)]
    kept = [
        f"{gibibytes(states.num_bytes)} for {count(len(states.numbers), f'{name} trial')}"
        for name, states in parts
        if states.numbers
    ]
    return f", of it to go on from {' and '.join(kept)} (`twohead clean`)" if kept else ""


def _numbers(states: States) -> str:
    named = ", ".join(map(str, states.numbers))
    return f"trial {named}" if len(states.numbers) == 1 else f"trials {named}"
