"""Ray Tune as a pool of warm actors: thin adapters around the conductor, which decides."""

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any, TypeVar, final

import ray
from ray.tune import Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from search.cluster.room import Place
from search.errors import ClusterLost
from search.results.usage import Usage
from search.running.attempts import Loss, Lost, why_lost
from search.running.conductor import Conductor, Finished
from trainables.trial.attempt import Envelope, Step

Answer = TypeVar("Answer")


class Guard:
    """Keeps the first error of our own code, which Tune would turn into text, and stops.

    Inside ``Tuner.fit`` an exception of a searcher, stopper or scheduler leaves as a
    ``TuneError`` that holds a traceback's text only (ray 2.60).
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def call(self, function: Callable[[], Answer], otherwise: Answer) -> Answer:
        """Return what ``function`` returns, or ``otherwise`` once anything has failed."""
        if self.error is not None:
            return otherwise
        try:
            return function()
        except Exception as error:
            self.error = error
            return otherwise


class Abandoned(BaseException):
    """Leaves Tune at once, past all that it does to end in order."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def go_on_or_leave(place: Place) -> None:
    """Do nothing as long as Ray is there.

    Raises:
        Abandoned: If it has gone away: nothing can be ended in order there.
    """
    try:
        place.watch.check()
    except ClusterLost as error:
        raise Abandoned(error) from None


class Unpickled:
    """Is pickled as an empty shell.

    Tune writes its searcher, stopper and scheduler to its scratch folder when it starts and
    ends (ray 2.60, ``tuner.pkl``), where nothing ever reads them; what they refer to, such as
    locks and open files, cannot be pickled.
    """

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing."""
        return {}


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


class NumberSearcher(Unpickled, Searcher):  # type: ignore[misc] # ray is not typed
    """Hands out trial numbers as the conductor says, again if an attempt was lost."""

    def __init__(
        self,
        conductor: Conductor,
        slots: Slots,
        live: "LiveTrials",
        causes: dict[str, Lost],
        guard: Guard,
        changed: Callable[[], None],
        place: Place,
    ) -> None:
        super().__init__(metric="epoch", mode="max")
        self._live = live
        self._place = place
        self._changed = changed
        self._conductor = conductor
        self._slots = slots
        self._causes = causes
        self._guard = guard

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the request of the next attempt, None for not now, or FINISHED.

        Raises:
            Abandoned: If Ray has gone away.
        """
        go_on_or_leave(self._place)
        if self._slots.num_free <= 0 or self._live.is_short:
            return None
        # Of each new trial Tune asks the head something, for as long as that takes (ray 2.60).
        if not self._place.watch.answers():
            return None
        finished: dict[str, Any] | Finished | None = Finished()
        request = self._guard.call(lambda: self._slots.fill(trial_id), finished)
        if isinstance(request, Finished):
            return str(Searcher.FINISHED)
        if request is not None:
            self._guard.call(self._changed, None)
        return request

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Give an attempt that ended without an end record back to the conductor."""
        self._guard.call(lambda: self._over(trial_id, error), None)

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: the study's log is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Take nothing: the study's log is the state."""

    def _over(self, trial_id: str, is_lost: bool) -> None:
        if is_lost:
            go_on_or_leave(self._place)  # one that is lost with Ray is no failure of the trial
        number, attempt = self._slots.leave(trial_id)
        if is_lost:
            lost = self._causes.pop(trial_id, Lost(loss=Loss.ACTOR))
            self._conductor.lost(number, attempt, lost.loss, lost.detail)
        self._changed()


class LiveTrials(Unpickled, FIFOScheduler):  # type: ignore[misc] # ray is not typed
    """Starts trials in the order they came, looking at the living ones only.

    Ray's own FIFO walks all trials that ever were at every step. It also tells apart why an
    attempt was lost, which the searcher is not told.
    """

    def __init__(self, causes: dict[str, Lost], guard: Guard) -> None:
        super().__init__()
        self._causes = causes
        self._guard = guard
        self._controller: Any = None
        self._trials: dict[str, Trial] = {}

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Get to know a trial of Tune's."""
        self._trials[trial.trial_id] = trial

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: Any) -> None:
        """Forget it."""
        self._trials.pop(trial.trial_id, None)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Forget it."""
        self._trials.pop(trial.trial_id, None)

    def process_of(self, trial_id: str) -> Any:
        """Return the Ray actor of a trial of Tune's that is being trained."""
        return self._trials[trial_id].temporary_state.ray_actor

    def hand(self, trial_id: str, request: dict[str, Any]) -> None:
        """Give the process of a trial of Tune's the next one of ours.

        By a call of its own, just before Tune's next one: a process takes calls in the order in
        which they were made. One that has died meanwhile takes neither.
        """
        # Every result of a process is kept until its trial ends as Tune has it (ray 2.60).
        tracked = self._controller._trial_to_actor[self._trials[trial_id]]
        self._controller._actor_manager.clear_actor_task_futures(tracked)
        self.process_of(trial_id).reset_config.remote(request)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the first pending trial."""
        self._controller = tune_controller
        live = tune_controller.get_live_trials()
        pending = [trial for trial in live if trial.status == Trial.PENDING]
        return min(pending, key=lambda trial: trial.config["number"], default=None)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Forget it."""
        self._trials.pop(trial.trial_id, None)

    def lost(self, trial_id: str, error: BaseException | None) -> None:
        """Note why an attempt was lost; Tune tells the searcher right after that it was."""
        lost = self._guard.call(lambda: why_lost(error), Lost(loss=Loss.ACTOR))
        self._causes[trial_id] = lost

    @property
    def is_short(self) -> bool:
        """Whether a trial that takes more than the study's share of a GPU waits for room.

        Then no other begins: each would take what that one waits for, for ever.
        """
        trials = self._trials.values()
        return any("gpu" in one.config and one.status == Trial.PENDING for one in trials)

    @property
    def num_placed(self) -> int:
        """The number of processes that have a place, whether they have started yet or not."""
        return 1 if self._controller is None else self._controller._actor_manager.num_live_actors

    def kill(self) -> None:
        """End the processes of all trials that are being trained.

        Tune would ask them to stop, after the epoch they are at, for ten seconds each.
        """
        if self._controller is None:
            return
        for trial in self._controller.get_live_trials():
            actor = trial.temporary_state.ray_actor
            if actor is not None:
                ray.kill(actor)


class ResultStopper(Unpickled, Stopper):  # type: ignore[misc] # ray is not typed
    """Takes in every result. Only a stopper sees all of them, and sees them first."""

    def __init__(
        self,
        conductor: Conductor,
        slots: Slots,
        is_interrupted: Callable[[], bool],
        guard: Guard,
        changed: Callable[[], None],
        usage: Usage,
        live: LiveTrials,
        place: Place,
        last: Callable[[Any], None],
    ) -> None:
        self._conductor = conductor
        self._slots = slots
        self._last = last
        self._place = place
        self._changed = changed
        self._usage = usage
        self._live = live
        self._is_interrupted = is_interrupted
        self._guard = guard

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tell the conductor of a result; True ends the trial as Tune has it."""
        return self._guard.call(lambda: self._take_in(trial_id, result), True)

    def stop_all(self) -> bool:
        """Tell whether everything is to end now.

        Raises:
            Abandoned: If Ray has gone away: nothing can be ended in order there.
        """
        go_on_or_leave(self._place)
        self._guard.call(lambda: self._place.waiting.look(self._live.num_placed), None)
        self._guard.call(self._conductor.tidy_up, None)
        if self._guard.error is None and not self._is_interrupted():
            return False
        self._live.kill()
        return True

    def _take_in(self, trial_id: str, result: dict[str, Any]) -> bool:
        self._usage.seen(result["process"], result["began_at"])
        with self._conductor.together():
            step = Step(**{item.name: result[item.name] for item in fields(Step)})
            has_ended = self._conductor.measured(result["number"], result["attempt"], step)
            request = self._next(trial_id) if has_ended else None
        if has_ended:
            self._usage.ended(result["process"], result["number"], result["attempt"])
        self._changed()
        if isinstance(request, Finished):
            self._last(self._live.process_of(trial_id))
        if isinstance(request, dict):
            self._live.hand(trial_id, request)
            return False
        return has_ended

    def _next(self, trial_id: str) -> dict[str, Any] | Finished | None:
        """Return what the process of a trial that has ended is to do next, if anything."""
        if self._slots.num_free < 0 or self._live.is_short:
            return None
        return self._slots.refill(trial_id)
