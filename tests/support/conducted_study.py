"""A study whose owners and actors are called by hand: the real conductor, record and attempts."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from search.record.decisions import Decision
from search.record.history import TrialRecord
from search.record.log import StudyLog
from search.record.ownership import Ownership, claim
from search.record.reader import StudyReader
from search.running.conductor import Conductor, Finished
from search.running.plan import Plan
from search.running.scheduler import Fifo
from search.sampling.trials import RecordedTrial, Suggestion
from search.study.objective import every_head
from tests.support import stub_run
from tests.support.faulty_files import MemoryFiles, empty_disk
from tests.support.stub_study import rows_of
from trainables.spec.settings import StudySettings
from trainables.storage.store import Store
from trainables.trial import attempt as attempt_module
from trainables.trial.attempt import Attempt, Envelope, TrialFailure
from trainables.trial.measurement import Measurement

BASELINES = {"c_output": 4.0, "r_output": 4.0}

REFERENCE = ({"conv1_filters": 64, "learning_rate": 0.5}, "reference")


def numbered(number: int, recorded: Any) -> Suggestion:
    """Suggest what the number says."""
    config = {"conv1_filters": 8, "learning_rate": rate_of(number)}
    return Suggestion(config=config, system_attrs={"asked": number})


def rate_of(number: int) -> float:
    return round(0.001 * (number + 1), 3)


class Asked:
    """Suggests what a function of the number and of all recorded trials says."""

    takes_up = True

    def __init__(self, function: Any) -> None:
        self.function, self.trials = function, {}

    def put(self, trial: RecordedTrial) -> None:
        self.trials[trial.number] = trial

    def suggest(self, number: int) -> Any:
        return self.function(number, [trial for _, trial in sorted(self.trials.items())])


class StopAt:
    """A scheduler that stops the trials it is told to, after the epoch it is told."""

    def __init__(self, *stops: tuple[int, int]) -> None:
        self.stops = set(stops)
        self.restored: list[tuple[int, int]] = []
        self.asked: list[tuple[int, int]] = []

    def decide(self, number: int, epoch: int, losses: Any) -> str:
        self.asked.append((number, epoch))
        return "stop" if (number, epoch) in self.stops else "continue"

    def restore(self, number: int, epoch: int, losses: Any) -> None:
        self.restored.append((number, epoch))


class Bench:
    """A study in memory, its owners one after the other, and actors that are called by hand."""

    def __init__(self, storage: Path, patch: pytest.MonkeyPatch) -> None:
        self.storage = storage
        self.files = MemoryFiles(empty_disk())
        self.store = Store("/study", files=self.files)
        patch.setattr(attempt_module, "Store", lambda uri: self.store)
        StudyLog.create(self.store, {"name": "study"})
        self.ownership: Ownership | None = None
        self.conductor: Conductor
        self.anew: tuple[int, ...] = ()
        self.now = 0.0

    def conduct(self, scheduler: Any = None, suggest: Any = numbered, **changes: Any) -> Conductor:
        """Take the study over, wherever the owner before was."""
        self.close()
        self.ownership = claim(self.store)
        values = {"seed": 3, "trials": 3, "epochs": 3, "baselines": BASELINES}
        objective = every_head(tuple(BASELINES))
        plan = Plan(**{**values, "objective": objective, "sampler": Asked(suggest), **changes})
        budget = {"trials": plan.trials, "epochs": plan.epochs, "hours": None}
        log = StudyLog.open_for_writing(self.store, self.ownership, budget=budget)
        self.conductor = Conductor(plan, log, scheduler or Fifo(), clock=lambda: self.now)
        self.anew = self.conductor.tidy_all()
        return self.conductor

    def close(self) -> None:
        if self.ownership is not None:
            self.ownership.release()

    def actor(self, envelope: Envelope) -> Attempt:
        settings = StudySettings(
            study=self.store.uri, storage=str(self.storage), factory=stub_run.FACTORY
        )
        return Attempt(envelope, settings)

    def train(self, envelope: Envelope, epochs: int = 100) -> bool:
        """Train and report until the trial ends, or so many epochs; tell whether it ended."""
        actor = self.actor(envelope)
        return any(self.report(envelope, actor.step()) for _ in range(epochs))

    def report(self, envelope: Envelope, found: Measurement | TrialFailure) -> bool:
        has_ended = self.conductor.measured(envelope.number, envelope.attempt, found)
        self.conductor.tidy_up()
        return has_ended

    def ask(self) -> Envelope:
        envelope = self.conductor.ask()
        assert isinstance(envelope, Envelope)
        return envelope

    def finish(self) -> None:
        """Train one trial after the other until none is left."""
        while not isinstance(envelope := self.conductor.ask(), Finished):
            assert envelope is not None, "nothing is in flight"
            self.train(envelope)

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        return StudyReader(self.store).read().trials

    @property
    def states(self) -> list[str]:
        return [trial.state for trial in self.trials]

    @property
    def decisions(self) -> list[Decision]:
        segments = self.conductor._log.reader.segments.read()
        return [decision for _, segment in segments for decision in segment]

    @property
    def table(self) -> list[tuple[Any, ...]]:
        """Return the study's result: all but what attempts and owners there were."""
        return rows_of(self.trials)


class Cut(BaseException):
    """Ends everything, as SIGKILL does: no ``except Exception`` sees it."""


class Counter:
    """Counts the writes to a store, and cuts before one of them.

    Those of the thread that made it: signs of life come from another one, by the clock.
    """

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self.count = 0
        self.cut_at = -1
        self.is_on = True

    def tick(self) -> None:
        if not self.is_on or threading.get_ident() != self._thread:
            return
        if self.count == self.cut_at:
            raise Cut
        self.count += 1


@contextmanager
def counted_writes() -> Iterator[Counter]:
    """Count every write and removal of every store."""
    counter = Counter()

    def counting(method: Any) -> Any:
        def call(*given: Any) -> Any:
            counter.tick()
            return method(*given)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("put", "put_new", "delete"):
            patch.setattr(Store, name, counting(getattr(Store, name)))
        yield counter
