"""Ray Tune as a pool of warm processes: thin adapters around a pool; the conductor decides."""

from collections.abc import Callable
from typing import Any, TypeVar, final

import ray
from ray.tune import Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from search.cluster.capacity import TrialRoom
from search.errors import ClusterLost
from search.results.usage import Usage
from search.running.attempts import AttemptEnd, why_lost
from search.running.conductor import Conductor, Finished
from trainables.trial.attempt import Envelope, TrialFailure
from trainables.trial.measurement import Measurement

Answer = TypeVar("Answer")


class Abandoned(BaseException):
    """Leaves Tune at once, past all that it does to end in order."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@final
class TunePool:
    """The slots of a run: which attempt each is at, its process, and how attempts were lost.

    To Tune a trial is a slot with a process, where one of ours after the other is trained: it
    has so many at the end as ran side by side, and not as many as were tried. All that Tune does
    for a trial that it begins or ends (a placement group, a folder, a search through all that it
    ever had, ray 2.60) is paid once for each slot, and again where a process was lost.

    Inside ``Tuner.fit`` an exception of a searcher, stopper or scheduler leaves as a
    ``TuneError`` that holds a traceback's text only (ray 2.60): the first one of our own code is
    kept in ``error``, and everything ends.
    """

    def __init__(
        self,
        conductor: Conductor,
        room: TrialRoom,
        *,
        is_interrupted: Callable[[], bool],
        changed: Callable[[], None],
        last: Callable[[Any], None],
    ) -> None:
        self.room = room
        self.usage = Usage(room.shares.concurrent)
        self.error: BaseException | None = None
        self._conductor = conductor
        self._is_interrupted = is_interrupted
        self._changed = changed
        self._last = last
        self._controller: Any = None
        self.trials: dict[str, Trial] = {}
        """Tune's own that live, by id."""
        self._attempts: dict[str, Envelope] = {}
        self._begun: set[str] = set()
        """Slots that have given a result."""
        self._aside: list[Envelope] = []
        self._ends: dict[str, AttemptEnd] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the request of the next attempt for a new slot, None for not now, or FINISHED."""
        self._leave_if_ray_is_lost()
        if self._num_free <= 0 or self._is_short:
            return None
        # Of each new trial Tune asks the head something, for as long as that takes (ray 2.60).
        if not self.room.watch.answers():
            return None
        finished: dict[str, Any] | str | None = str(Searcher.FINISHED)
        request = self._guarded(lambda: self._fill(trial_id), finished)
        if isinstance(request, dict):
            self._guarded(self._changed, None)
        return request

    def take_in(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tell the conductor of a result; return whether the slot ends with it."""
        return self._guarded(lambda: self._take_in(trial_id, result), True)

    def is_over(self) -> bool:
        """Tell whether everything is to end now; then no process is left."""
        self._leave_if_ray_is_lost()
        tune = self._controller
        # Processes that have a place, whether they have started yet or not.
        num_placed = 1 if tune is None else tune._actor_manager.num_live_actors
        self._guarded(lambda: self.room.capacity.look(num_placed), None)
        self._guarded(self._conductor.tidy_up, None)
        if self.error is None and not self._is_interrupted():
            return False
        # Tune would ask each to stop, after the epoch it is at, for ten seconds.
        for trial in tune.get_live_trials() if tune else ():
            if actor := trial.temporary_state.ray_actor:
                ray.kill(actor)
        return True

    def lost(self, trial_id: str, error: BaseException | None) -> None:
        """Note why an attempt was lost; Tune tells right after that the slot is over."""
        self._ends[trial_id] = self._guarded(lambda: why_lost(error), AttemptEnd())

    def over(self, trial_id: str, *, is_lost: bool) -> None:
        """Take in that a slot is over; an attempt that was lost goes back to the conductor."""
        self._guarded(lambda: self._over(trial_id, is_lost), None)

    def pending(self, controller: Any) -> Trial | None:
        """Return the first trial of Tune's that waits for its process."""
        self._controller = controller
        live = controller.get_live_trials()
        waiting = [trial for trial in live if trial.status == Trial.PENDING]
        return min(waiting, key=lambda trial: trial.config["number"], default=None)

    def _guarded(self, function: Callable[[], Answer], otherwise: Answer) -> Answer:
        """Return what ``function`` returns, or ``otherwise`` once anything has failed."""
        if self.error is not None:
            return otherwise
        try:
            return function()
        except Exception as error:
            self.error = error
            return otherwise

    def _leave_if_ray_is_lost(self) -> None:
        """Raise `Abandoned` if Ray has gone away: nothing can be ended in order there."""
        try:
            self.room.watch.check()
        except ClusterLost as error:
            raise Abandoned(error) from None

    @property
    def _num_free(self) -> int:
        """How many more attempts may be under way; negative where nodes have gone."""
        return self.room.capacity.num_trials() - len(self._attempts)

    @property
    def _is_short(self) -> bool:
        """Whether a trial that takes more than the study's share of a GPU waits for room.

        Then no other begins: each would take what that one waits for, for ever.
        """
        trials = self.trials.values()
        return any("gpu" in one.config and one.status == Trial.PENDING for one in trials)

    def _fill(self, trial_id: str) -> dict[str, Any] | str | None:
        found = self._aside.pop() if self._aside else self._conductor.ask()
        if isinstance(found, Finished):
            return str(Searcher.FINISHED)
        return None if found is None else self._put(trial_id, found)

    def _put(self, trial_id: str, attempt: Envelope) -> dict[str, Any]:
        """Put a slot at an attempt, and return what its process is handed."""
        self._attempts[trial_id] = attempt
        self.usage.handed()
        # As text: Tune resolves and flattens what it finds in a nested config.
        return {
            "number": attempt.number,
            "attempt": attempt.attempt,
            "request": attempt.to_json(),
            **({} if attempt.gpu is None else {"gpu": attempt.gpu}),
        }

    def _take_in(self, trial_id: str, result: dict[str, Any]) -> bool:
        number, attempt, process = result["number"], result["attempt"], result["process"]
        self.usage.seen(process, result["began_at"])
        self._begun.add(trial_id)
        found: Envelope | Finished | None = None
        with self._conductor.together():
            has_ended = self._conductor.measured(number, attempt, _found(result))
            if has_ended and self._num_free >= 0 and not self._is_short:
                found = self._conductor.ask()
        if has_ended:
            self.usage.ended(process, number, attempt)
        self._changed()
        if isinstance(found, Finished):
            self._last(self._process_of(trial_id))
        if not isinstance(found, Envelope):
            return has_ended
        if found.gpu != self._attempts[trial_id].gpu:
            self._aside.append(found)  # it takes another share: a slot of its own
            return True
        self._hand(trial_id, self._put(trial_id, found))
        return False

    def _hand(self, trial_id: str, request: dict[str, Any]) -> None:
        """Give a slot's process its next attempt.

        By a call of its own, just before Tune's next one: a process takes calls in the order in
        which they were made. One that has died meanwhile takes neither.
        """
        # Every result of a process is kept until its trial ends as Tune has it (ray 2.60).
        tracked = self._controller._trial_to_actor[self.trials[trial_id]]
        self._controller._actor_manager.clear_actor_task_futures(tracked)
        self._process_of(trial_id).reset_config.remote(request)

    def _process_of(self, trial_id: str) -> Any:
        """Return the Ray actor of a slot that is being trained."""
        return self.trials[trial_id].temporary_state.ray_actor

    def _over(self, trial_id: str, is_lost: bool) -> None:
        if is_lost:
            self._leave_if_ray_is_lost()  # one that is lost with Ray is no failure of the trial
        left, has_begun = self._attempts.pop(trial_id), trial_id in self._begun
        self._begun.discard(trial_id)
        if is_lost:
            if has_begun:
                self.usage.freed()
            end = self._ends.pop(trial_id, AttemptEnd())
            self._conductor.lost(left.number, left.attempt, end)
        self._changed()


def _found(result: dict[str, Any]) -> Measurement | TrialFailure:
    gave = result["gave"]
    if "measured" in gave:
        return Measurement.from_json(gave["measured"].encode())
    return TrialFailure(**gave)


class _Adapter:
    """What Tune asks.

    Tune pickles its searcher, stopper and scheduler into its scratch folder when it starts and
    ends (ray 2.60, ``tuner.pkl``), where nothing ever reads them: locks and open files cannot be.
    """

    _pool: TunePool

    def __getstate__(self) -> dict[str, Any]:
        return {}


class PoolSearcher(_Adapter, Searcher):  # type: ignore[misc] # ray is not typed
    """Hands out trial numbers as the conductor says, again if an attempt was lost."""

    def __init__(self, pool: TunePool) -> None:
        super().__init__(metric="epoch", mode="max")
        self._pool = pool

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return a request, None for not now, or FINISHED."""
        return self._pool.suggest(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Give an attempt that ended without an end record back to the conductor."""
        self._pool.over(trial_id, is_lost=error)

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: the study's log is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Take nothing: the study's log is the state."""


class PoolScheduler(_Adapter, FIFOScheduler):  # type: ignore[misc] # ray is not typed
    """Starts trials in the order they came, looking at the living ones only.

    Ray's own FIFO walks all trials that ever were at every step.
    """

    def __init__(self, pool: TunePool) -> None:
        super().__init__()
        self._pool = pool

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Get to know a trial of Tune's."""
        self._pool.trials[trial.trial_id] = trial

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: Any = None) -> None:
        """Forget it."""
        self._pool.trials.pop(trial.trial_id, None)

    on_trial_remove = on_trial_error = on_trial_complete

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the first pending trial."""
        return self._pool.pending(tune_controller)


class PoolStopper(_Adapter, Stopper):  # type: ignore[misc] # ray is not typed
    """Takes in every result. Only a stopper sees all of them, and sees them first."""

    def __init__(self, pool: TunePool) -> None:
        self._pool = pool

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tell the conductor of a result; True ends the trial as Tune has it."""
        return self._pool.take_in(trial_id, result)

    def stop_all(self) -> bool:
        """Tell whether everything is to end now."""
        return self._pool.is_over()
