"""The decisions of a study, replayed: which trial is where, without what was measured."""

from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

from search.record.decisions import (
    Asked,
    Attempted,
    Closed,
    Decision,
    Ended,
    Extended,
    Opened,
    Released,
    Stopped,
    Tested,
)
from trainables.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to train a trial."""

    attempt: int
    """From 1."""
    generation: int
    """The generation that started it; only measurements of this generation belong to it."""
    last: int | None = None
    """The last epoch that counts once the attempt is over; None while it may go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialDecisions:
    """What was decided about one trial."""

    asked: Asked
    attempts: tuple[Attempt, ...]
    stopped_at: int | None = None
    passed: int = 0
    """The epoch after which it had ended and was taken up again; 0 if it was not."""
    ended: Ended | None = None
    releases: tuple[Released, ...] = ()
    tested: tuple[Tested, ...] = ()

    @property
    def last_epoch(self) -> int | None:
        """The last epoch that can count; None while that is open."""
        return self.stopped_at if self.ended is None else self.ended.epoch

    def close(self, last: int) -> "TrialDecisions":
        """Return the trial with its newest attempt over after epoch ``last``."""
        return replace(self, attempts=(*self.attempts[:-1], replace(self.attempts[-1], last=last)))


class Replay:
    """The state of a study after some decisions; each is checked against those before it."""

    def __init__(self) -> None:
        self.trials: MutableMapping[int, TrialDecisions] = {}
        self.budget: Mapping[str, Any] = {}
        self.generation = 0
        self.closed: Closed | None = None

    def preview(self) -> "Replay":
        """Return a copy to try decisions on; cheap, since it shares what does not change."""
        copy = Replay()
        copy.trials = ChainMap({}, self.trials)
        copy.budget, copy.generation, copy.closed = self.budget, self.generation, self.closed
        return copy

    def adopt(self, preview: "Replay") -> None:
        """Take over what was tried on a `preview` of this."""
        if isinstance(preview.trials, ChainMap):
            self.trials.update(preview.trials.maps[0])
        self.budget, self.generation = preview.budget, preview.generation
        self.closed = preview.closed

    def apply(self, decision: Decision, generation: int) -> None:
        """Take one decision into account.

        Args:
            decision: The next one, in the order in which they were logged.
            generation: The generation that logged it.

        Raises:
            InputError: If it contradicts those before it.
        """
        if isinstance(decision, Opened):
            self._open(decision, generation)
            return
        if generation != self.generation or self.closed is not None:
            raise InputError(
                f"{decision.kind} needs an open generation {generation}, got "
                f"generation {self.generation}{' (closed)' if self.closed else ''}"
            )
        if isinstance(decision, Extended):
            self.budget = decision.budget
        elif isinstance(decision, Closed):
            self.closed = decision
        elif isinstance(decision, Asked):
            self._ask(decision)
        else:
            self.trials[decision.number] = self._decide(self._trial(decision), decision)

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
                self.trials[number] = trial.close(accepted.pop(key))
        if accepted:
            raise InputError(f"opened accepts attempts that were not open: {sorted(accepted)}")

    def _ask(self, asked: Asked) -> None:
        number = asked.number  # asking a preview for its length would walk all trials
        if number in self.trials or (number > 0 and number - 1 not in self.trials):
            raise InputError(f"asked needs number {len(self.trials)}, got {number}")
        attempts = (Attempt(attempt=1, generation=self.generation),)
        self.trials[number] = TrialDecisions(asked=asked, attempts=attempts)

    def _trial(self, decision: Attempted | Stopped | Ended | Released | Tested) -> TrialDecisions:
        trial = self.trials.get(decision.number)
        if trial is None:
            raise InputError(
                f"{decision.kind} needs a trial that was asked, got number {decision.number}"
            )
        return trial

    def _decide(
        self, trial: TrialDecisions, decision: Attempted | Stopped | Ended | Released | Tested
    ) -> TrialDecisions:
        if isinstance(decision, Tested):
            return replace(trial, tested=(*trial.tested, decision))
        if isinstance(decision, Attempted):
            return _attempt(trial, decision, self.generation)
        if trial.ended is not None:
            raise InputError(
                f"{decision.kind} needs a running trial, got {decision.number}, "
                f"which is {trial.ended.state}"
            )
        if isinstance(decision, Stopped):
            if trial.stopped_at is not None:
                raise InputError(f"trial {decision.number} is already stopped")
            return replace(trial, stopped_at=decision.epoch)
        if isinstance(decision, Released):
            return _release(trial, decision)
        return _end(trial, decision)


def _attempt(trial: TrialDecisions, attempted: Attempted, generation: int) -> TrialDecisions:
    number = attempted.number
    state = trial.ended.state if trial.ended else None
    if state == "failed" or (state is None and trial.stopped_at is not None):
        raise InputError(f"attempted needs a trial that may go on, got {number}, which may not")
    newest = trial.attempts[-1]
    if newest.last is None:
        raise InputError(f"trial {number} needs attempt {newest.attempt} to be over first")
    if attempted.attempt != newest.attempt + 1:
        raise InputError(
            f"trial {number} needs attempt {newest.attempt + 1} next, got {attempted.attempt}"
        )
    # What the trial had beyond its end never counted, and must not begin to now.
    closed = tuple(
        replace(a, last=min(a.last or 0, trial.ended.epoch or 0)) if trial.ended else a
        for a in trial.attempts
    )
    added = Attempt(attempt=attempted.attempt, generation=generation)
    passed = (trial.ended.epoch or 0) if trial.ended else trial.passed
    return replace(trial, attempts=(*closed, added), passed=passed, ended=None, stopped_at=None)


def _release(trial: TrialDecisions, released: Released) -> TrialDecisions:
    newest, attempt = trial.attempts[-1], released.attempt
    if attempt != newest.attempt or any(r.attempt == attempt for r in trial.releases):
        raise InputError(
            f"released needs the newest attempt of trial {released.number} "
            f"({newest.attempt}), once, got {attempt}"
        )
    if released.epoch is None:
        raise InputError("released needs an epoch once it is logged, got None")
    trial = replace(trial, releases=(*trial.releases, released))
    # An attempt that a new owner took over is over already, at the epoch that it accepted.
    return trial if newest.last is not None else trial.close(released.epoch)


def _end(trial: TrialDecisions, ended: Ended) -> TrialDecisions:
    if ended.epoch is None:
        raise InputError("ended needs an epoch once it is logged, got None")
    if trial.stopped_at is not None and ended.epoch > trial.stopped_at:
        raise InputError(
            f"trial {ended.number} was stopped after epoch {trial.stopped_at}, "
            f"it cannot end after {ended.epoch}"
        )
    if trial.attempts[-1].last is None:
        trial = trial.close(ended.epoch)
    return replace(trial, ended=ended)
