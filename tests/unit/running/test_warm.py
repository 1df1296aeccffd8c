"""What a study takes of earlier ones, when, and whom it tells."""

import json
import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.errors import InputError, StorageError
from search.record.ownership import claim
from search.results.pareto import front_mask
from search.running.resume import write_study as open_study
from search.running.warm_start import (
    WARM,
    EarlierTrial,
    Taken,
    WarmStart,
    choose,
    place,
    read_earlier,
    warm_start,
)
from search.space.space import SearchSpace
from search.study.prepared import Prepared
from search.study.samplers import SAMPLERS
from search.study.study import Study
from tests.support.finished_study import (
    BASELINES,
    TRIALS,
    Script,
    config_of,
    make_prepared,
    make_study,
    measurement,
    write_study,
)
from tests.support.suggesting import suggest
from trainables.storage.sealed_json import DamagedRecord, convert, seal, unseal
from trainables.storage.store import Store
from trainables.storage.study_folder import StudyFolder
from trainables.trial.measurement import write

POINTS = {1: (0.3121, 0.00402), 2: (1.9, 0.021), 4: (0.402, 0.00312), 5: (0.81, 0.0072)}
"""Of `finished_study`: where each trial ended that lies in its space and has not failed."""


@pytest.fixture(name="old")
def old_study(tmp_path):
    return write_study(tmp_path, name="old")


@pytest.fixture(name="opened")
def open_new_study():
    """Open a study as a run does, read or take what it starts with, and close it again."""

    def opened(study, *, prepared=None, is_first=True):
        earlier = read_earlier(study) if is_first else ()
        with claim(Store(study.folder)) as ownership:
            if is_first:
                open_study(study)
            known = prepared or make_prepared(study)
            return warm_start(StudyFolder(study.folder), study, known, ownership, earlier)

    return opened


def new_study(tmp_path, *names, **changes):
    return make_study(tmp_path, name="new", warm_start=[tmp_path / n for n in names], **changes)


def log_skills(losses):
    pairs = zip(losses, BASELINES.values(), strict=True)
    return pytest.approx([math.log(loss / baseline) for loss, baseline in pairs])


def test_trials_are_taken_by_their_log_skills_against_the_baselines_of_their_own_study(
    old, tmp_path, opened
):
    study = new_study(tmp_path, "old")
    prepared = make_prepared(study)
    other = replace(prepared.data, baselines={"c_output": 100.0, "r_output": 100.0})

    taken = opened(study, prepared=replace(prepared, data=other))

    found = {trial.number: trial.log_skills for trial in taken.taken[0].trials}
    assert {n: found[n] for n in POINTS} == {n: log_skills(p) for n, p in POINTS.items()}


@pytest.mark.parametrize(
    ("objective", "values"),
    [
        pytest.param(["r_output"], lambda c, r: [r], id="one_head"),
        pytest.param("total", lambda c, r: [c + 10 * r], id="total"),
    ],
)
def test_trials_are_taken_with_what_this_study_minimises(objective, values, tmp_path, opened):
    constant = {**make_study(tmp_path).space.to_mapping(), "r_output_loss_weight": 10.0}
    scripts = [
        replace(one, config={**config_of(n), "r_output_loss_weight": 10.0})
        for n, one in enumerate(TRIALS)
    ]
    write_study(tmp_path, tuple(scripts), name="old", space=constant)
    study = new_study(tmp_path, "old", space=constant, objective=objective)

    found = {trial.number: trial.log_skills for trial in opened(study).taken[0].trials}

    [yardstick] = values(*BASELINES.values())
    [value] = values(*TRIALS[4].losses[-1])
    assert found[4] == pytest.approx([math.log(value / yardstick)])
    assert {len(skills) for skills in found.values()} == {1}


def test_what_was_taken_and_what_was_left_out_is_said_in_one_line(old, tmp_path, opened):
    study = new_study(tmp_path, "old", space={**old.space.to_mapping(), "kernel_size": 5})

    assert opened(new_study(tmp_path, "old")).line() == (
        f"warm start: 5 of 6 trials of {tmp_path}/old (1 has no finite point)"
    )
    assert opened(replace(study, name="other")).line() == (
        f"warm start: 0 of 6 trials of {tmp_path}/old "
        "(5 lie outside the space, 1 has no finite point)"
    )
    assert WarmStart().line() == ""


def test_several_studies_are_taken_in_their_order(old, tmp_path, opened):
    write_study(tmp_path, TRIALS[:2], tested=(), name="older")

    taken = opened(new_study(tmp_path, "older", "old"))

    assert [len(one.trials) for one in taken.taken] == [2, 5]
    assert [trial.number for trial in taken.recorded()] == list(range(-7, 0))
    assert taken.line().startswith(f"warm start: 2 of 2 trials of {tmp_path}/older, 5 of 6 ")


# When


@pytest.mark.parametrize("is_there", [True, False], ids=["another", "gone"])
def test_what_was_taken_holds_whatever_becomes_of_the_earlier_study(
    old, tmp_path, opened, is_there
):
    study = new_study(tmp_path, "old")
    first = opened(study)
    Store(tmp_path).delete("old")
    if is_there:
        write_study(tmp_path, TRIALS[:1], tested=(), name="old")

    again = opened(study, is_first=False)

    assert (again, again.recorded()) == (first, first.recorded())


def test_a_study_that_never_had_a_trial_takes_anew(old, tmp_path, opened):
    study = new_study(tmp_path, "old")
    opened(study)

    changed = replace(study, warm_start=[])

    assert opened(changed) == WarmStart()
    assert not Store(study.folder).exists(WARM)


def test_without_earlier_studies_nothing_is_written(tmp_path, opened):
    study = make_study(tmp_path)

    assert opened(study).recorded() == ()
    assert not Store(study.folder).exists(WARM)


def test_a_record_of_the_start_that_is_missing_is_no_start_without_it(old, tmp_path, opened):
    study = new_study(tmp_path, "old")
    opened(study)
    Store(study.folder).delete(WARM)

    with pytest.raises(DamagedRecord, match=r"warm\.json is missing; restore it from a copy"):
        opened(study, is_first=False)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: data[:-9], id="torn"),
        pytest.param(lambda data: data.replace(b'"epoch":3', b'"epoch":2', 1), id="one_byte"),
        pytest.param(lambda data: seal("prepared", {}), id="another_kind"),
        pytest.param(lambda data: seal("warm", {"studies": [{}]}), id="another_form"),
    ],
)
def test_a_record_of_the_start_that_is_damaged_is_refused_by_name(old, tmp_path, opened, change):
    study = new_study(tmp_path, "old")
    opened(study)
    store = Store(study.folder)
    store.put(WARM, change(store.get(WARM)))

    with pytest.raises(StorageError, match=r"new/warm\.json"):
        opened(study, is_first=False)


def test_the_record_of_the_start_is_sealed_json(old, tmp_path, opened):
    study = new_study(tmp_path, "old")
    taken = opened(study)

    body = unseal("warm", Store(study.folder).get(WARM), WARM)

    assert convert(json.loads(json.dumps(body)), WarmStart) == taken


def test_a_sealed_record_of_another_form_is_refused(old, tmp_path, opened):
    study = new_study(tmp_path, "old")
    opened(study)
    Store(study.folder).put(WARM, seal("warm", {"studies": 5}))

    with pytest.raises(StorageError, match=r"warm\.json"):
        opened(study, is_first=False)


# From where


def test_heads_must_have_the_same_names_and_kinds(old, tmp_path):
    heads = {"c_output": {"kind": "classification"}, "r_output": {"kind": "regression"}}
    space = {"learning_rate": {"float": [1e-4, 1e-2], "log": True}}
    study = new_study(tmp_path, "old", heads=heads, space=space)
    told = (
        "warm_start[0] needs a study of the heads {'c_output': 'classification', 'r_output': "
        f"'regression'}}, got {tmp_path}/old of {{'c_output': 'classification', "
        "'r_output': 'box'}"
    )

    with pytest.raises(InputError, match=re.escape(told)):
        read_earlier(study)


def test_the_order_of_heads_and_their_losses_may_differ(old, tmp_path, opened):
    heads = {"r_output": {"kind": "box", "loss": "giou"}, "c_output": {"kind": "classification"}}

    taken = opened(new_study(tmp_path, "old", heads=heads))

    found = {trial.number: trial.log_skills for trial in taken.taken[0].trials}
    assert found[4][::-1] == log_skills(POINTS[4])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(["gone"], "warm_start[0] needs the folder of a study: ", id="missing"),
        pytest.param(["old", "old"], "warm_start[1] needs a folder that is not", id="twice"),
        pytest.param(["new"], "warm_start[0] needs an earlier study, got this one", id="itself"),
        pytest.param(["empty"], "warm_start[0] needs a study with trials, got ", id="empty"),
        pytest.param(["bare"], "warm_start[0] needs a study with trials, got ", id="not_begun"),
    ],
)
def test_what_is_no_earlier_study_is_refused_with_its_place(old, tmp_path, names, message):
    write_study(tmp_path, (), tested=(), name="empty")
    open_study(make_study(tmp_path, name="bare"))

    with pytest.raises(InputError, match=re.escape(message)):
        read_earlier(new_study(tmp_path, *names))


def test_a_damaged_earlier_study_is_refused_with_its_place_and_the_object(old, tmp_path):
    store = Store(old.folder)
    path = store.list("log")[0]
    store.put(path, store.get(path)[:-5])

    with pytest.raises(DamagedRecord, match=re.escape(f"warm_start[0] {old.folder}: {path}")):
        read_earlier(new_study(tmp_path, "old"))


def test_of_a_study_that_is_being_run_counts_what_is_recorded_at_that_moment(tmp_path):
    running = write_study(
        tmp_path,
        (TRIALS[1], Script("running", ((1.0, 0.01),)), Script("running", ())),
        tested=(),
        closed="",
        name="old",
    )
    study = new_study(tmp_path, "old")
    with claim(Store(running.folder)):
        before = read_earlier(study)[0]
        write(Store(running.folder), measurement(1, 2, (0.5, 0.004)))
        after = read_earlier(study)[0]

    assert [(trial.epoch, bool(trial.log_skills)) for trial in before.trials] == [
        (3, True),
        (1, True),
        (0, False),
    ]
    assert after.trials[1].epoch == 2


def test_a_study_of_failed_trials_gives_nothing_and_is_no_error(tmp_path, opened):
    write_study(tmp_path, (TRIALS[3],), tested=(), name="old")

    assert (
        opened(new_study(tmp_path, "old"))
        .line()
        .endswith("0 of 1 trial of " + f"{tmp_path}/old (1 has no finite point)")
    )


# Which configs

SPACE = SearchSpace.from_mapping(
    {
        "conv1_filters": {"choice": [8, 16]},
        "conv2_filters": 16,
        "learning_rate": {"float": [1e-3, 1e-2], "log": True},
    }
)
INSIDE = {"conv1_filters": 8, "conv2_filters": 16, "learning_rate": 0.005}
DEEP = SearchSpace(parameters=(("num_conv_blocks", 2), *SPACE.parameters))


@pytest.mark.parametrize(
    ("change", "is_inside"),
    [
        pytest.param({}, True, id="as_it_is"),
        pytest.param({"learning_rate": 0.01}, True, id="at_a_bound"),
        pytest.param({"learning_rate": 0.02}, False, id="beyond_a_bound"),
        pytest.param({"conv1_filters": 32}, False, id="no_choice"),
        pytest.param({"conv2_filters": 8}, False, id="another_constant"),
        pytest.param({"dropout": 0.0}, False, id="a_parameter_unknown_here"),
        pytest.param({"conv3_filters": 8}, False, id="a_block_more"),
        pytest.param({"num_conv_blocks": 2}, True, id="a_depth_that_says_the_same"),
        pytest.param({"num_conv_blocks": 1}, False, id="another_depth"),
    ],
)
def test_a_config_is_taken_if_it_lies_in_the_space(change, is_inside):
    trial = EarlierTrial(number=0, config={**INSIDE, **change})

    expected = {**INSIDE, **change}
    expected.pop("num_conv_blocks", None)
    assert place(trial, None, None, SPACE) == (expected if is_inside else None)


def test_a_depth_that_only_this_space_says_is_filled_in():
    assert place(EarlierTrial(number=0, config=INSIDE), None, None, DEEP) == {
        "num_conv_blocks": 2,
        **INSIDE,
    }


DEPTHS = SearchSpace.from_mapping(
    {
        "num_conv_blocks": {"int": [1, 3]},
        "conv1_filters": {"choice": [8, 16]},
        "conv2_filters": {"choice": [8, 16]},
        "conv3_filters": 8,
    }
)


@pytest.mark.parametrize(
    ("config", "depth"),
    [
        pytest.param({"conv1_filters": 8, "conv2_filters": 16}, 2, id="depth_not_said"),
        pytest.param({"num_conv_blocks": 1, "conv1_filters": 8}, 1, id="one_block"),
        pytest.param(
            {"conv1_filters": 8, "conv2_filters": 8, "conv3_filters": 8}, 3, id="all_blocks"
        ),
        pytest.param(
            {"conv1_filters": 8, "conv2_filters": 8, "conv3_filters": 9}, None, id="no_choice"
        ),
        pytest.param(
            {f"conv{n}_filters": 8 for n in range(1, 5)}, None, id="deeper_than_searched"
        ),
    ],
)
def test_where_the_depth_is_searched_only_the_blocks_that_are_there_count(config, depth):
    placed = place(EarlierTrial(number=0, config=config), None, None, DEPTHS)

    assert placed == (None if depth is None else {**config, "num_conv_blocks": depth})
    assert placed is None or DEPTHS.contains(placed)


def test_a_config_of_a_searched_depth_is_taken_where_the_depth_is_given():
    deep = {"num_conv_blocks": 2, **INSIDE}
    flat = {name: deep[name] for name in ("num_conv_blocks", "conv1_filters", "learning_rate")}

    assert place(EarlierTrial(number=0, config=deep), None, None, SPACE) == INSIDE
    assert (
        place(EarlierTrial(number=0, config={**flat, "num_conv_blocks": 1}), None, None, SPACE)
        is None
    )


@pytest.mark.parametrize(
    ("there", "here", "is_foreign", "is_taken"),
    [
        pytest.param(None, None, False, True, id="built_in"),
        pytest.param("a:b", "c:d", False, True, id="functions_of_users"),
        pytest.param("a:b", None, False, False, id="function_there"),
        pytest.param(None, "a:b", False, False, id="function_here"),
        pytest.param("a:b", "a:b", True, False, id="reference_beside_a_function"),
    ],
)
def test_a_built_in_model_says_nothing_of_a_users_function(there, here, is_foreign, is_taken):
    trial = EarlierTrial(number=0, config=INSIDE, is_foreign=is_foreign)

    assert (place(trial, there, here, SPACE) is not None) is is_taken


# How many

KNOWN = st.lists(
    st.tuples(st.floats(-7, 2), st.floats(-7, 2)), min_size=1, max_size=40, unique=True
).map(
    lambda points: [
        EarlierTrial(number=number, config={}, log_skills=point, epoch=1)
        for number, point in enumerate(points)
    ]
)


@given(trials=KNOWN, most=st.integers(2, 30), data=st.data())
def test_at_most_so_many_are_chosen_whatever_their_order(trials, most, data):
    chosen = choose(trials, most)

    assert len(chosen) == len({trial.number for trial in chosen}) == min(most, len(trials))
    assert list(chosen) == sorted(chosen, key=lambda trial: trial.number)
    assert choose(data.draw(st.permutations(trials)), most) == chosen


def test_of_many_the_best_half_is_chosen_and_a_spread_over_the_others():
    front = [(-5.0 + i / 10, -4.0 - i / 10) for i in range(5)]
    behind = [(i / 10, i / 10) for i in range(95)]
    trials = [
        EarlierTrial(number=number, config={}, log_skills=point)
        for number, point in enumerate(reversed(front + behind))
    ]

    chosen = choose(trials, 10)

    points = [trial.log_skills for trial in chosen]
    assert sorted(points)[:5] == sorted(front)
    assert front_mask(points).sum() == 5
    assert sorted(points)[5:] == [behind[i] for i in (0, 23, 47, 71, 94)]


# Who hears of it


def test_only_the_sampler_hears_of_it_and_takes_none_for_one_of_its_own(old, tmp_path, opened):
    recorded = opened(new_study(tmp_path, "old")).recorded()

    assert [trial.number for trial in recorded] == [-5, -4, -3, -2, -1]
    assert {trial.state for trial in recorded} == {"interrupted"}
    assert recorded[1].config == config_of(1)


QUICK = [name for name, sampler in SAMPLERS.items() if not sampler.extra]
FINITE = SearchSpace.from_mapping({"a": {"choice": ["x", "y"]}, "b": {"int": [1, 2]}})


@pytest.mark.parametrize("name", QUICK)
def test_configs_of_earlier_studies_may_be_trained_here(name):
    known = [
        EarlierTrial(number=n, config={"a": a, "b": b}, log_skills=(-1.0, -1.0), epoch=1)
        for n, (a, b) in enumerate([("x", 1), ("x", 2), ("y", 1), ("y", 2)])
    ]
    warm = start_of(known).recorded()
    own = []
    for number in range(4):
        suggestion = ask(FINITE, name, number, [*warm, *own])
        own.append(replace(warm[0], number=number, config=suggestion.config, state="complete"))

    assert len({tuple(trial.config.values()) for trial in own}) == 4


@pytest.mark.parametrize("name", QUICK)
def test_earlier_trials_of_fewer_blocks_inform_where_the_depth_is_searched(name):
    configs = [{"num_conv_blocks": 1, "conv1_filters": 8}]
    configs += [{"num_conv_blocks": 2, "conv1_filters": 8, "conv2_filters": f} for f in (8, 16)]
    known = [
        EarlierTrial(number=n, config=config, log_skills=(-1.0 - n, -1.0), epoch=1)
        for n, config in enumerate(configs * 5)
    ]

    asked = ask(DEPTHS, name, 0, start_of(known).recorded())

    assert DEPTHS.contains(asked.config)


RATES = SearchSpace.from_mapping({"rate": {"float": [0.0, 1.0]}})


def start_of(known):
    taken = Taken(folder="/old", num_trials=len(known), left_out={}, trials=tuple(known))
    return WarmStart(taken=(taken,))


def ask(space, name, number, recorded):
    return suggest(name=name, space=space, seed=3, number=number, recorded=recorded, num_heads=2)


def test_tpe_begins_where_earlier_studies_were_good():
    rates = [i / 30 for i in range(31)]
    known = [
        EarlierTrial(
            number=n, config={"rate": r}, log_skills=(abs(r - 0.8), abs(r - 0.7)), epoch=1
        )
        for n, r in enumerate(rates)
    ]
    warm = start_of(known).recorded()

    first = [ask(RATES, "tpe", number, warm).config["rate"] for number in range(20)]
    cold = [ask(RATES, "tpe", number, []).config["rate"] for number in range(20)]

    assert sum(abs(rate - 0.75) < 0.15 for rate in first) >= 15
    assert sum(abs(rate - 0.75) < 0.15 for rate in cold) < 10


# In the study


def test_the_folders_are_absolute_and_survive_json(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    study = make_study(tmp_path, warm_start=["studies/old", "s3://bucket/old"])

    assert study.warm_start == (f"{tmp_path}/studies/old", "s3://bucket/old")
    assert Study.from_dict(json.loads(json.dumps(study.to_dict()))) == study


def test_a_study_file_names_the_folders_relative_to_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "elsewhere" / "study.yaml"
    path.parent.mkdir()
    path.write_text(
        "name: new\ndata: d.parquet\nheads: {c_output: {kind: classification}}\n"
        "warm_start: [studies/old]\n"
    )

    assert Study.from_yaml(path).warm_start == (f"{tmp_path}/studies/old",)

    path.write_text(path.read_text().replace("[studies/old]", "\n- a\n- 3"))
    with pytest.raises(InputError, match=r"study\.yaml:6: warm_start\[1\] needs a path or a URI"):
        Study.from_yaml(path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param("old", "warm_start needs a list of study folders, got 'old'", id="text"),
        pytest.param([3], "warm_start[0] needs a path or a URI, got 3", id="no_path"),
        pytest.param(["a", ""], "warm_start[1] needs a path or a URI, got ''", id="empty"),
        pytest.param(["a"] * 101, "warm_start needs at most 100 studies, got 101", id="many"),
    ],
)
def test_what_names_no_folders_is_refused(tmp_path, given, message):
    with pytest.raises(InputError, match=re.escape(message)):
        make_study(tmp_path, warm_start=given)


def test_a_changed_list_is_another_study(tmp_path):
    one, two = make_study(tmp_path, warm_start=["/a"]), make_study(tmp_path, warm_start=["/b"])

    assert one.differences(two) == [("warm_start", ["a"], ["b"])]
    assert one.differences(make_study(tmp_path, warm_start=["/moved/a"])) == []
    assert one.differences(one) == []


def test_a_prepared_study_of_another_image_size_informs_all_the_same(old, tmp_path, opened):
    study = new_study(tmp_path, "old", image_size=(16, 16))
    prepared = make_prepared(study)
    data = replace(prepared.data, fingerprint="0" * 64, image_shape=(16, 16, 1))

    taken = opened(study, prepared=Prepared(data=data, space=prepared.space, precision="bfloat16"))

    assert len(taken.recorded()) == 5
