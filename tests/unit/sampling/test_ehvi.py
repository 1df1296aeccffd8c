"""The default sampler: new configs and stopped trials by the volume that they promise."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.sampling.trials import Continue, RecordedTrial
from search.space.space import SearchSpace
from tests.support.suggesting import suggest

EPOCHS = 6
STARTUP_TRIALS = 6
WIDE = SearchSpace.from_mapping(
    {
        "batch_norm": {"choice": [True, False]},
        "batch_size": 32,
        "dropout": {"float": [0.0, 0.5]},
        "filters": {"choice": [8, 16, 32]},
        "l2": {"float": [0.0, 0.5], "step": 0.1},
        "learning_rate": {"float": [1e-4, 1e-1], "log": True},
        "optimizer": {"choice": ["adam", "sgd", "rmsprop"]},
        "units": {"int": [8, 512], "log": True},
    }
)
LINE = SearchSpace.from_mapping({"x": {"float": [0.0, 1.0]}})
GRID = SearchSpace.from_mapping({"x": {"int": [0, 4]}, "y": {"choice": ["a", "b", "c"]}})
BLOCKS = SearchSpace.from_mapping(
    {
        "conv1_filters": {"int": [4, 256]},
        "conv2_filters": {"int": [4, 256]},
        "conv3_filters": {"float": [0.0, 1.0]},
        "num_conv_blocks": {"int": [1, 3]},
    }
)
SPACES = [
    pytest.param(WIDE, id="every_kind"),
    pytest.param(LINE, id="one_parameter"),
    pytest.param(GRID, id="finite"),
    pytest.param(BLOCKS, id="conditional"),
]


def ask(space, recorded, *, number=None, seed=0, num_heads=2, epochs=EPOCHS):
    return suggest(
        name="ehvi",
        space=space,
        seed=seed,
        number=len(recorded) if number is None else number,
        recorded=recorded,
        num_heads=num_heads,
        epochs=epochs,
    )


def curve_of(config, epochs, num_heads=2):
    """Return log skills that fall towards values of the config."""
    shares = [sum(json.dumps(value).encode()) % 97 / 97 for value in config.values()]
    aims = [-1 - math.sin(3 * math.fsum(shares) + head) for head in range(num_heads)]
    return tuple(
        tuple(round(aim * (1 - 0.6**epoch), 9) for aim in aims) for epoch in range(1, epochs + 1)
    )


def trial(number, config, *, epochs=EPOCHS, state="complete", num_heads=2, curve=None):
    curve = curve_of(config, epochs, num_heads) if curve is None else curve
    best = min(curve, key=sum, default=None)
    return RecordedTrial(
        number=number,
        config=config,
        state=state,
        log_skills=best,
        epoch=0 if best is None else 1 + curve.index(best),
        curve=curve,
    )


def drawn(space, number):
    """Return a config that does not depend on any trial."""
    return suggest(
        name="random", space=space, seed=9, number=number, recorded=(), num_heads=2
    ).config


def study(space, count=24, num_heads=2):
    """Return a study with trials in every state, and of every length."""
    recorded, taken = [], set()
    number = 0
    while len(recorded) < count and (space.size is None or len(taken) < space.size):
        config = drawn(space, number)
        number += 1
        if json.dumps(config) in taken:
            continue
        taken.add(json.dumps(config))
        state, epochs = (
            ("complete", EPOCHS),
            ("stopped", 2),
            ("running", 1),
            ("failed", 3),
            ("running", 0),
            ("interrupted", 4),
        )[len(recorded) % 6]
        recorded.append(
            trial(len(recorded), config, epochs=epochs, state=state, num_heads=num_heads)
        )
    return recorded


def check(space, recorded, answer):
    """Assert that an answer is a stopped trial or a config that is new."""
    if isinstance(answer, Continue):
        assert {t.number: t.state for t in recorded}[answer.number] == "stopped"
        return
    assert space.contains(answer.config)
    tried = [t.config for t in recorded if t.state != "interrupted"]
    assert answer.config not in tried


@pytest.mark.parametrize("space", SPACES)
def test_an_answer_depends_on_the_arguments_alone_and_not_on_the_order_of_trials(space):
    recorded = study(space, 14)
    copies = [replace(t, config=dict(t.config)) for t in recorded]
    turned = SearchSpace(parameters=tuple(reversed(space.parameters)))

    answers = [ask(space, recorded, number=number) for number in range(30, 34)]

    for other, known in ((space, recorded[::-1]), (space, copies), (turned, recorded)):
        assert [ask(other, known, number=number) for number in range(30, 34)] == answers


@pytest.mark.parametrize("num_heads", [1, 2, 3, 4])
@pytest.mark.parametrize("space", SPACES)
def test_every_answer_is_a_new_config_of_the_space_or_a_stopped_trial(space, num_heads):
    recorded = study(space, 13, num_heads)

    for number in range(40, 46):
        check(space, recorded, ask(space, recorded, number=number, num_heads=num_heads))


def test_a_deeper_neighbour_of_a_shallow_config_names_all_that_counts_in_it():
    shallow = [
        trial(n, {"conv1_filters": 4 + n, "num_conv_blocks": 1}, curve=((-3.0 - n / 9,) * 2,) * 6)
        for n in range(15)
    ]

    answers = [ask(BLOCKS, shallow, number=number).config for number in range(20, 60)]

    assert all(map(BLOCKS.contains, answers))
    assert {answer["num_conv_blocks"] for answer in answers} > {1}


def test_the_first_trials_have_one_value_from_each_part_of_every_range():
    space = SearchSpace.from_mapping(
        {"x": {"float": [0.0, 1.0]}, "y": {"float": [1.0, 1e10], "log": True}}
    )
    recorded = []
    for number in range(STARTUP_TRIALS):
        recorded.append(trial(number, ask(space, recorded).config))

    parts = list(range(STARTUP_TRIALS))
    assert sorted(int(STARTUP_TRIALS * t.config["x"]) for t in recorded) == parts
    decades = [math.log10(t.config["y"]) / 10 for t in recorded]
    assert sorted(int(STARTUP_TRIALS * share) for share in decades) == parts


def test_the_first_trials_of_one_number_are_the_same_whatever_else_runs():
    running = [trial(n, drawn(WIDE, n), epochs=0, state="running") for n in range(5)]

    assert ask(WIDE, running, number=7) == ask(WIDE, [], number=7)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), num_running=st.integers(0, 3))
def test_a_finite_space_is_tried_to_its_end_without_a_repeat(seed, num_running):
    recorded = []

    for number in range(GRID.size):
        answer = ask(GRID, recorded, seed=seed)
        assert answer.config not in [t.config for t in recorded]
        recorded.append(trial(number, answer.config, epochs=0, state="running"))
        done = number - num_running
        if done >= 0:
            recorded[done] = trial(done, recorded[done].config)

    assert len(recorded) == GRID.size


def test_an_exhausted_space_is_answered_with_a_config_that_was_tried():
    recorded = [
        trial(n, {"x": x, "y": y})
        for n, (x, y) in enumerate((x, y) for x in range(5) for y in "abc")
    ]

    answers = [ask(GRID, recorded, number=number) for number in range(20, 26)]

    assert all(answer.config in [t.config for t in recorded] for answer in answers)


def test_in_an_exhausted_space_stopped_trials_are_taken_up():
    recorded = [
        trial(n, {"x": x, "y": y}, epochs=2, state="stopped")
        for n, (x, y) in enumerate((x, y) for x in range(5) for y in "abc")
    ]

    answers = [ask(GRID, recorded, number=number) for number in range(20, 30)]

    taken = [answer for answer in answers if isinstance(answer, Continue)]
    assert len(taken) >= 7  # the others explore


NAMES = SearchSpace.from_mapping({"x": {"choice": [f"name{n}" for n in range(40)]}})
"""Nothing is like anything else: what promises most is what has shown most."""
PROMISING = 4


def late_starter(state="stopped", number=PROMISING):
    """Return trials of which one stood at its rung where the others do not even end."""
    others = [
        trial(
            n,
            {"x": f"name{n}"},
            curve=tuple((round(-0.05 * epoch, 3),) * 2 for epoch in range(1, EPOCHS + 1)),
        )
        for n in range(20)
        if n != PROMISING
    ]
    curve = ((-1.0, -1.0), (-2.0, -2.0), (-2.5, -2.5))
    return [*others, trial(number, {"x": "name39"}, curve=curve, state=state)]


def answers_to(recorded, numbers=range(30, 40), space=NAMES):
    return [ask(space, recorded, number=number) for number in numbers]


def test_the_stopped_trial_that_promises_most_is_taken_up_again():
    answers = answers_to(late_starter())

    taken = [answer for answer in answers if isinstance(answer, Continue)]
    assert {answer.number for answer in taken} == {PROMISING}
    assert len(taken) >= 5


@pytest.mark.parametrize("state", ["complete", "running", "failed", "interrupted"])
def test_only_a_stopped_trial_is_taken_up_again(state):
    answers = answers_to(late_starter(state=state))

    assert not any(isinstance(answer, Continue) for answer in answers)


def test_a_trial_of_an_earlier_study_is_not_taken_up_again():
    answers = answers_to(late_starter(number=-3))

    assert not any(isinstance(answer, Continue) for answer in answers)


def test_a_stopped_trial_without_a_curve_is_not_taken_up_again():
    *others, promising = late_starter()

    answers = answers_to([*others, replace(promising, curve=())])

    assert not any(isinstance(answer, Continue) for answer in answers)


def test_a_stopped_trial_that_lies_in_no_space_is_not_taken_up_again():
    *others, promising = late_starter()

    answers = answers_to([*others, replace(promising, config={"x": "name40"})])

    assert not any(isinstance(answer, Continue) for answer in answers)


def test_a_stopped_trial_that_promises_nothing_is_left_alone():
    stopped = [
        trial(n, {"x": 0.9 + n / 200}, curve=((1.0, 1.0), (0.9, 0.9)), state="stopped")
        for n in range(20, 30)
    ]
    good = [
        trial(n, {"x": n / 40}, curve=tuple((-0.5 * epoch,) * 2 for epoch in range(1, 7)))
        for n in range(20)
    ]

    answers = answers_to([*good, *stopped], space=LINE)

    assert not any(isinstance(answer, Continue) for answer in answers)


def test_warm_trials_teach_by_their_points_and_count_as_trials():
    warm = [
        RecordedTrial(
            number=-1 - n,
            config={"x": n / 20},
            state="interrupted",
            log_skills=(-3 + 4 * abs(n / 20 - 0.7),) * 2,
            epoch=EPOCHS,
        )
        for n in range(20)
    ]

    answers = answers_to(warm, range(20), LINE)

    near = [answer for answer in answers if abs(answer.config["x"] - 0.7) < 0.2]
    assert len(near) >= 14


def test_what_a_running_trial_has_shown_is_learned_from():
    known = study(LINE, 18)
    fresh = trial(50, {"x": 0.55}, epochs=0, state="running")
    shown = replace(fresh, curve=((-3.0, -3.0), (-4.0, -4.0)))

    without, with_it = [
        [ask(LINE, [*known, one], number=number) for number in range(60, 80)]
        for one in (fresh, shown)
    ]

    def near(answers):
        configs = [answer.config["x"] for answer in answers if not isinstance(answer, Continue)]
        return sum(abs(x - 0.55) < 0.1 for x in configs)

    assert near(with_it) > near(without)


def test_of_two_equal_valleys_the_one_where_trials_run_promises_less():
    def skill(x):
        return round(4 * min(abs(x - 0.25), abs(x - 0.75)) - 2, 9)

    known = [
        trial(n, {"x": x}, curve=((skill(x),) * 2,) * EPOCHS)
        for n, x in enumerate([0.0, 0.05, 0.1, 0.15, 0.35, 0.4, 0.45, 0.5])
    ]
    known += [trial(8 + n, {"x": 1 - t.config["x"]}, curve=t.curve) for n, t in enumerate(known)]
    beside = [trial(n, {"x": n / 100}, epochs=0, state="running") for n in range(70, 81, 2)]

    alone, crowded = [
        [answer.config["x"] > 0.5 for answer in answers_to(trials, range(90, 110), LINE)]
        for trials in (known, [*known, *beside])
    ]

    assert sum(crowded) <= 4 < sum(alone)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"state": "failed"}, id="failed"),
        pytest.param({"log_skills": (math.nan, -9.0)}, id="nan"),
        pytest.param({"log_skills": (-9.0, -math.inf)}, id="infinite"),
        pytest.param({"log_skills": None, "curve": ()}, id="nothing"),
    ],
)
def test_a_trial_without_a_finite_point_counts_as_a_failed_one(change):
    known = study(WIDE, 18)
    bad = replace(trial(50, drawn(WIDE, 77)), **change)
    failed = replace(bad, state="failed", log_skills=None, curve=())

    answers = [
        [ask(WIDE, [*known, one], number=number) for number in range(60, 64)]
        for one in (bad, failed)
    ]

    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"state": "failed"}, id="failed"),
        pytest.param({"state": "complete", "log_skills": (math.nan,) * 2}, id="nan"),
    ],
)
def test_where_trials_fail_no_more_are_tried(change):
    # The losses fall towards 1, but beyond 0.6 trials fail.
    good = [trial(n, {"x": n / 20}, curve=((-n / 4, -n / 4),) * EPOCHS) for n in range(12)]
    bad = [replace(trial(n, {"x": n / 20}, epochs=0), **change) for n in range(13, 21)]

    blind, warned = [
        [answer.config["x"] > 0.65 for answer in answers_to(trials, range(30, 60), LINE)]
        for trials in (good, [*good, *bad])
    ]

    assert sum(warned) <= 6 < 20 < sum(blind)  # a tenth explores


def test_failed_trials_alone_are_no_model():
    point = trial(0, {"x": 0.0}, curve=((-5.0, -5.0),) * EPOCHS)
    failed = [trial(n, {"x": n / 20}, epochs=0, state="failed") for n in range(1, 20)]

    numbers = range(7 * STARTUP_TRIALS, 8 * STARTUP_TRIALS)
    found = [answer.config["x"] for answer in answers_to([point, *failed], numbers, LINE)]

    # Those of a Latin hypercube, as before anything is modelled.
    assert sorted(int(STARTUP_TRIALS * x) for x in found) == list(range(STARTUP_TRIALS))


def test_all_trials_may_have_failed():
    recorded = [replace(t, state="failed", log_skills=None, curve=()) for t in study(WIDE, 20)]

    check(WIDE, recorded, ask(WIDE, recorded))


@pytest.mark.parametrize("space", SPACES)
def test_all_values_may_be_equal(space):
    recorded = [
        replace(t, log_skills=(-1.0, -1.0), curve=((-1.0, -1.0),) * EPOCHS, state="complete")
        for t in study(space, 13)
    ]

    check(space, recorded, ask(space, recorded, number=40))


@pytest.mark.parametrize("skill", [-6.9, 0.0, 500.0])
def test_one_trial_may_be_far_from_all_others(skill):
    recorded = study(WIDE, 24)
    recorded[0] = trial(0, recorded[0].config, curve=((skill, skill),) * EPOCHS)

    for number in range(40, 44):
        check(WIDE, recorded, ask(WIDE, recorded, number=number))


def test_a_thousand_trials_may_be_running_at_once():
    ended = [trial(n, drawn(WIDE, n)) for n in range(12)]
    running = [trial(n, drawn(WIDE, n), epochs=0, state="running") for n in range(12, 1012)]

    answers = [ask(WIDE, [*ended, *running], number=number) for number in range(1012, 1018)]

    for answer in answers:
        check(WIDE, [*ended, *running], answer)
    assert len({json.dumps(answer.config) for answer in answers}) == 6


def test_a_thousand_trials_may_be_running_before_any_has_ended():
    running = [trial(n, drawn(WIDE, n), epochs=0, state="running") for n in range(1000)]

    check(WIDE, running, ask(WIDE, running))


@pytest.mark.parametrize("epochs", [1, 2, 100])
def test_trainings_may_have_any_number_of_epochs(epochs):
    recorded = [trial(n, drawn(WIDE, n), epochs=epochs) for n in range(15)]

    for number in range(20, 24):
        check(WIDE, recorded, ask(WIDE, recorded, number=number, epochs=epochs))


def test_a_study_that_was_given_more_epochs_goes_on():
    recorded = study(WIDE, 24)

    for number in range(40, 44):
        check(WIDE, recorded, ask(WIDE, recorded, number=number, epochs=3 * EPOCHS))


def test_the_order_of_heads_changes_little():
    recorded = [
        trial(n, {"x": n / 20}, curve=((-3 + 4 * abs(n / 20 - 0.7), -1.0 - n / 40),) * EPOCHS)
        for n in range(21)
    ]
    swapped = [
        replace(t, log_skills=t.log_skills[::-1], curve=tuple(row[::-1] for row in t.curve))
        for t in recorded
    ]

    found, other = [
        [ask(LINE, trials, number=number).config["x"] for number in range(30, 50)]
        for trials in (recorded, swapped)
    ]

    # Directions are drawn by head: the same question is answered by other draws.
    assert abs(np.median(found) - np.median(other)) < 0.1


def test_it_finds_the_middle_between_two_heads():
    recorded = []
    for number in range(30):
        x = (answer := ask(LINE, recorded).config)["x"]
        skills = (round(4 * abs(x - 0.4) - 3, 9), round(4 * abs(x - 0.6) - 3, 9))
        recorded.append(trial(number, answer, curve=(skills,) * EPOCHS))

    late = [t.config["x"] for t in recorded[STARTUP_TRIALS:]]
    assert sum(0.35 < x < 0.65 for x in late) >= 14
