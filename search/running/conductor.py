"""What to try next, who goes on, who is tried again: decided, logged, and then done."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from search.record.decisions import Asked, Attempted, Cause, Decision, Ended, Released, Stopped
from search.record.history import TrialRecord
from search.record.log import StudyLog
from search.results.kept import can_go_on, newest_of
from search.results.points import best_log_skills, log_curve
from search.results.retrained import Training
from search.running.attempts import (
    CHARGED,
    AttemptEnd,
    next_attempt,
    own_end,
    pause_words,
    same_failures,
    why_failed,
    why_given_up,
)
from search.running.checkpoints import Checkpoints
from search.running.plan import Plan
from search.running.scheduler import Scheduler
from search.sampling.trials import Continue, RecordedTrial, Suggestion
from search.study.objective import Objective
from trainables.trial.attempt import Envelope, TrialFailure
from trainables.trial.measurement import Measurement

FOLD_EVERY = 50
"""Trials that end before the log is folded again."""


class Finished:
    """No trial is left to hand out, now or later."""


class Conductor:
    """Hands out attempts, takes in results, and decides."""

    def __init__(
        self,
        plan: Plan,
        log: StudyLog,
        scheduler: Scheduler,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._log = log
        self._scheduler = scheduler
        self._clock = clock
        self._num_told = 0
        self._again: list[int] = []
        self._flying: dict[int, int] = {}
        self._decided: dict[int, int] = {}
        """The last epoch of each trial that was decided, also by an earlier owner: it is not
        judged again by what has come since."""
        self._details: dict[int, str] = {}
        self._checkpoints = Checkpoints(plan, log.reader.store, log.generation)
        self._to_tidy: list[int] = []
        self._failed: list[TrialRecord] = []
        """Of this run, as long as no trial has ended otherwise in it."""
        self._has_succeeded = False
        self._same_failures: tuple[TrialRecord, ...] = ()
        self._num_unfolded = 0
        self.trials: dict[int, TrialRecord] = {}
        """The newest known history of each trial, by number."""
        self.live: dict[int, dict[int, Measurement]] = {}
        """Of each trial in flight: epoch -> what it gave."""
        self.changes: list[int] = []
        """The trial of each change of these two; only grows."""
        self._take_up()

    @property
    def trainings(self) -> Sequence[Training]:
        """What is trained again to confirm a study, by number; empty where it is run."""
        return self._plan.trainings

    @property
    def in_flight(self) -> tuple[int, ...]:
        """The numbers of the trials that are being trained."""
        return tuple(self._flying)

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do, or the budget's hours are over."""
        is_left = self._again or self._flying or len(self.trials) < self._plan.trials
        return self.is_over() or not is_left

    def is_over(self) -> bool:
        """Tell whether the budget's hours are used up."""
        return self._plan.deadline is not None and self._clock() >= self._plan.deadline

    @property
    def is_paused(self) -> bool:
        """Whether the first trials of this run failed alike, so that no more are handed out."""
        return bool(self._same_failures)

    def pause_words(self) -> str:
        """Return why it is paused, and how to go on."""
        return pause_words(self._same_failures, self._log.reader.store)

    def ask(self) -> Envelope | Finished | None:
        """Return the next attempt to make, None if there is none now, or Finished."""
        if self.is_paused:
            return None
        if not self.is_over():
            if self._again:
                return self._retry(self._again.pop(0))
            if len(self.trials) < self._plan.trials:
                return self._next()
        return None if self._flying else Finished()

    def together(self) -> AbstractContextManager[None]:
        """Log all that is decided meanwhile at once, when this is left; act on it only then."""
        return self._log.together()

    def measured(self, number: int, attempt: int, found: Measurement | TrialFailure) -> bool:
        """Take in what one epoch of an attempt gave; return whether the attempt ends with it.

        A result of an attempt that is not in flight changes nothing.
        """
        if self._flying.get(number) != attempt:
            return True
        if isinstance(found, TrialFailure):
            reason = why_failed(found, self.trials[number], self._plan.gpu)
            if reason is None:
                self._release(number, attempt, "share")
            else:
                self._end(number, "failed", reason)
            return True
        self.live.setdefault(number, {})[found.epoch] = found
        self.changes.append(number)
        if self._decide(number, found.epoch, found.losses):
            return True
        self._log.ownership.ensure()  # that it goes on is not recorded, and deletes checkpoints
        return False

    def lost(self, number: int, attempt: int, end: AttemptEnd) -> None:
        """Take in that an attempt ended without a final result; of one not in flight, nothing.

        Raises:
            StorageError: If the study's storage failed it: no attempt could do better.
            UnfitNode: If its node can train none: it would take and lose one after the other.
        """
        if self._flying.get(number) != attempt:
            return
        cause = end.cause(number)
        self._details[number] = end.detail
        own = own_end(self._log.reader.store, self._log.generation, number, attempt)
        self._release(number, attempt, own or cause)

    def end_interrupted(self) -> None:
        """End what is in flight or waits, when the study's hours are over."""
        for number in [n for n, trial in self.trials.items() if not trial.has_ended]:
            self.trials[number] = self._log.trial(number)
            if not self._decide_all(number):
                self._end(number, "interrupted", "the budget's hours are over")
        self.tidy_up()

    def tidy_up(self) -> None:
        """Delete and fold what ended trials left; apart, so that no process waits for it."""
        while self._to_tidy:
            trial = self.trials[self._to_tidy.pop()]
            if trial.has_ended:  # else it was taken up again at once
                self._checkpoints.tidy(trial)
            self._num_unfolded += 1
        if self._num_unfolded >= FOLD_EVERY:
            self._num_unfolded = 0
            self._log.fold()

    # What was there before this owner

    def tidy_all(self) -> tuple[int, ...]:
        """Delete what owners before this one left of ended trials, and nobody needs.

        Returns the trials that are to go on, were saved, and have nothing left to go on from.
        """
        found = self._checkpoints.tidy_all(self.trials.values())
        again = (self.trials[number] for number in self._again)
        return tuple(t.number for t in again if newest_of(t) and not can_go_on(t, found))

    def _take_up(self) -> None:
        """Rebuild all from the log, and decide what the last owner could not."""
        for trial in self._log.history().trials:
            self.trials[trial.number] = trial
            self.changes.append(trial.number)
            self._restore(trial)
        for number, trial in list(self.trials.items()):
            if trial.state == "running":
                self._settle(number)
            elif trial.state == "interrupted" or self._has_grown(trial):
                self._again.append(number)

    def _has_grown(self, trial: TrialRecord) -> bool:
        """Tell whether a trial was complete under a budget of fewer epochs."""
        epochs = self._plan.epochs_of(trial.number)
        return trial.state == "complete" and len(trial.measurements) < epochs

    def _restore(self, trial: TrialRecord) -> None:
        """Tell the scheduler of what it decided of a trial."""
        self._decided[trial.number] = max(trial.taken_up_after, len(trial.decided))
        for one in trial.decided:
            values = self._plan.objective.values(one.losses)
            self._scheduler.restore(trial.number, one.epoch, values)

    def _settle(self, number: int) -> None:
        """Decide a trial that no attempt is at: over, failed, or to be tried again."""
        if self._decide_all(number):
            return
        reason = why_given_up(self.trials[number], self._details.get(number, ""))
        if reason is not None:
            self._end(number, "failed", reason)
        else:
            self._again.append(number)
            self._again.sort()

    def _decide_all(self, number: int) -> bool:
        """Decide what was measured of a trial and not decided yet; return whether it ends."""
        measured = self.trials[number].measurements
        return any(self._decide(number, one.epoch, one.losses) for one in measured)

    # What happens now

    def _next(self) -> Envelope:
        number, first = len(self.trials), self._plan.first
        if number < len(first):
            config, origin = first[number]
            is_reference = origin == "reference"
            asked = Asked(number=number, config=config, origin=origin, is_reference=is_reference)
        else:
            found = self._suggestion(number)
            if isinstance(found, Continue):
                return self._retry(found.number)
            asked = Asked(number=number, config=found.config, system=found.system_attrs)
        return self._hand_out(number, asked)

    def _suggestion(self, number: int) -> Suggestion | Continue:
        """Tell the sampler which trials have changed since it was last asked, and ask it."""
        sampler, plan = self._plan.sampler, self._plan
        assert sampler is not None, f"trial {number} has no config"
        for changed in sorted(set(self.changes[self._num_told :])):
            trial, live = self.trials[changed], self.live.get(changed, {})
            sampler.put(_recorded_trial(trial, live, plan.baselines, plan.objective))
        self._num_told = len(self.changes)
        return sampler.suggest(number)

    def _retry(self, number: int) -> Envelope:
        attempt = len(self.trials[number].attempts) + 1
        return self._hand_out(number, Attempted(number=number, attempt=attempt))

    def _hand_out(self, number: int, decision: Asked | Attempted) -> Envelope:
        self._record(number, decision)
        self._checkpoints.goes_on(number)
        envelope = next_attempt(self.trials[number], self._plan)
        self._flying[number] = envelope.attempt
        return envelope

    def _decide(self, number: int, epoch: int, losses: Mapping[str, float]) -> bool:
        """Decide whether a trial ends with this epoch, log it if so, and return it.

        The reference trial is trained to the end: the others are compared with it.
        """
        if epoch <= self._decided.get(number, 0):
            return self.trials[number].has_ended
        self._decided[number] = epoch
        verdict = self._scheduler.decide(number, epoch, self._plan.objective.values(losses))
        if epoch >= self._plan.epochs_of(number):
            self._end(number, "complete", epoch=epoch)
        elif verdict == "stop" and not self.trials[number].is_reference:
            self._end(number, "stopped", epoch=epoch, before=[Stopped(number=number, epoch=epoch)])
        return self.trials[number].has_ended

    def _release(self, number: int, attempt: int, cause: Cause) -> None:
        charged = cause in CHARGED
        released = Released(number=number, attempt=attempt, cause=cause, charged=charged)
        self._record(number, released)
        del self._flying[number]
        self._settle(number)

    def _end(
        self,
        number: int,
        state: Any,
        reason: str = "",
        *,
        epoch: int | None = None,
        before: Sequence[Decision] = (),
    ) -> None:
        ended = Ended(number=number, state=state, reason=reason, epoch=epoch)
        self._record(number, *before, ended)
        self._to_tidy.append(number)
        self._flying.pop(number, None)
        self.live.pop(number, None)
        if number in self._again:
            self._again.remove(number)
        self._look_for_a_common_cause(self.trials[number])

    def _look_for_a_common_cause(self, ended: TrialRecord) -> None:
        """Pause where trials fail alike and none succeeds, while there are some to spare.

        What is trained again to confirm a study did succeed: that it fails is told of its point.
        """
        self._has_succeeded |= ended.state != "failed" or bool(self._plan.trainings)
        if self._has_succeeded or self.is_finished:
            return
        self._failed.append(ended)
        furthest = max((max(epochs) for epochs in self.live.values() if epochs), default=0)
        self._same_failures = self._same_failures or same_failures(self._failed, furthest)

    def _record(self, number: int, *decisions: Decision) -> None:
        """Log what becomes true of a trial at the same moment."""
        self._log.record(*decisions)
        self.trials[number] = self._log.trial(number)
        self.changes.append(number)


def _recorded_trial(
    trial: TrialRecord,
    live: Mapping[int, Measurement],
    baselines: Mapping[str, float],
    objective: Objective,
) -> RecordedTrial:
    """Return a trial as a sampler sees it."""
    skills, epoch = best_log_skills(trial, baselines, objective)
    by_epoch = {**{m.epoch: m for m in trial.measurements}, **live}
    measured = [by_epoch[e].losses for e in range(1, len(by_epoch) + 1) if e in by_epoch]
    return RecordedTrial(
        number=trial.number,
        config=trial.config,
        state=trial.state,
        log_skills=skills,
        epoch=epoch,
        curve=log_curve(measured, baselines, objective) if measured else (),
        system_attrs=trial.system,
    )
