"""The decisions of a study, replayed: which trial is where, without what was measured."""

from collections import ChainMap
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from msgspec.structs import replace

from search.record.decisions import (
    Asked,
    Attempted,
    Closed,
    Decision,
    Ended,
    Opened,
    Released,
    Retried,
    Stopped,
    Tested,
)
from search.record.history import RecordedAttempt, TrialRecord
from trainables.errors import InputError


class Replay:
    """The state of a study after some decisions; each is checked against those before it."""

    def __init__(self) -> None:
        self.trials: MutableMapping[int, TrialRecord] = {}
        self.budget: Mapping[str, Any] = {}
        self.generation = 0
        self.closed: Closed | None = None

    def preview(self) -> "Replay":
        """Return a copy to try decisions on; cheap, since it shares what does not change."""
        copy = Replay()
        copy.trials = ChainMap({}, self.trials)
        copy.budget, copy.generation, copy.closed = self.budget, self.generation, self.closed
        return copy

    def apply(self, decision: Decision, generation: int) -> None:
        """Take the next decision into account; `InputError` if it contradicts those before it."""
        if isinstance(decision, Opened):
            self._open(decision, generation)
            return
        if generation != self.generation or self.closed is not None:
            raise InputError(
                f"{decision.kind} needs an open generation {generation}, got "
                f"generation {self.generation}{' (closed)' if self.closed else ''}"
            )
        if isinstance(decision, Closed):
            self.closed = decision
        elif isinstance(decision, Asked):
            self._ask(decision)
        else:
            trial = self.trials.get(decision.number)
            if trial is None:
                raise InputError(
                    f"{decision.kind} needs a trial that was asked, got number {decision.number}"
                )
            self.trials[decision.number] = self._decide(trial, decision)

    def apply_all(self, decisions: Iterable[Decision], generation: int) -> None:
        """Take decisions into account, one after the other."""
        for decision in decisions:
            self.apply(decision, generation)

    def _open(self, opened: Opened, generation: int) -> None:
        if generation <= self.generation:
            raise InputError(
                f"opened needs a generation after {self.generation}, got {generation}"
            )
        self.budget, self.generation, self.closed = opened.budget, generation, None
        accepted = {(a.number, a.attempt, a.generation): a.epoch for a in opened.accepted}
        for number, trial in list(self.trials.items()):
            attempt = trial.attempts[-1]
            if attempt.last is None:
                key = (number, attempt.attempt, attempt.generation)
                if key not in accepted:
                    raise InputError(f"opened needs trial {number} among what it accepts")
                self.trials[number] = trial.closed(accepted.pop(key))
        if accepted:
            raise InputError(f"opened accepts attempts that were not open: {sorted(accepted)}")

    def _ask(self, asked: Asked) -> None:
        number = asked.number  # asking a preview for its length would walk all trials
        if number in self.trials or (number > 0 and number - 1 not in self.trials):
            raise InputError(f"asked needs number {len(self.trials)}, got {number}")
        self.trials[number] = TrialRecord(
            number=number,
            config=asked.config,
            origin=asked.origin,
            is_reference=asked.is_reference,
            system=asked.system,
            attempts=(RecordedAttempt(attempt=1, generation=self.generation),),
        )

    def _decide(
        self,
        trial: TrialRecord,
        decision: Attempted | Stopped | Ended | Released | Retried | Tested,
    ) -> TrialRecord:
        if isinstance(decision, Tested):
            return replace(trial, tested=(*trial.tested, decision))
        if isinstance(decision, Retried):
            return _retry(trial)
        if isinstance(decision, Attempted):
            return _attempt(trial, decision, self.generation)
        if trial.has_ended:
            raise InputError(
                f"{decision.kind} needs a running trial, got {decision.number}, "
                f"which is {trial.state}"
            )
        if isinstance(decision, Stopped):
            if trial.stopped_at is not None:
                raise InputError(f"trial {decision.number} is already stopped")
            return replace(trial, stopped_at=decision.epoch)
        if decision.epoch is None:
            raise InputError(f"{decision.kind} needs an epoch once it is logged, got None")
        if isinstance(decision, Released):
            return _release(trial, decision, decision.epoch)
        return _end(trial, decision, decision.epoch)


def _attempt(trial: TrialRecord, attempted: Attempted, generation: int) -> TrialRecord:
    number, newest = trial.number, trial.attempts[-1]
    if trial.state == "failed" or (not trial.has_ended and trial.stopped_at is not None):
        raise InputError(f"attempted needs a trial that may go on, got {number}, which may not")
    if newest.last is None:
        raise InputError(f"trial {number} needs attempt {newest.attempt} to be over first")
    if attempted.attempt != newest.attempt + 1:
        raise InputError(
            f"trial {number} needs attempt {newest.attempt + 1} next, got {attempted.attempt}"
        )
    added = RecordedAttempt(attempt=attempted.attempt, generation=generation)
    if not trial.has_ended:
        return replace(trial, attempts=(*trial.attempts, added))
    # What the trial had beyond its end never counted, and must not begin to now.
    ended_after = trial.epoch or 0
    closed = tuple(replace(one, last=min(one.last or 0, ended_after)) for one in trial.attempts)
    return replace(
        trial,
        attempts=(*closed, added),
        taken_up_after=ended_after,
        state="running",
        reason="",
        epoch=None,
        stopped_at=None,
    )


def _retry(trial: TrialRecord) -> TrialRecord:
    if trial.state != "failed":
        raise InputError(
            f"retried needs a failed trial, got {trial.number}, which is {trial.state}"
        )
    return replace(trial, state="interrupted", reason="", num_forgiven=len(trial.releases))


def _release(trial: TrialRecord, released: Released, epoch: int) -> TrialRecord:
    newest, attempt = trial.attempts[-1], released.attempt
    if attempt != newest.attempt or any(r.attempt == attempt for r in trial.releases):
        raise InputError(
            f"released needs the newest attempt of trial {released.number} "
            f"({newest.attempt}), once, got {attempt}"
        )
    trial = replace(trial, releases=(*trial.releases, released))
    # An attempt that a new owner took over is over already, at the epoch that it accepted.
    return trial if newest.last is not None else trial.closed(epoch)


def _end(trial: TrialRecord, ended: Ended, epoch: int) -> TrialRecord:
    if trial.stopped_at is not None and epoch > trial.stopped_at:
        raise InputError(
            f"trial {ended.number} was stopped after epoch {trial.stopped_at}, "
            f"it cannot end after {epoch}"
        )
    if trial.attempts[-1].last is None:
        trial = trial.closed(epoch)
    return replace(trial, state=ended.state, reason=ended.reason, epoch=epoch)
