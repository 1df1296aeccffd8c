"""Which config to try next."""

import json
import logging
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.sampling.trials import RecordedTrial, Suggestion, sub_seed
from search.space.encoding import key_of
from search.space.parameters import Choice, Float, Int
from search.space.space import SearchSpace
from tests.support.suggesting import suggest

STARTUP_TRIALS, POPULATION = 10, 8
GENERATION = "NSGAIISampler:generation"
SAMPLERS = ("ehvi", "tpe", "random", "nsga2", "qmc")
"""Those that draw from any space; what holds for all others too stands in test_samplers.py."""
SPACE = SearchSpace(
    parameters=(
        ("conv1_filters", Choice(values=(8, 16, 32, 64))),
        ("c_output_units", Int(low=32, high=256, log=True)),
        ("dropout", Float(low=0.0, high=0.5)),
        ("learning_rate", Float(low=3e-4, high=1e-2, log=True)),
        ("batch_size", 64),
    )
)
SMALL = SearchSpace(parameters=(("a", Choice(values=("x", "y", "z"))), ("b", Int(low=1, high=4))))
FINITE_LOSS = st.floats(-7.0, 2.0)


def ask(space=SPACE, *, name="tpe", seed=0, number=None, recorded=(), num_heads=2):
    number = len(recorded) if number is None else number
    return suggest(
        name=name, space=space, seed=seed, number=number, recorded=recorded, num_heads=num_heads
    )


def trial(number, suggestion, state="complete", log_skills=None):
    return RecordedTrial(
        number=number,
        config=suggestion.config,
        state=state,
        log_skills=log_skills,
        epoch=3,
        system_attrs=suggestion.system_attrs,
    )


def log_skills(config):
    """Two heads that want different learning rates and both a dropout of 0.2."""
    rate = math.log(config["learning_rate"])
    miss = 4 * abs(config["dropout"] - 0.2) + 0.3 * abs(math.log(config["c_output_units"] / 128))
    miss += 0.2 * abs(math.log2(config["conv1_filters"] / 32))
    return (abs(rate - math.log(1e-3)) + miss - 4, abs(rate - math.log(4e-3)) + miss - 4)


def run(num_trials, *, space=SPACE, name="tpe", seed=0, objective=log_skills):
    """Return the trials of a study that trains one after the other."""
    recorded = []
    for number in range(num_trials):
        suggestion = ask(space, name=name, seed=seed, recorded=recorded)
        recorded.append(trial(number, suggestion, log_skills=objective(suggestion.config)))
    return recorded


STARTED = run(STARTUP_TRIALS + 4)


@pytest.mark.parametrize("name", SAMPLERS)
def test_other_numbers_and_other_seeds_give_other_configs(name):
    configs = [
        ask(name=name, recorded=STARTED, number=20 + number, seed=seed).config
        for number in range(3)
        for seed in (0, 1, 2**40)
    ]

    assert len({json.dumps(config) for config in configs}) == 9


def test_random_draws_what_a_study_of_optunas_draws():
    import optuna

    one = SearchSpace(parameters=(("alone", Choice(values=(8,))), *SMALL.parameters))
    suggested = ask(one, name="random", seed=3).config

    optuna.logging.set_verbosity(logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(sub_seed(3, 0, 0)))
    drawn = study.ask(
        {
            "a": optuna.distributions.CategoricalDistribution((0, 1, 2)),
            "alone": optuna.distributions.IntDistribution(0, 0),
            "b": optuna.distributions.IntDistribution(1, 4),
        }
    ).params
    assert suggested == {"alone": 8, "a": "xyz"[drawn["a"]], "b": drawn["b"]}


def test_random_does_not_depend_on_what_is_recorded():
    assert ask(name="random", recorded=STARTED, number=20) == ask(name="random", number=20)


def test_tpe_keeps_away_from_running_trials():
    alone = ask(recorded=STARTED, number=20)
    near = replace(alone, config={**alone.config, "dropout": alone.config["dropout"] + 1e-3})
    beside = [trial(number, near, state="running") for number in range(14, 19)]

    assert ask(recorded=[*STARTED, *beside], number=20) != alone


@pytest.mark.parametrize("name", SAMPLERS)
def test_all_trials_may_have_failed(name):
    recorded = [replace(record, state="failed", log_skills=None) for record in STARTED]

    assert ask(name=name, recorded=recorded).config.keys() == dict(SPACE.parameters).keys()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"conv1_filters": 48}, id="choice"),
        pytest.param({"c_output_units": 512}, id="int_above"),
        pytest.param({"dropout": -0.1}, id="float_below"),
        pytest.param({"dropout": True}, id="other_type"),
        pytest.param({"batch_size": 32}, id="constant"),
    ],
)
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_trial_that_does_not_lie_in_the_space_is_left_out(name, change):
    outside = RecordedTrial(
        number=99,
        config={**STARTED[0].config, **change},
        state="complete",
        log_skills=(-9.0, -9.0),
    )

    assert ask(name=name, recorded=[*STARTED, outside], number=30) == ask(
        name=name, recorded=STARTED, number=30
    )


def test_a_config_may_name_more_than_the_space_does():
    extra = replace(STARTED[0], config={**STARTED[0].config, "kernel_size": 3})

    assert ask(recorded=[extra, *STARTED[1:]]) == ask(recorded=STARTED)


@pytest.mark.parametrize("num_heads", [1, 3])
@pytest.mark.parametrize("name", SAMPLERS)
def test_any_number_of_heads_can_be_searched_at_once(name, num_heads):
    recorded = []
    for number in range(STARTUP_TRIALS + POPULATION):
        suggestion = ask(name=name, recorded=recorded, num_heads=num_heads)
        point = (*log_skills(suggestion.config), suggestion.config["dropout"])[:num_heads]
        recorded.append(trial(number, suggestion, log_skills=point))

    assert len({json.dumps(record.config) for record in recorded}) == len(recorded)


def test_a_point_of_another_number_of_heads_is_refused():
    with pytest.raises(ValueError, match="trial 0 needs 3 log skills, got 2"):
        ask(recorded=STARTED, num_heads=3)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_space_with_nothing_to_search_gives_its_constants(name):
    space = SearchSpace(parameters=(("dropout", 0.1), ("optimizer", "adam")))

    assert ask(space, name=name) == Suggestion(
        config={"dropout": 0.1, "optimizer": "adam"}, system_attrs={}
    )


def test_a_config_has_plain_values_in_the_order_of_the_space():
    suggestion = ask(recorded=STARTED)

    assert list(suggestion.config) == [name for name, _ in SPACE.parameters]
    assert [type(value) for value in suggestion.config.values()] == [int, int, float, float, int]
    assert suggestion.config["batch_size"] == 64


def bounds(kind):
    return st.tuples(kind, kind).map(sorted).filter(lambda pair: pair[0] <= pair[1])


KIND = st.one_of(
    bounds(st.integers(-50, 50)).map(lambda b: Int(low=b[0], high=b[1])),
    st.tuples(bounds(st.integers(-50, 50)), st.integers(1, 3), st.integers(1, 9)).map(
        lambda t: Int(low=t[0][0], high=t[0][0] + t[1] * t[2], step=t[1])
    ),
    bounds(st.integers(1, 10_000)).map(lambda b: Int(low=b[0], high=b[1], log=True)),
    bounds(st.floats(-1e3, 1e3)).map(lambda b: Float(low=b[0], high=b[1])),
    bounds(st.floats(1e-6, 1e3)).map(lambda b: Float(low=b[0], high=b[1], log=True)),
    st.tuples(st.integers(-5, 5), st.integers(1, 9)).map(
        lambda t: Float(low=t[0] / 10, high=(t[0] + t[1]) / 10, step=0.1)
    ),
    st.lists(st.sampled_from([3, 2.5, "a", True, 7]), min_size=1, unique=True).map(
        lambda values: Choice(values=tuple(values))
    ),
)


@settings(max_examples=25, deadline=None)
@given(
    kinds=st.lists(KIND, min_size=1, max_size=4),
    name=st.sampled_from(SAMPLERS),
    points=st.lists(st.tuples(FINITE_LOSS, FINITE_LOSS), min_size=15, max_size=15),
)
def test_every_suggestion_lies_in_the_space_and_survives_json(kinds, name, points):
    space = SearchSpace(parameters=tuple((f"p{i}", kind) for i, kind in enumerate(kinds)))
    recorded = []

    for number, point in enumerate(points):
        suggestion = ask(space, name=name, recorded=recorded)
        again = json.loads(json.dumps([suggestion.config, suggestion.system_attrs]))
        assert again == [suggestion.config, suggestion.system_attrs]
        assert key_of(dict(space.searched), {}, suggestion.config) is not None
        recorded.append(trial(number, suggestion, log_skills=point))


def test_steps_are_counted_in_decimals():
    space = SearchSpace(parameters=(("dropout", Float(low=0.0, high=0.5, step=0.1)),))

    values = sorted(record.config["dropout"] for record in run_flat(space, 6))

    assert values == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_both_ends_of_a_range_of_ints_are_drawn():
    space = SearchSpace(parameters=(("num", Int(low=2, high=5)),))

    assert sorted(record.config["num"] for record in run_flat(space, 4)) == [2, 3, 4, 5]


def run_flat(space, num_trials, name="random"):
    """Return the trials of a study in which all configs are equally good."""
    return run(num_trials, space=space, name=name, objective=lambda config: (-1.0, -1.0))


@pytest.mark.parametrize(
    ("state", "may_repeat"),
    [
        ("running", False),
        ("failed", False),
        ("stopped", False),
        ("complete", False),
        ("interrupted", True),
    ],
)
def test_only_the_config_of_an_interrupted_trial_is_suggested_again(state, may_repeat):
    first = ask(name="random")
    other = trial(7, first, state=state, log_skills=(-1.0, -1.0))

    assert (ask(name="random", recorded=[other], number=0) == first) is may_repeat


def test_nsga2_moves_through_generations_from_what_is_recorded_alone():
    recorded = run(3 * POPULATION + 1, name="nsga2")

    generations = [record.system_attrs[GENERATION] for record in recorded]

    assert generations == [number // POPULATION for number in range(3 * POPULATION + 1)]


def test_nsga2_breeds_from_the_first_generation():
    recorded = run(2 * POPULATION, name="nsga2")
    parents, children = recorded[:POPULATION], recorded[POPULATION:]
    rates = {record.config["learning_rate"] for record in parents}

    inherited = [child for child in children if child.config["learning_rate"] in rates]

    assert len(inherited) >= POPULATION // 2


def test_nsga2_counts_trials_that_it_did_not_suggest_as_its_first_generation():
    recorded = [replace(record, system_attrs={}) for record in run(POPULATION, name="random")]

    assert ask(name="nsga2", recorded=recorded).system_attrs[GENERATION] == 1


def test_optunas_log_stays_quiet_and_as_loud_as_it_was(capsys):
    import optuna

    optuna.logging.set_verbosity(logging.INFO)
    ask()

    assert optuna.logging.get_verbosity() == logging.INFO
    assert capsys.readouterr().err == ""


def hypervolume(recorded):
    """Return the area between the points and (0, 0), where both heads are at baseline."""
    points = sorted(record.log_skills for record in recorded)
    area, ceiling = 0.0, 0.0
    for first, second in points:
        if first < 0 and second < ceiling:
            area += -first * (ceiling - second)
            ceiling = second
    return area


@pytest.mark.slow
def test_tpe_and_nsga2_find_a_better_front_than_random():
    areas = {
        name: np.mean([hypervolume(run(40, name=name, seed=seed)) for seed in range(5)])
        for name in ("tpe", "nsga2", "random")
    }

    assert areas["tpe"] > 1.1 * areas["random"]
    assert areas["nsga2"] > areas["random"]
