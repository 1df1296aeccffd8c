"""A study and its confirmation from their beginning to their end, in one process, without Ray."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

import search
from search.cluster.nodes import Node
from search.cluster.watch import Sight
from search.errors import Interrupted
from search.record.log import StudyLog
from search.results.retrained import record_of
from search.running.confirm import confirm
from search.running.run import Run, Silent, run
from tests import stub_run
from tests.stub_study import numbered, stub_study, table
from trainables.trial.attempt import Attempt, Envelope

FIVE = {**numbered(5), "scheduler": "fifo", "budget": {"trials": 6, "epochs": 4}}


@contextmanager
def ray_for(study, notify, flag, *, warms):
    """Stand for a Ray of one node."""
    node = Node(id="n", address="a", name="n", resources={"CPU": 2.0}, is_head=True)
    sight = Sight(nodes=(node,))
    watch = SimpleNamespace(sight=sight, check=lambda: None)
    yield SimpleNamespace(watch=watch, is_ours=True, is_left_after=False)


class Trainings:
    """Stands for Tune: trains here what is handed out, as many attempts as it may."""

    def __init__(self):
        self.left, self.settings = 1000, []

    def __call__(self, one, conductor, settings):
        self.settings.append(settings)
        while isinstance(envelope := conductor.ask(), Envelope):
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            attempt = Attempt(envelope, settings)
            while not conductor.measured(envelope.number, envelope.attempt, attempt.step()):
                pass
            one.driver.watcher.changed()


@pytest.fixture(name="trainings", autouse=True)
def trained_here(monkeypatch):
    trainings = Trainings()
    monkeypatch.setattr("search.running.run.ray_for", ray_for)
    monkeypatch.setattr(Run, "_fit", lambda *given: trainings(*given))
    return trainings


class Noting(Silent):
    def __init__(self):
        self.seen = []

    def preparing(self, what):
        self.seen.append(what)

    def started(self, study, prepared, conductor):
        self.seen.append((study.name, len(conductor.trials), len(conductor.trainings)))


def test_a_study_is_run_and_its_leading_points_are_trained_again_by_the_same_runner(
    tmp_path, trainings
):
    study = stub_study(tmp_path, **FIVE, reference=True)
    running, confirming = Noting(), Noting()

    result = run(study, watcher=running, factory=stub_run.FACTORY)
    before = table(study)
    found = confirm(study.folder, seeds=2, top=2, watcher=confirming, factory=stub_run.FACTORY)

    assert [trial.state for trial in result.trials] == ["complete"] * 6
    assert ("stub", 0, 0) in running.seen
    assert ("stub", 0, 4) in confirming.seen  # two points, among them the reference's
    seeds = [[one.seed for one in candidate.repeats] for candidate in found.candidates]
    assert seeds == [[1, 2]] * 2
    again = StudyLog.read(record_of(study.folder))
    assert (again.is_closed, again.close_reason) == (True, "done")
    assert [len(trial.measurements) for trial in again.trials] == [
        epoch for _, epoch, _ in again.budget["trainings"]
    ]
    assert [trial.is_reference for trial in again.trials].count(True) == 2
    assert [one.study for one in trainings.settings] == [study.folder, f"{study.folder}/confirm"]
    assert table(study) == before


def test_what_was_trained_of_a_confirmation_counts_when_it_goes_on(tmp_path, trainings):
    study = stub_study(tmp_path, **FIVE)
    run(study, factory=stub_run.FACTORY)
    trainings.left = 3

    with pytest.raises(Interrupted, match=r"the confirmation of 'stub' was interrupted; the same"):
        confirm(study.folder, factory=stub_run.FACTORY)
    trainings.left = 3
    found = confirm(study.folder, factory=stub_run.FACTORY)

    assert trainings.left == 0
    assert [len(candidate.trained) for candidate in found.candidates] == [2, 2, 2]
    same = confirm(study.folder, factory=stub_run.FACTORY)  # trains nothing more
    assert same.verdict == found.verdict


def test_an_interrupted_study_goes_on_where_it_was(tmp_path, trainings):
    study = stub_study(tmp_path, **FIVE)
    trainings.left = 2

    with pytest.raises(Interrupted, match="study 'stub' was interrupted; `twohead resume`"):
        run(study, factory=stub_run.FACTORY)
    assert search.load(study.folder).state == "interrupted"
    trainings.left = 1000
    result = run(study, factory=stub_run.FACTORY)

    assert [trial.num_attempts for trial in result.trials] == [1, 1, 2, 1, 1, 1]
