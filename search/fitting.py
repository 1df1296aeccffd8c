"""Lets Ray train what a conductor hands out, and closes its record if a signal comes."""

from collections.abc import Callable, Mapping
from typing import Any

from search.conductor import Conductor
from search.decisions import Cause, Closed
from search.errors import ClusterLost, NoRoom
from search.log import StudyLog
from search.place import Place
from search.signals import Flag
from search.usage import Usage, recorded
from trainables.store import Store

OWN_ENDS: Mapping[str, Cause] = {"recycled": "recycled", "left": "preempted"}
"""Folders where actors say that they ended themselves, and what the log calls it."""


def train_all(
    conductor: Conductor,
    *,
    log: StudyLog,
    store: Store,
    name: str,
    settings: Mapping[str, Any],
    place: Place,
    flag: Flag,
    changed: Callable[[], None],
    last: Callable[[Any], None] = lambda process: None,
) -> None:
    """Train what the conductor hands out, until it has finished.

    Args:
        conductor: Hands out and decides.
        log: Its record, which is closed if a signal comes.
        store: The folder of that record.
        name: Of this run alone, on the whole Ray.
        settings: What all trials share; see `run_settings`.
        place: Where they run.
        flag: Says whether a signal has come.
        changed: Called when something was handed out or came in.
        last: Called with the process of the last trial, a `MultiHeadTrainable` that is still warm.

    Raises:
        KeyboardInterrupt: If a signal ended it.
        StudyLocked: If another process has taken over.
        ClusterLost: If Ray has gone away.
        NoRoom: If no trial found a place in the time that the study waits.
    """
    try:
        with flag.patiently():
            if not conductor.is_finished:
                from search.tuning import fit

                usage = Usage(place.shares.concurrent)
                with recorded(usage, store, log.generation):
                    fit(
                        conductor,
                        name=name,
                        settings=settings,
                        place=place,
                        is_interrupted=lambda: flag.look() or conductor.is_over() or log.is_lost,
                        changed=changed,
                        usage=usage,
                        last=last,
                    )
        conductor.tidy_up()
        if flag.is_set or not conductor.is_finished:
            raise KeyboardInterrupt
    except (KeyboardInterrupt, ClusterLost, NoRoom):
        log.record(Closed(reason="interrupted"))
        raise


def own_ends(store: Store, generation: int) -> Callable[[int, int], Cause | None]:
    """Return what tells why the actor of (number, attempt) ended itself; None if it did not.

    Args:
        store: The study's folder, where actors say so (``trainables.trainable``).
        generation: The owner that started the attempts.
    """

    def why(number: int, attempt: int) -> Cause | None:
        name = f"{generation:06d}-{number:06d}-{attempt:03d}"
        found = (cause for folder, cause in OWN_ENDS.items() if store.exists(f"{folder}/{name}"))
        return next(found, None)

    return why
