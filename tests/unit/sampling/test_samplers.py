"""What holds for every sampler, in spaces with and without conditions."""

import json
import math
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.errors import InputError
from search.sampling.exhaustive import _shuffled
from search.sampling.trials import RecordedTrial
from search.space.encoding import key_of, most_trials
from search.space.parameters import Choice, Float, Int
from search.space.space import SearchSpace
from search.study.samplers import SAMPLERS, misfit
from tests.support.suggesting import suggest

STARTUP_TRIALS, POPULATION = 10, 8
"""Of tpe and nsga2, where nothing else is said."""
SMALL = SearchSpace.from_mapping(
    {"a": {"choice": ["x", "y", "z"]}, "b": {"int": [1, 4]}, "c": {"float": [0, 1], "step": 0.5}}
)
BLOCKS = SearchSpace.from_mapping(
    {
        "conv1_filters": {"choice": [8, 16]},
        "conv2_filters": {"choice": [8, 16, 32]},
        "conv3_filters": 64,
        "num_conv_blocks": {"int": [1, 3]},
        "batch_norm": {"choice": [True, False]},
    }
)
"""2 + 2 * 3 + 2 * 3 configs, each twice."""
NUM_BLOCKS = 28
NEEDS_TORCH = pytest.mark.skipif(find_spec("torch") is None, reason="the extra gp brings torch")
EVERY = [pytest.param(n, marks=NEEDS_TORCH if s.extra else ()) for n, s in SAMPLERS.items()]
QUICK = [name for name, sampler in SAMPLERS.items() if not sampler.extra]
BOTH = [pytest.param(SMALL, id="plain"), pytest.param(BLOCKS, id="conditional")]


def fits(name, space):
    if misfit(name, space):
        pytest.skip("refused")


def ask(space, name, recorded, *, seed=0, number=None):
    number = len(recorded) if number is None else number
    return suggest(
        name=name, space=space, seed=seed, number=number, recorded=recorded, num_heads=2, epochs=3
    )


def point(config):
    """Two heads, of which one likes many values of the first letters of the alphabet."""
    total = sum(len(name) * hash_of(value) for name, value in config.items())
    return (math.sin(total) - 1.0, math.cos(3 * total) - 1.0)


def hash_of(value):
    return sum(json.dumps(value).encode()) / 100


def run(space, name, count, *, seed=0, num_running=0):
    """Return the trials of a study of which some are always running."""
    recorded = []
    for number in range(count):
        suggestion = ask(space, name, recorded, seed=seed)
        recorded.append(
            RecordedTrial(
                number=number,
                config=suggestion.config,
                state="running",
                system_attrs=suggestion.system_attrs,
            )
        )
        done = number - num_running
        if done >= 0:
            skills = point(recorded[done].config)
            recorded[done] = replace(
                recorded[done], state="complete", log_skills=skills, curve=curve_to(skills)
            )
    return recorded


def curve_to(skills):
    """Return a curve that ends at the point."""
    return tuple(tuple(share * skill for skill in skills) for share in (0.5, 0.75, 1.0))


def texts(recorded):
    return {json.dumps(trial.config, sort_keys=True) for trial in recorded}


@pytest.mark.parametrize("space", BOTH)
@pytest.mark.parametrize("name", EVERY)
def test_a_suggestion_depends_on_its_arguments_alone_and_not_on_their_order(name, space):
    fits(name, space)
    recorded = run(space, "random", STARTUP_TRIALS + 4, num_running=2)
    shuffled_trials = [recorded[i] for i in np.random.default_rng(0).permutation(len(recorded))]
    copies = [replace(trial, config=dict(trial.config)) for trial in recorded]
    turned = SearchSpace(parameters=tuple(reversed(space.parameters)))

    suggestion = ask(space, name, recorded)

    assert ask(space, name, shuffled_trials) == suggestion
    assert ask(space, name, copies) == suggestion
    assert ask(turned, name, recorded) == suggestion


@pytest.mark.parametrize("space", BOTH)
@pytest.mark.parametrize("name", EVERY)
def test_every_config_lies_in_the_space_and_survives_json(name, space):
    fits(name, space)

    for trial in run(space, name, STARTUP_TRIALS + 6, num_running=3):
        assert space.contains(trial.config)
        assert list(trial.config) == [n for n, _ in space.parameters if n in trial.config]
        assert json.loads(json.dumps(trial.config)) == trial.config
        assert json.loads(json.dumps(trial.system_attrs)) == trial.system_attrs


@pytest.mark.parametrize("num_running", [0, 4])
@pytest.mark.parametrize("space", BOTH)
@pytest.mark.parametrize("name", QUICK)
def test_a_finite_space_is_tried_to_its_end_without_a_repeat(name, space, num_running):
    fits(name, space)

    recorded = run(space, name, space.size, num_running=num_running)

    assert len(texts(recorded)) == space.size
    assert json.dumps(ask(space, name, recorded).config, sort_keys=True) in texts(recorded)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"state": "failed"}, id="failed"),
        pytest.param({"log_skills": (math.nan, 0.0)}, id="nan"),
        pytest.param({"log_skills": (0.0, -math.inf)}, id="infinite"),
        pytest.param({"state": "stopped", "log_skills": None}, id="stopped_without_a_point"),
    ],
)
def test_a_trial_without_a_finite_point_teaches_nothing_and_is_not_tried_again(name, change):
    recorded = run(SMALL, "random", STARTUP_TRIALS + 4)
    bad = replace(recorded[3], **change)
    others = [*recorded[:3], *recorded[4:]]
    failed = replace(recorded[3], state="failed", log_skills=None)

    suggestion = ask(SMALL, name, [*others, bad], number=30)

    assert suggestion == ask(SMALL, name, [*others, failed], number=30)
    assert suggestion.config != bad.config


@pytest.mark.parametrize("state", ["stopped", "interrupted"])
@pytest.mark.parametrize("name", EVERY)
def test_a_point_that_a_trial_reached_counts_whatever_ended_it(name, state):
    recorded = run(SMALL, "random", STARTUP_TRIALS + 4)
    # With its curve a stopped trial could be taken up again: see test_ehvi.py.
    recorded = [replace(trial, curve=()) for trial in recorded]
    ended = [replace(trial, state=state) for trial in recorded]
    others = ask(SMALL, name, ended, number=30)

    if state == "interrupted":  # its config may be suggested again
        assert others.config.keys() == dict(SMALL.parameters).keys()
    else:
        assert others == ask(SMALL, name, recorded, number=30)


@pytest.mark.parametrize("name", EVERY)
def test_the_config_of_a_running_trial_is_not_suggested_beside_it(name):
    running = [replace(trial, state="running") for trial in run(SMALL, "random", 12)]

    suggestions = [ask(SMALL, name, running, number=number) for number in range(20, 26)]

    assert not {json.dumps(s.config, sort_keys=True) for s in suggestions} & texts(running)


@settings(max_examples=30, deadline=None)
@given(
    depths=st.sampled_from([{"int": [1, 3]}, {"choice": [3, 1]}, {"int": [2, 2]}]),
    filters=st.lists(st.integers(1, 3), min_size=3, max_size=3),
    name=st.sampled_from(["ehvi", "tpe", "nsga2", "random", "qmc", "grid"]),
    seed=st.integers(0, 2**32 - 1),
    is_known=st.lists(st.booleans(), min_size=20, max_size=20),
)
def test_equal_models_are_equal_configs(depths, filters, name, seed, is_known):
    named = {f"conv{i}_filters": {"int": [1, most]} for i, most in enumerate(filters, 1)}
    space = SearchSpace.from_mapping({**named, "num_conv_blocks": depths})
    recorded = []

    for number, known in enumerate(is_known[: space.size]):
        config = ask(space, name, recorded, seed=seed).config
        blocks = config["num_conv_blocks"]
        assert sum(n.endswith("_filters") for n in config) == blocks
        state, skills = ("complete", point(config)) if known else ("running", None)
        recorded.append(
            RecordedTrial(number=number, config=config, state=state, log_skills=skills)
        )

    assert len(texts(recorded)) == len(recorded)


def test_parameters_that_do_not_count_make_no_difference_to_a_recorded_config():
    kinds, gates = dict(BLOCKS.searched), BLOCKS.gates
    shallow = {"num_conv_blocks": 1, "conv1_filters": 8, "batch_norm": True}

    assert key_of(kinds, {}, {**shallow, "conv2_filters": 16}, gates) == key_of(
        kinds, {}, shallow, gates
    )
    assert key_of(kinds, {"conv3_filters": 64}, shallow, gates) is not None


def test_the_reference_lies_in_a_space_that_has_its_depth():
    reference = {"conv1_filters": 16, "conv2_filters": 8, "batch_norm": False, "l2": 0.0}
    known = RecordedTrial(number=0, config=reference, state="complete", log_skills=(-1.0, -1.0))

    recorded = [known, *(replace(t, number=t.number + 1) for t in run(BLOCKS, "grid", 27))]

    assert most_trials(BLOCKS, [reference]) == NUM_BLOCKS
    assert most_trials(BLOCKS, [{**reference, "batch_norm": "no"}]) == NUM_BLOCKS + 1
    assert len(recorded) == NUM_BLOCKS


def test_tpe_learns_what_counts_only_at_some_depths():
    space = SearchSpace.from_mapping(
        {
            "num_conv_blocks": {"int": [1, 2]},
            "conv1_filters": {"int": [1, 64]},
            "conv2_filters": {"int": [1, 64]},
        }
    )
    rng = np.random.default_rng(0)
    recorded = []
    for number in range(60):
        config = ask(space, "random", (), number=number).config
        loss = abs(config.get("conv2_filters", 64) - 20) / 64 + 0.01 * rng.random()
        recorded.append(
            RecordedTrial(number=number, config=config, state="complete", log_skills=(loss, loss))
        )

    found = [ask(space, "tpe", recorded, number=number).config for number in range(100, 110)]

    assert sum(abs(config.get("conv2_filters", 64) - 20) < 10 for config in found) >= 8


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_of_a_long_study_the_best_trials_are_still_known(name):
    space = SearchSpace.from_mapping({"x": {"float": [0, 1]}, "y": {"float": [0, 1]}})
    recorded = [
        RecordedTrial(
            number=number,
            config=(config := ask(space, "random", (), number=number).config),
            state="complete",
            log_skills=(abs(config["x"] - 0.3), abs(config["x"] - 0.3) + abs(config["y"] - 0.6)),
        )
        for number in range(1000)
    ]

    found = [ask(space, name, recorded, number=number).config for number in range(2000, 2010)]

    assert np.median([abs(config["x"] - 0.3) for config in found]) < 0.1
    assert np.median([abs(config["y"] - 0.6) for config in found]) < 0.1


def test_nsga2_keeps_counting_generations_in_a_long_study():
    space = SearchSpace.from_mapping({"x": {"float": [0, 1]}})
    recorded = [
        RecordedTrial(
            number=number,
            config={"x": number / 1000},
            state="complete",
            log_skills=(number / 1000, 1.0),
            system_attrs={"NSGAIISampler:generation": number // POPULATION},
        )
        for number in range(400)
    ]

    assert ask(space, "nsga2", recorded).system_attrs == {"NSGAIISampler:generation": 50}


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**32))
def test_the_order_of_a_grid_has_every_place_once(size, seed):
    assert sorted(_shuffled(place, size, seed) for place in range(size)) == list(range(size))


def test_the_order_of_a_grid_is_the_seeds():
    assert [_shuffled(place, 1000, 1) for place in range(5)] != list(range(5))
    assert [_shuffled(place, 1000, 1) for place in range(5)] != [
        _shuffled(place, 1000, 2) for place in range(5)
    ]


def test_a_grid_may_have_more_configs_than_could_be_listed():
    space = SearchSpace(parameters=tuple((f"p{i}", Int(low=1, high=2**40)) for i in range(20)))

    assert len(texts(run(space, "grid", 20))) == 20


def test_qmc_fills_a_space_evenly():
    space = SearchSpace.from_mapping({"x": {"float": [0, 1]}, "y": {"float": [0, 1]}})

    cells = {
        (int(4 * trial.config["x"]), int(4 * trial.config["y"])) for trial in run(space, "qmc", 16)
    }

    assert len(cells) == 16


@pytest.mark.parametrize(
    ("name", "space", "message"),
    [
        pytest.param(
            "grid",
            SearchSpace(parameters=(("dropout", Float(low=0, high=0.5)),)),
            "sampler needs finitely many configs for 'grid', but dropout is",
            id="grid_of_real_numbers",
        ),
        pytest.param(
            "gp",
            BLOCKS,
            "every config has the same parameters for 'gp', but conv2_filters depends on",
            id="gp_with_conditions",
        ),
    ],
)
def test_a_sampler_is_refused_where_it_does_not_fit_the_space(name, space, message):
    with pytest.raises(InputError, match=message):
        ask(space, name, ())


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
def test_a_sampler_whose_extra_is_missing_says_how_to_install_it():
    with pytest.raises(InputError, match=r"pip install 'twohead-search\[gp\]'"):
        ask(SearchSpace(parameters=(("a", Choice(values=(1, 2))),)), "gp", ())
