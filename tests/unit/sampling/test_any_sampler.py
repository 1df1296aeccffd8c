"""Any sampler of Optuna's interface in a study, by its class."""

import math
from dataclasses import replace

import pytest

from search.errors import InputError
from search.sampling.suggest import Suggester, check_sampler
from search.sampling.trials import Continue, RecordedTrial
from search.space.space import SearchSpace
from tests.support.own_samplers import TellingSampler

SPACE = SearchSpace.from_mapping(
    {
        "filters": {"choice": [8, 16, 32]},
        "optimizer": {"choice": ["adam", "sgd"]},
        "rate": {"float": [1e-4, 1e-1], "log": True},
        "units": {"int": [8, 512]},
    }
)
TPE, QMC = "optuna.samplers:TPESampler", "optuna.samplers:QMCSampler"
TELLING, AGAIN = (
    "tests.support.own_samplers:TellingSampler",
    "tests.support.own_samplers:AgainSampler",
)


class Studied:
    """A study that trains one trial after the other."""

    def __init__(self, sampler, *, seed=0):
        self.suggester = Suggester(sampler, SPACE, seed=seed, num_objectives=2, epochs=3)
        self.trials = []

    def go_on(self, count, state="complete"):
        """Return the configs of so many more trials."""
        for number in range(len(self.trials), len(self.trials) + count):
            answer = self.suggester.suggest(number)
            rate = math.log(answer.config["rate"])
            skills = (abs(rate + 5), abs(rate + 4) + answer.config["units"] / 512)
            trial = RecordedTrial(
                number=number,
                config=answer.config,
                state=state,
                log_skills=skills,
                curve=(skills,),
                system_attrs=answer.system_attrs,
            )
            self.trials.append(trial)
            self.suggester.put(trial)
        return [trial.config for trial in self.trials[-count:]]


@pytest.mark.parametrize(
    "sampler",
    [
        {"name": "ehvi", "n_startup_trials": 3, "explore": 0.5},
        {"name": "tpe", "n_startup_trials": 3, "multivariate": False},
        {"name": "nsga2", "population_size": 4, "mutation_prob": 0.5},
        {"name": TPE, "n_startup_trials": 3},
        "optuna.samplers:NSGAIIISampler",
        "search.sampling.ehvi:EHVISampler",
    ],
    ids=str,
)
def test_a_study_that_is_taken_up_again_draws_what_it_would_have_drawn(sampler):
    whole = Studied(sampler)
    configs = whole.go_on(14)
    resumed = Studied(sampler)
    for trial in whole.trials[:10]:
        resumed.suggester.put(trial)
    resumed.trials = whole.trials[:10]

    assert all(map(SPACE.contains, configs))
    assert resumed.go_on(4) == configs[10:]


def test_options_change_what_is_drawn():
    few, many = (Studied({"name": TPE, "n_startup_trials": num}).go_on(9) for num in (4, 100))

    assert few[:4] == many[:4]
    assert few[5:] != many[5:]


def test_a_state_of_its_own_goes_on_from_trial_to_trial_and_begins_anew_in_another_run():
    study = Studied(QMC)
    configs = study.go_on(8)

    anew = Studied(QMC)
    assert anew.go_on(8) == configs
    # Points of one sequence: each half of every range has as many.
    middle = math.sqrt(1e-4 * 1e-1)
    assert abs(sum(config["rate"] < middle for config in configs) - 4) <= 1

    resumed = Studied(QMC)
    for trial in study.trials:
        resumed.suggester.put(trial)
    resumed.trials = list(study.trials)
    assert resumed.go_on(1) != study.go_on(1)


def test_a_sampler_that_keeps_a_state_is_told_how_the_trials_that_it_drew_ended():
    study = Studied({"name": TELLING, "sign": "-"})
    earlier = {"filters": 16, "optimizer": "sgd", "rate": 1e-2, "units": 64}
    study.suggester.put(
        RecordedTrial(number=-1, config=earlier, state="interrupted", log_skills=(1.0, 1.0))
    )

    study.go_on(3)
    study.suggester.suggest(3)

    ended = [("COMPLETE", trial.log_skills) for trial in study.trials]
    assert [(state, values) for _, state, values in TellingSampler.told] == ended
    assert [known for known, _, _ in TellingSampler.told] == [0, 1, 2]
    assert all(trial.system_attrs == {} for trial in study.trials)


def test_a_sampler_with_the_method_for_it_takes_stopped_trials_up_again():
    study = Studied(AGAIN)
    study.go_on(1, "stopped")
    assert study.suggester.suggest(1) == Continue(number=0)

    study.suggester.put(replace(study.trials[0], state="running"))

    assert SPACE.contains(study.suggester.suggest(1).config)


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        pytest.param(
            {"name": TPE, "n_startup": 3},
            "sampler 'optuna.samplers:TPESampler' has no options .'n_startup'.; it has .*seed",
            id="option",
        ),
        pytest.param("optuna.samplers:Nothing", "cannot be imported: AttributeError", id="class"),
        pytest.param("no.such:Sampler", "cannot be imported: ModuleNotFoundError", id="module"),
        pytest.param(
            "tests.support.own_samplers:no_class", "needs a class of Optuna samplers", id="type"
        ),
        pytest.param(
            "tests.support.own_samplers:OneGoalSampler",
            "cannot suggest a config: ValueError: If the study is being used for multi-objective",
            id="objectives",
        ),
        pytest.param(
            {"name": TPE, "n_startup_trials": "many"},
            "sampler 'optuna.samplers:TPESampler' cannot suggest a config: TypeError",
            id="value",
        ),
    ],
)
def test_a_sampler_that_cannot_be_used_is_refused_before_a_study_begins(sampler, message):
    with pytest.raises(InputError, match=message):
        check_sampler(sampler, SPACE, 2)


@pytest.mark.parametrize("sampler", ["ehvi", TPE, QMC, {"name": "ehvi", "explore": 0.2}], ids=str)
def test_a_sampler_that_can_be_used_is_not_refused(sampler):
    check_sampler(sampler, SPACE, 3)
    check_sampler("tests.support.own_samplers:OneGoalSampler", SPACE, 1)


@pytest.mark.parametrize(
    "sampler",
    [
        pytest.param("optuna.samplers:BruteForceSampler", id="of_a_finite_space"),
        pytest.param(
            {"name": "optuna.samplers:GridSampler", "search_space": {"filters": [0, 1]}},
            id="of_its_own_space",
        ),
    ],
)
def test_a_sampler_that_ends_a_study_does_not_end_ours(sampler):
    space = SearchSpace.from_mapping({"filters": {"choice": [8, 16]}})

    check_sampler(sampler, space, 1)


def test_what_takes_up_a_trial_that_nothing_stopped_is_refused():
    study = Studied("tests.support.own_samplers:WrongSampler")

    with pytest.raises(InputError, match="take_up needs the number of a stopped trial, got 99"):
        study.go_on(1)
