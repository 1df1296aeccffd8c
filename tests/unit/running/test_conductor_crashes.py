"""A study that is cut anywhere, and taken over, ends as one that nobody disturbed."""

import json

import pytest

from search.running.attempts import AttemptEnd
from search.running.conductor import Finished
from search.running.scheduler import make_scheduler
from search.space.space import SearchSpace
from tests.support import stub_run
from tests.support.conducted_study import BASELINES, Bench, Cut, counted_writes
from tests.support.suggesting import suggest

TRIALS, EPOCHS = 7, 4
SPACE = SearchSpace.from_mapping(
    {
        "conv1_filters": {"choice": [4, 8, 16]},
        "learning_rate": {"float": [1e-4, 1e-1], "log": True},
    }
)
FIRST = (
    ({"conv1_filters": 64, "learning_rate": 0.5}, "reference"),
    ({"conv1_filters": 4, "learning_rate": 0.25}, "start_with"),
)
FAULTS = {"0.25": {"kind": "nan", "at": 3}}


class Study(Bench):
    """Two first trials, one of which fails, then TPE; Pareto ASHA; one trial at a time."""

    def __init__(self, storage, patch):
        super().__init__(storage, patch)
        storage.mkdir(exist_ok=True)
        (storage / "faults.json").write_text(json.dumps(FAULTS))

    def go_on(self):
        self.conduct(
            make_scheduler("pareto_asha", baselines=BASELINES, max_epochs=EPOCHS),
            self.suggest,
            trials=TRIALS,
            epochs=EPOCHS,
            first=FIRST,
        )

    def suggest(self, number, recorded):
        sampler = {"name": "tpe", "n_startup_trials": 2}
        return suggest(
            name=sampler, space=SPACE, seed=5, number=number, recorded=recorded, num_heads=2
        )

    @property
    def trained(self):
        """Return what was trained: (config's key, epoch)."""
        return stub_run.notes(self.storage, "trained")


@pytest.fixture(name="undisturbed")
def undisturbed_study(tmp_path, monkeypatch):
    study = Study(tmp_path / "undisturbed", monkeypatch)
    study.go_on()
    with counted_writes() as counter:
        study.finish()
    study.num_writes = counter.count
    assert {"complete", "stopped", "failed"} == set(study.states)
    return study


@pytest.mark.slow
def test_a_study_that_is_cut_before_any_write_ends_with_the_table_of_an_undisturbed_one(
    undisturbed, tmp_path, monkeypatch
):
    assert undisturbed.num_writes > 80
    for cut_at in range(undisturbed.num_writes):
        study = Study(tmp_path / str(cut_at), monkeypatch)
        study.go_on()
        with counted_writes() as counter:
            counter.cut_at = cut_at
            with pytest.raises(Cut):
                study.finish()
        study.go_on()
        study.finish()

        assert study.table == undisturbed.table, cut_at
        assert len(study.trained) <= len(undisturbed.trained) + 1, cut_at
        assert all(trial.charged_failures == 0 for trial in study.trials)
        study.close()


@pytest.mark.slow
def test_a_study_that_is_cut_again_and_again_ends_with_the_table_of_an_undisturbed_one(
    undisturbed, tmp_path, monkeypatch
):
    study = Study(tmp_path / "often", monkeypatch)
    for every in range(9, 200):
        with counted_writes() as counter:
            counter.cut_at = every
            try:
                study.go_on()
                study.finish()
                break
            except Cut:
                continue

    assert every > 12
    assert study.table == undisturbed.table


@pytest.mark.slow
def test_an_actor_that_is_cut_before_any_write_is_replaced_and_charged_once(
    undisturbed, tmp_path, monkeypatch
):
    landed = 0
    for cut_at in range(undisturbed.num_writes):
        study = Study(tmp_path / str(cut_at), monkeypatch)
        study.go_on()
        num_cuts = finish_with_actors_cut(study, cut_at)
        if num_cuts == 0:
            break
        landed += 1

        assert study.table == undisturbed.table, cut_at
        assert sum(trial.charged_failures for trial in study.trials) == 1
        assert len(study.trained) <= len(undisturbed.trained) + 1, cut_at
        study.close()
    assert landed > 50


def finish_with_actors_cut(study, cut_at):
    """Train to the end; kill the actor that is about to make this write. Return the kills."""
    num_cuts = 0
    with counted_writes() as counter:
        counter.cut_at, counter.is_on = cut_at, False
        while not isinstance(envelope := study.conductor.ask(), Finished):
            actor, is_over = study.actor(envelope), False
            while not is_over:
                counter.is_on = num_cuts == 0
                try:
                    step = actor.step()
                except Cut:
                    num_cuts += 1
                    counter.is_on = False
                    study.conductor.lost(envelope.number, envelope.attempt, AttemptEnd())
                    break
                counter.is_on = False
                is_over = study.report(envelope, step)
    return num_cuts
