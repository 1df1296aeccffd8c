"""Trials on a real Ray whose processes are killed and whose trainings fail."""

from collections import Counter
from dataclasses import replace

import pytest

import search.cluster.capacity
import search.running.tune
from search.errors import StorageError
from search.record.reader import StudyReader
from search.running.resume import is_done
from search.running.run import Silent, run
from tests.support import stub_run
from tests.support.fragile_actor import FragileActor
from tests.support.processes import is_alive, kill, wait_until
from tests.support.stub_study import (
    num_ends,
    numbered,
    ray_in_short_folder,
    stub_study,
    table,
    trials_of,
    write_faults,
)
from trainables.storage.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def one_ray():
    with ray_in_short_folder() as folder:
        yield folder


@pytest.fixture(name="fragile")
def fragile_actors(monkeypatch):
    monkeypatch.setattr(search.running.tune, "MultiHeadTrainable", FragileActor)


class IdleKiller(Silent):
    """Kills the process of a trial that has just ended, before it gets the next one."""

    def __init__(self, storage, numbers):
        self.storage, self.numbers, self.killed = storage, set(numbers), []

    def started(self, study, prepared, conductor):
        self.conductor = conductor

    def changed(self):
        for line in stub_run.notes(self.storage, "idle"):
            number, pid = map(int, line.split())
            if number in self.numbers and self.conductor.trials[number].has_ended:
                self.numbers.remove(number)
                assert is_alive(pid)
                kill(pid)
                wait_until(lambda pid=pid: not is_alive(pid))
                self.killed.append(pid)


KILLS = {
    "setup": (0,),
    "reset": (3, 5, 6),
    "step": (7,),
    "open": (8,),
    "epoch2": (9,),
    "state3": (10,),
    "report2": (11,),
    "report4": (12,),
}
"""By phase: the trials whose process dies there, once."""
SEEN_BY_NOBODY = 12
"""Dies when its last epoch is written and not reported: complete without another attempt."""


def test_trials_whose_processes_are_killed_anywhere_end_once_with_the_same_figures(
    tmp_path, fragile
):
    quiet = stub_study(tmp_path / "quiet", scheduler="fifo", **numbered(16))
    run(quiet, factory=stub_run.FACTORY)
    storage = tmp_path / "killed"
    study = stub_study(
        storage, scheduler="fifo", **numbered(16), resources={"cpu": 1, "concurrent": 2}
    )
    for phase, numbers in KILLS.items():
        for number in numbers:
            stub_run.plan_kill(storage, phase, number)
    killer = IdleKiller(storage, {13})

    result = run(study, factory=stub_run.FACTORY, watcher=killer)

    assert table(study) == table(quiet)
    assert num_ends(study) == dict.fromkeys(range(16), 1)
    rows = result.table().select(["number", "epoch"]).to_pylist()
    assert len({(row["number"], row["epoch"]) for row in rows}) == len(rows) == 16 * 4
    landed = [path.name.split(".")[0] for path in (storage / "landed").iterdir()]
    assert_all_landed(landed)
    assert len(killer.killed) == 1
    assert_charged_once(trials_of(study), landed, len(killer.killed))


def assert_all_landed(landed):
    for phase, numbers in KILLS.items():
        hit = [number for number in numbers if f"{phase}-{number}" in landed]
        # Whether a process is new or used is up to Ray; one of three is used, surely.
        assert hit if phase == "reset" else hit == list(numbers), (phase, landed)


def assert_charged_once(trials, landed, num_idle):
    """Each kill costs its trial one attempt; one between two trials costs the next trial one.

    A trial whose new process dies may already have been given a used one.
    """
    killed = Counter(int(name.split("-")[1]) for name in landed if not name.startswith("setup"))
    charged = Counter({trial.number: trial.charged_failures for trial in trials})
    assert killed <= charged
    assert (charged - killed).total() <= num_idle + sum("setup" in name for name in landed)
    for trial in trials:
        assert len(trial.attempts) == 1 + len(trial.releases) - (trial.number == SEEN_BY_NOBODY)
        assert all(release.cause == "lost" and release.charged for release in trial.releases)


def test_nothing_of_ours_lies_in_the_folder_of_a_ray_that_is_joined(tmp_path, one_ray):
    stub_run.plan_kill(tmp_path, "epoch2", -1)
    study = stub_study(tmp_path, budget={"trials": 2, "epochs": 4})

    run(study, factory=stub_run.FACTORY)

    assert len(list((tmp_path / "landed").iterdir())) == 1
    assert [path.name for path in one_ray.glob("session_2*/*") if path.name == "artifacts"] == []


def test_a_trials_end_and_the_next_trial_are_logged_at_the_same_moment(tmp_path):
    study = stub_study(tmp_path, scheduler="fifo", **numbered(3))

    run(study, factory=stub_run.FACTORY)

    segments = [segment for _, segment in StudyReader(Store(study.folder)).segments.read()]
    kinds = [[decision.kind for decision in segment] for segment in segments]
    assert kinds == [["opened"], ["asked"], *[["ended", "asked"]] * 2, ["ended"], ["closed"]]


def test_what_goes_wrong_in_a_training_fails_its_trial_and_leaves_the_process_warm(tmp_path):
    write_faults(
        tmp_path,
        {
            0: {"kind": "nan", "at": 2},
            1: {"kind": "inf", "at": 1, "head": 1},
            2: {"kind": "raise", "at": 3},
            3: {"kind": "exit", "at": 1},
            4: {"kind": "raise", "at": "open"},
        },
    )
    study = stub_study(tmp_path, scheduler="fifo", **numbered(6))

    result = run(study, factory=stub_run.FACTORY)

    assert [trial.state for trial in result.trials] == ["failed"] * 5 + ["complete"]
    reasons = [trial.reason for trial in result.trials]
    assert reasons[:2] == [
        "val_c_output_loss became NaN in epoch 2",
        "val_r_output_loss became infinite in epoch 1",
    ]
    assert [reason.split(" (")[0] for reason in reasons[2:]] == [
        "RuntimeError: the stub was told to fail",
        "SystemExit: 3",
        "RuntimeError: the stub was told to fail",
        "",
    ]
    assert [len(trial.measurements) for trial in result.trials] == [1, 0, 2, 0, 0, 4]
    assert result.best().number == 5
    assert len(set(stub_run.notes(tmp_path, "processes"))) == 1
    assert [trial.num_attempts for trial in result.trials] == [1] * 6


def test_tune_has_as_many_trials_as_ran_side_by_side_and_keeps_no_old_results(
    tmp_path, monkeypatch
):
    from ray.tune.execution.tune_controller import TuneController

    seen = []
    step = TuneController.step

    def noting_step(controller):
        step(controller)
        futures = controller._actor_manager._tracked_actors_to_task_futures.values()
        seen.append((len(controller.get_trials()), max(map(len, futures), default=0)))

    monkeypatch.setattr(TuneController, "step", noting_step)
    study = stub_study(
        tmp_path, scheduler="fifo", **numbered(20), resources={"cpu": 1, "concurrent": 2}
    )

    run(study, factory=stub_run.FACTORY)

    assert [trial.state for trial in trials_of(study)] == ["complete"] * 20
    assert max(trials for trials, _ in seen) == 2
    # Of the trial that a process is at: its four epochs, and how it began.
    assert max(results for _, results in seen) <= 6
    assert len(set(stub_run.notes(tmp_path, "processes"))) == 2


def test_a_training_that_ends_its_process_each_time_fails_after_three(tmp_path):
    write_faults(tmp_path, {0: {"kind": "os_exit", "at": 3}})
    study = stub_study(tmp_path, scheduler="fifo", **numbered(2))

    result = run(study, factory=stub_run.FACTORY)

    assert len(stub_run.notes(tmp_path, "exited")) == 3
    assert [trial.state for trial in result.trials] == ["failed", "complete"]
    assert result.trials[0].reason == "given up after 3 lost attempts: its process died (3x)"
    assert [m.epoch for m in result.trials[0].measurements] == [1, 2]


def test_a_process_that_has_grown_is_renewed_before_its_next_trial_and_nobody_is_charged(
    tmp_path, monkeypatch
):
    shares = search.cluster.shares.shares
    monkeypatch.setattr(
        search.cluster.capacity, "shares", lambda *given: replace(shares(*given), recycle_bytes=1)
    )
    study = stub_study(tmp_path, scheduler="fifo", **numbered(3))

    run(study, factory=stub_run.FACTORY)

    causes = [[(r.cause, r.charged) for r in trial.releases] for trial in trials_of(study)]
    assert causes == [[], [("recycled", False)], [("recycled", False)]]
    assert len(set(stub_run.notes(tmp_path, "processes"))) == 3


def test_a_failing_storage_ends_the_study_which_goes_on_once_it_is_mended(tmp_path):
    write_faults(tmp_path, {1: {"kind": "storage", "at": 2}})
    study = stub_study(tmp_path, scheduler="fifo", **numbered(3))

    with pytest.raises(
        StorageError, match="trial 1 cannot go on with what the storage does: no room left in the"
    ):
        run(study, factory=stub_run.FACTORY)

    assert [trial.charged_failures for trial in trials_of(study)] == [0, 0]
    (tmp_path / "faults.json").unlink()
    result = run(study, factory=stub_run.FACTORY)
    assert [trial.state for trial in result.trials] == ["complete"] * 3


class Curious(Silent):
    """Raises when it hears of the first measured epoch."""

    def started(self, study, prepared, conductor):
        self.conductor = conductor

    def changed(self):
        if self.conductor.live:
            raise LookupError("an error of our own")


def test_errors_of_our_own_code_come_out_of_tune_as_they_were_raised(tmp_path):
    study = stub_study(tmp_path, scheduler="fifo", **numbered(2))

    with pytest.raises(LookupError, match="an error of our own"):
        run(study, factory=stub_run.FACTORY, watcher=Curious())

    result = run(study, factory=stub_run.FACTORY)
    assert [trial.state for trial in result.trials] == ["complete"] * 2


def test_when_the_hours_are_over_the_study_is_done_with_what_it_has(tmp_path):
    write_faults(tmp_path, {1: {"kind": "slow", "at": 2, "seconds": 600}})
    study = stub_study(tmp_path, scheduler="fifo", **numbered(3))
    study = study.with_budget(hours=8 / 3600)

    result = run(study, factory=stub_run.FACTORY)

    *before, last = result.trials
    assert [trial.state for trial in before] in ([], ["complete"])
    assert (last.state, last.reason) == ("interrupted", "the budget's hours are over")
    assert is_done(study)
    (tmp_path / "faults.json").unlink()
    result = run(study.with_budget(hours=1.0), factory=stub_run.FACTORY)
    assert [trial.state for trial in result.trials] == ["complete"] * 3
