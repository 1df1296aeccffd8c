"""Which of our trials each of Tune's is at: to Tune a trial is a place for one after another."""

import json
from dataclasses import asdict
from typing import Any, final

from search.conductor import Conductor, Finished
from search.place import Place
from trainables.attempt import Envelope


@final
class Slots:
    """Which attempt each of Tune's trials is at.

    To Tune a trial is a place with a process, where one of ours after the other is trained: it
    has so many at the end as ran side by side, and not as many as were tried. All that Tune does
    for a trial that it begins or ends (a placement group, a folder, a search through all that it
    ever had, ray 2.60) is paid once for each place, and again where a process was lost.
    """

    def __init__(self, conductor: Conductor, place: Place) -> None:
        self._conductor = conductor
        self._place = place
        self._flying: dict[str, Envelope] = {}
        self._aside: list[Envelope] = []

    @property
    def num_free(self) -> int:
        """How many more may be under way; negative where nodes have gone."""
        return self._place.room.trials() - len(self._flying)

    def fill(self, trial_id: str) -> dict[str, Any] | Finished | None:
        """Return the request of the next attempt, which a new trial of Tune's is at from now on.

        None if there is none now, Finished if none will be.
        """
        return self._put(trial_id, self._aside.pop() if self._aside else self._conductor.ask())

    def refill(self, trial_id: str) -> dict[str, Any] | Finished | None:
        """Return the request of the next attempt, for a trial of Tune's whose last one has ended.

        One that takes another share of a GPU is kept for a new trial of Tune's.
        """
        found = self._conductor.ask()
        if isinstance(found, Envelope) and found.gpu != self._flying[trial_id].gpu:
            self._aside.append(found)
            return None
        return self._put(trial_id, found)

    def leave(self, trial_id: str) -> tuple[int, int]:
        """Return number and attempt of what a trial of Tune's was at, which it no longer is."""
        left = self._flying.pop(trial_id)
        return left.number, left.attempt

    def _put(
        self, trial_id: str, found: Envelope | Finished | None
    ) -> dict[str, Any] | Finished | None:
        if not isinstance(found, Envelope):
            return found
        self._flying[trial_id] = found
        # As text: Tune resolves and flattens what it finds in a nested config.
        return {
            "number": found.number,
            "attempt": found.attempt,
            "request": json.dumps(asdict(found)),
            **({} if found.gpu is None else {"gpu": found.gpu}),
        }
