"""Behaviour of Optuna that the search defends against.

A test that fails here after an upgrade is news, not a defect: look at what the defence costs.
"""

import math

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]

X = {"x": FloatDistribution(0.0, 1.0)}
TWO = ["minimize", "minimize"]


def tpe(**options):
    return optuna.samplers.TPESampler(seed=0, n_startup_trials=2, **options)


def known(x, *, state=TrialState.COMPLETE, **given):
    if state == TrialState.COMPLETE:
        given["values"] = [x, 1.0 - x]
    return create_trial(state=state, params={"x": x}, distributions=X, **given)


def two_objectives(*trials, **options):
    study = optuna.create_study(directions=TWO, sampler=tpe(**options))
    study.add_trials([known(place / 10) for place in range(6)] + list(trials))
    return study


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda trial: trial.report(1.0, step=1), id="report"),
        pytest.param(lambda trial: trial.should_prune(), id="should_prune"),
    ],
)
def test_a_trial_of_two_objectives_can_be_neither_reported_nor_pruned(ask):
    trial = optuna.create_study(directions=TWO).ask()

    with pytest.raises(NotImplementedError, match="not supported for multi-objective"):
        ask(trial)


def test_two_objectives_have_a_front_and_no_best_trial():
    study = two_objectives(create_trial(state=TrialState.COMPLETE, values=[2.0, 2.0]))

    assert [trial.number for trial in study.best_trials] == list(range(6))
    with pytest.raises(RuntimeError, match="single best trial cannot be retrieved"):
        _ = study.best_trial


def test_tpe_puts_every_complete_trial_before_every_pruned_one():
    from optuna.samplers._tpe.sampler import _split_trials

    study = optuna.create_study()
    study.add_trial(create_trial(state=TrialState.COMPLETE, value=100.0))
    study.add_trial(create_trial(state=TrialState.PRUNED, intermediate_values={9: -1.0}))

    good, bad = _split_trials(study, study.trials, 1)

    assert [trial.state.name for trial in good + bad] == ["COMPLETE", "PRUNED"]


def test_a_pruned_trial_of_two_objectives_is_bad_whatever_it_reached():
    from optuna.samplers._tpe.sampler import _split_trials

    study = two_objectives(known(0.45, state=TrialState.PRUNED))

    good, bad = _split_trials(study, study.trials, 2)

    assert {trial.state.name for trial in good} == {"COMPLETE"}
    assert "PRUNED" in {trial.state.name for trial in bad}


def test_a_pruned_trial_of_two_objectives_with_intermediate_values_ends_the_sampler():
    reported = known(0.45, state=TrialState.PRUNED, intermediate_values={1: 0.5})

    with pytest.raises(RuntimeError, match="single direction cannot be retrieved"):
        two_objectives(reported).ask(X)


def test_tpe_takes_parameters_together_for_one_objective_and_one_by_one_for_several():
    sampler = optuna.samplers.TPESampler()
    one, two = optuna.create_study(), optuna.create_study(directions=TWO)

    assert sampler._is_multivariate(one)
    assert not sampler._is_multivariate(two)
    assert sampler._constant_liar


def test_a_value_outside_its_distribution_is_refused():
    with pytest.raises(ValueError, match="isn't contained in the distribution"):
        known(2.0)


def test_a_step_on_a_log_scale_is_refused():
    with pytest.raises(ValueError, match="`step` is not supported when `log` is true"):
        FloatDistribution(0.1, 1.0, log=True, step=0.1)


@pytest.mark.filterwarnings("ignore:The value nan is not acceptable")
def test_told_alone_nan_fails_a_trial_and_an_infinity_completes_it():
    study = optuna.create_study()

    assert study.tell(study.ask(), math.nan).state == TrialState.FAIL
    assert study.tell(study.ask(), math.inf).state == TrialState.COMPLETE


def test_the_same_seed_draws_the_same_again_whatever_is_known():
    first = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=7))
    again = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=7))
    again.add_trial(known(0.5, state=TrialState.FAIL))

    assert first.ask(X).params == again.ask(X).params
