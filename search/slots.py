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
        self._flying: dict[str, tuple[int, int]] = {}

    @property
    def num_free(self) -> int:
        """How many more may be under way; negative where nodes have gone."""
        return self._place.room.trials() - len(self._flying)

    def fill(self, trial_id: str) -> dict[str, Any] | Finished | None:
        """Return the request of the next attempt, which a trial of Tune's is at from now on.

        None if there is none now, Finished if none will be.
        """
        envelope = self._conductor.ask()
        if not isinstance(envelope, Envelope):
            return envelope
        self._flying[trial_id] = (envelope.number, envelope.attempt)
        # As text: Tune resolves and flattens what it finds in a nested config.
        return {
            "number": envelope.number,
            "attempt": envelope.attempt,
            "request": json.dumps(asdict(envelope)),
        }

    def leave(self, trial_id: str) -> tuple[int, int]:
        """Return number and attempt of what a trial of Tune's was at, which it no longer is."""
        return self._flying.pop(trial_id)
