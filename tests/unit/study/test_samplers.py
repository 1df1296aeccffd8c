"""How a study names its sampler, with options or by a class."""

import json

import pytest

from search.errors import InputError
from search.study.samplers import (
    SAMPLERS,
    class_of,
    keeps_state,
    misfit,
    read_sampler,
    state_note,
)
from search.study.study import Study
from tests.unit.study.test_study import make

CMA = "optuna.samplers:CmaEsSampler"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("tpe", "tpe"),
        ({"name": "tpe"}, "tpe"),
        ({"name": "tpe", "n_startup_trials": 20.0}, {"name": "tpe", "n_startup_trials": 20}),
        ({"name": "ehvi", "explore": 0}, {"name": "ehvi", "explore": 0}),
        (CMA, CMA),
        (
            {"name": CMA, "sigma0": 0.3, "x0": {"dropout": 0.1}},
            {"name": CMA, "sigma0": 0.3, "x0": {"dropout": 0.1}},
        ),
    ],
    ids=str,
)
def test_what_is_recorded_of_a_sampler_is_read_to_the_same_study(given, kept):
    study = make(sampler=given)

    recorded = json.loads(json.dumps(study.to_dict()))

    assert study.sampler == recorded["sampler"] == kept
    assert Study.from_dict(recorded) == study


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"name": "tpee"}, r"sampler.name needs to be one of .*got 'tpee'", id="name"),
        pytest.param({"n_startup_trials": 2}, "sampler needs a name, such as", id="no_name"),
        pytest.param(
            {"name": "tpe", "n_startup": 2},
            "sampler has no key 'n_startup'; did you mean 'n_startup_trials'?",
            id="option",
        ),
        pytest.param({"name": "grid", "seed": 2}, "sampler has no key 'seed'", id="seed"),
        pytest.param({"name": CMA, "seed": 2}, "sampler.seed needs to be left out", id="its"),
        pytest.param(
            {"name": "tpe", "n_startup_trials": -1},
            "sampler.n_startup_trials needs a whole number from 0 to 150, got -1",
            id="range",
        ),
        pytest.param(
            {"name": "ehvi", "explore": 2},
            "sampler.explore needs a number from 0 to 1",
            id="share",
        ),
        pytest.param(
            {"name": CMA, "sigma0": float("nan")}, "sampler.sigma0 needs text, a finite", id="nan"
        ),
        pytest.param(["tpe"], "sampler needs to be one of", id="list"),
        pytest.param("optuna.samplers:", "sampler needs to be one of", id="no_class"),
    ],
)
def test_a_sampler_that_cannot_be_is_refused_when_the_study_is_made(given, message):
    with pytest.raises(InputError, match=message):
        make(sampler=given)


def test_a_study_file_names_the_line_of_a_wrong_option(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(
        "name: one\ndata: x.parquet\nheads: {c_output: {kind: classification}}\n"
        "budget: {trials: 2, epochs: 2}\nsampler:\n  name: tpe\n  n_startup_trials: few\n"
    )

    with pytest.raises(InputError, match=r"study.yaml:7: sampler.n_startup_trials needs a whole"):
        Study.from_yaml(file)


def test_a_changed_option_is_a_difference_by_name():
    one, other = (make(sampler={"name": "tpe", "n_startup_trials": num}) for num in (5, 9))

    assert other.differences(one) == [("sampler.n_startup_trials", 9, 5)]
    assert "tpe (n_startup_trials 5)" in repr(one)


def test_only_what_may_know_more_than_a_record_is_said_to_keep_a_state():
    assert not any(map(keeps_state, SAMPLERS))
    assert not keeps_state({"name": "optuna.samplers:TPESampler", "n_startup_trials": 3})
    assert keeps_state(CMA)
    assert state_note("ehvi") == ""
    assert "a resumed run may draw other configs" in state_note({"name": CMA, "sigma0": 1})


def test_a_class_needs_what_the_same_sampler_needs_by_its_name():
    space = make(space={"dropout": {"float": [0, 0.5]}}).space

    assert misfit(class_of("grid")[0], space) == misfit("grid", space)


def test_options_are_held_as_the_record_will_hold_them():
    assert read_sampler({"name": "a.b:C", "sizes": (1, 2)}) == {"name": "a.b:C", "sizes": [1, 2]}


def test_more_first_trials_than_a_sampler_is_shown_are_refused():
    with pytest.raises(InputError, match="n_startup_trials needs at most 150: it is shown so few"):
        read_sampler({"name": "optuna.samplers:TPESampler", "n_startup_trials": 151})
