"""Where other tools leave a search in the wrong state: how a study with stub trainings ends."""

import ast
import json
import math
from pathlib import Path

import pytest

from search.record.decisions import Ended, Stopped
from search.running.conductor import Finished
from search.running.scheduler import make_scheduler
from search.space.space import SearchSpace
from tests.support import stub_run
from tests.support.conducted_study import BASELINES, Bench
from tests.support.suggesting import suggest

ROOT = Path(__file__).resolve().parents[2]
TRIALS, EPOCHS = 14, 4
SPACE = SearchSpace.from_mapping(
    {
        "conv1_filters": {"choice": [4, 8, 16]},
        "learning_rate": {"float": [1e-4, 1e-1], "log": True},
    }
)
NAN, INFINITE, RAISES = 0.25, 0.125, 0.5
FIRST = tuple(
    ({"conv1_filters": 4, "learning_rate": rate}, "start_with") for rate in (NAN, INFINITE, RAISES)
)
FAULTS = {
    NAN: {"kind": "nan", "at": 3},
    INFINITE: {"kind": "inf", "at": 2, "head": 1},
    RAISES: {"kind": "raise", "at": 2},
}


class Heard:
    """A scheduler that notes what it hears and lets another one decide."""

    def __init__(self, scheduler):
        self.scheduler, self.decided = scheduler, []

    def decide(self, number, epoch, losses):
        self.decided.append((number, epoch, dict(losses)))
        return self.scheduler.decide(number, epoch, losses)

    def restore(self, number, epoch, losses):
        self.scheduler.restore(number, epoch, losses)


class Two(Bench):
    """TPE and Pareto ASHA with two trials at once, and some that go wrong."""

    def __init__(self, storage, patch):
        super().__init__(storage, patch)
        named = {repr(rate): what for rate, what in FAULTS.items()}
        (storage / "faults.json").write_text(json.dumps(named))
        self.shown = {}
        self.running = {}

    def go_on(self):
        self.running = {}  # the actors of the owner before are gone
        scheduler = make_scheduler("pareto_asha", baselines=BASELINES, max_epochs=EPOCHS)
        self.heard = Heard(scheduler)
        self.conduct(self.heard, self.suggest, trials=TRIALS, epochs=EPOCHS, first=FIRST)

    def suggest(self, number, recorded):
        assert number not in self.shown, "a number was drawn for twice"
        self.shown[number] = {trial.number: trial for trial in recorded}
        return suggest(
            name="tpe", space=SPACE, seed=5, number=number, recorded=recorded, num_heads=2
        )

    def advance(self):
        """Fill both places, train an epoch of each; tell whether anything is left."""
        while len(self.running) < 2:
            envelope = self.conductor.ask()
            if envelope is None or isinstance(envelope, Finished):
                break
            self.running[envelope.number] = (envelope, self.actor(envelope))
        for number, (envelope, actor) in list(self.running.items()):
            if self.report(envelope, actor.step()):
                del self.running[number]
        return bool(self.running) or not self.conductor.is_finished

    def finish(self):
        while self.advance():
            pass


@pytest.fixture(name="study")
def two_at_once(tmp_path, monkeypatch):
    study = Two(tmp_path, monkeypatch)
    study.go_on()
    yield study
    study.close()


def test_every_trial_ends_in_the_state_that_it_deserves(study):
    study.finish()

    states = {trial.number: trial.state for trial in study.trials}
    assert {n: states[n] for n in range(3)} == dict.fromkeys(range(3), "failed")
    assert {states[n] for n in range(3, TRIALS)} == {"complete", "stopped"}
    reasons = [trial.reason for trial in study.trials[:3]]
    assert reasons[:2] == [
        "val_c_output_loss became NaN in epoch 3",
        "val_r_output_loss became infinite in epoch 2",
    ]
    assert reasons[2].startswith("RuntimeError: the stub was told to fail")
    ends = {one.number: one for one in study.decisions if isinstance(one, Ended)}
    stops = {one.number: one.epoch for one in study.decisions if isinstance(one, Stopped)}
    assert sorted(ends) == list(range(TRIALS))
    assert {n for n, end in ends.items() if end.state == "stopped"} == stops.keys()
    assert all(ends[number].epoch == epoch < EPOCHS for number, epoch in stops.items())
    assert study.conductor.in_flight == ()


def test_the_sampler_hears_of_a_stopped_trial_as_stopped_where_it_stood(study):
    study.finish()

    last = study.shown[TRIALS - 1]
    stopped = {trial.number: trial.stopped_at for trial in study.trials if trial.stopped_at}
    seen = {number: trial for number, trial in last.items() if trial.state == "stopped"}
    assert len(seen) > 1
    assert seen.keys() <= stopped.keys()
    assert all(trial.epoch <= stopped[number] for number, trial in seen.items())
    assert all(math.isfinite(s) for trial in seen.values() for s in trial.log_skills)


def test_the_scheduler_hears_of_all_heads_after_every_epoch(study):
    study.finish()

    heard = {(number, epoch): losses for number, epoch, losses in study.heard.decided}
    for trial in study.trials:
        for one in trial.measurements:
            assert heard[trial.number, one.epoch] == one.losses
    assert {tuple(losses) for losses in heard.values()} == {tuple(BASELINES)}


@pytest.mark.parametrize("rounds", [1, 4, 9])
def test_a_study_that_is_taken_over_repeats_no_number_and_no_draw(study, rounds):
    for _ in range(rounds):
        study.advance()
    before = [(trial.number, dict(trial.config)) for trial in study.trials]
    finished = [trial for trial in study.trials if trial.has_ended]

    study.go_on()
    study.finish()

    after = [(trial.number, dict(trial.config)) for trial in study.trials]
    assert after[: len(before)] == before
    assert [number for number, _ in after] == list(range(TRIALS))
    assert len({tuple(config.values()) for _, config in after}) == TRIALS
    assert [study.trials[trial.number] for trial in finished] == finished
    assert "running" not in study.states
    trained = stub_run.notes(study.storage, "trained")
    assert len(trained) == len(set(trained))


@pytest.mark.parametrize(
    "space",
    [
        pytest.param({"rate": {"float": [0.1, 1.0], "log": True, "step": 0.1}}, id="log_and_step"),
        pytest.param({"a/b": {"float": [0.1, 1.0]}}, id="slash"),
        pytest.param({"a": {"b": {"float": [0.1, 1.0]}}}, id="nested"),
    ],
)
def test_what_other_tools_bend_is_refused_in_a_space(space):
    with pytest.raises(ValueError, match=r"space|a needs"):
        SearchSpace.from_mapping(space)


FORBIDDEN = ("Tuner.restore", "RDBStorage", "JournalStorage", "load_study", "OptunaSearch")


def test_nothing_is_restored_from_a_snapshot_of_tune_or_a_database_of_optuna():
    for path in [*ROOT.glob("search/**/*.py"), *ROOT.glob("trainables/**/*.py")]:
        names = {
            ast.unparse(node)
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Name | ast.Attribute | ast.alias)
        }
        assert not [name for name in names if name.endswith(FORBIDDEN)], path.name
