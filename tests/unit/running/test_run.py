"""A study and its confirmation from their beginning to their end, in one process, without Ray."""

import json
import shutil
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

import search
from search.cluster.health import Sight
from search.cluster.nodes import Node
from search.errors import Interrupted, StudyLocked, StudyPaused
from search.record.ownership import claim
from search.record.reader import StudyReader
from search.results.retrained import confirmed_point
from search.running.confirm import confirm
from search.running.run import Run, Silent, run
from tests.support import stub_run
from tests.support.stub_study import numbered, stub_study, table
from trainables.storage.store import Store
from trainables.storage.study_folder import StudyFolder
from trainables.trial.attempt import Attempt, Envelope

FIVE = {
    **numbered(5),
    "scheduler": "fifo",
    "sampler": "random",
    "budget": {"trials": 6, "epochs": 4},
}


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


@contextmanager
def trained_here():
    with pytest.MonkeyPatch.context() as patch:
        trainings = Trainings()
        patch.setattr("search.running.run.ray_for", ray_for)
        patch.setattr(Run, "_fit", lambda *given: trainings(*given))
        yield trainings


@pytest.fixture(name="trainings", autouse=True)
def no_ray():
    with trained_here() as trainings:
        yield trainings


@pytest.fixture(name="finished", scope="module")
def finished_study(tmp_path_factory):
    storage = tmp_path_factory.mktemp("finished")
    with trained_here():
        run(stub_study(storage, **FIVE), factory=stub_run.FACTORY)
    return storage


@pytest.fixture(name="study")
def copied_study(finished, tmp_path):
    """Return a finished study that a test may change."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    data = str(finished / "data.parquet")
    return stub_study(tmp_path, **FIVE, data=data)


class Noting(Silent):
    def __init__(self):
        self.seen = []

    def preparing(self, what):
        self.seen.append(what)

    def started(self, study, prepared, conductor):
        self.seen.append((study.name, len(conductor.trials), len(conductor.trainings)))


def confirmed(study, **options):
    return confirm(study.folder, factory=stub_run.FACTORY, **options)


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
    seeds = [[*candidate.repeats] for candidate in found.candidates]
    assert seeds == [[1, 2]] * 2
    again = StudyReader(StudyFolder(study.folder).confirmation).read()
    assert (again.is_closed, again.close_reason) == (True, "done")
    assert [len(trial.measurements) for trial in again.trials] == [
        epoch for _, epoch, _ in again.budget["trainings"]
    ]
    assert [trial.is_reference for trial in again.trials].count(True) == 2
    assert [one.study for one in trainings.settings] == [study.folder, f"{study.folder}/confirm"]
    assert table(study) == before
    assert [path for path in tmp_path.rglob(".data") if path.is_dir()] == [tmp_path / ".data"]


def test_what_was_trained_counts_and_more_seeds_and_points_are_added(study, trainings):
    first = confirmed(study, seeds=1, top=1)
    once = trainings.left
    assert confirmed(study, seeds=1, top=1).verdict == first.verdict
    assert trainings.left == once

    more = confirmed(study, seeds=2, top=3)

    assert once - trainings.left == 2 * len(more.candidates) - len(first.candidates)
    assert more.first.repeats[1] == first.first.repeats[1]


def test_a_training_that_fails_is_a_failed_seed_and_ends_nothing_else(study, tmp_path):
    best = search.load(study.folder).best()
    faults = {repr(best.config["learning_rate"]): {"kind": "nan", "at": 1}}
    (tmp_path / "faults.json").write_text(json.dumps(faults))

    found = confirmed(study, seeds=2, top=2)

    reason = "val_c_output_loss became NaN in epoch 1"
    assert [*found.first.failed.values()] == [reason] * 2
    assert found.leader is not found.first
    assert f"trial {best.number} failed with 2 of 2 seeds" in found.verdict


def test_a_confirmation_that_was_interrupted_goes_on_where_it_was(study, trainings):
    trainings.left = 3

    with pytest.raises(Interrupted, match=r"the confirmation of 'stub' was interrupted; the same"):
        confirmed(study)
    trainings.left = 3
    found = confirmed(study)

    assert trainings.left == 0
    assert [len(candidate.trained) for candidate in found.candidates] == [2, 2, 2]


def test_a_study_that_goes_on_keeps_its_confirmation_and_what_it_trained(study):
    first = confirmed(study, seeds=1, top=1)

    result = run(study.with_budget(trials=7, epochs=6), factory=stub_run.FACTORY)

    assert [len(trial.measurements) for trial in result.trials] == [6] * 7
    again = confirmed_point(result, first.first.point)
    assert again is not None
    assert again.repeats == first.first.repeats


def test_only_one_confirms_a_study_at_a_time(study):
    with (
        claim(StudyFolder(study.folder).confirmation),
        pytest.raises(StudyLocked, match="is being run by proc"),
    ):
        confirmed(study)

    with claim(Store(study.folder)):
        pass  # was let go of


def test_an_interrupted_study_goes_on_where_it_was(tmp_path, trainings):
    study = stub_study(tmp_path, **FIVE)
    trainings.left = 2

    with pytest.raises(Interrupted, match="study 'stub' was interrupted; `twohead resume`"):
        run(study, factory=stub_run.FACTORY)
    assert search.load(study.folder).state == "interrupted"
    trainings.left = 1000
    result = run(study, factory=stub_run.FACTORY)

    assert [trial.num_attempts for trial in result.trials] == [1, 1, 2, 1, 1, 1]


def test_a_cause_that_fails_all_trials_pauses_the_study_until_it_is_mended(tmp_path, trainings):
    study = stub_study(tmp_path, **FIVE)
    (tmp_path / "faults.json").write_text(json.dumps({"*": {"kind": "raise", "at": "open"}}))

    with pytest.raises(StudyPaused, match=r"study 'stub' is paused: 3 trials \(0, 1, 2\)") as told:
        run(study, factory=stub_run.FACTORY)
    trace = str(told.value).partition("the whole traceback is in ")[2].partition(";")[0]
    assert "RuntimeError: the stub was told" in Path(trace).read_text()
    paused = search.load(study.folder)
    assert (paused.state, [trial.state for trial in paused.trials]) == (
        "interrupted",
        ["failed"] * 3,
    )

    (tmp_path / "faults.json").unlink()
    left = run(study, factory=stub_run.FACTORY)
    assert [trial.state for trial in left.trials] == ["failed"] * 3 + ["complete"] * 3
    whole = run(study, factory=stub_run.FACTORY, retry_failed=True)
    assert [trial.state for trial in whole.trials] == ["complete"] * 6
    assert [trial.num_attempts for trial in whole.trials] == [2] * 3 + [1] * 3
    before = trainings.left
    assert run(study, factory=stub_run.FACTORY, retry_failed=True).state == "finished"
    assert trainings.left == before
