import json
import os
import re
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.errors import InputError
from search.space.parameters import Float
from search.space.space import SearchSpace
from search.study.settings import Budget, Resources, Validation
from search.study.study import Study
from trainables.spec.heads import DeclaredHead

HEADS = {"c_output": {"kind": "classification"}, "r_output": {"kind": "box"}}
REVERSED = {"float": [0.1, 0.01], "log": True}


def make(**changes):
    return Study(**{"name": "digits", "data": "digits.parquet", "heads": HEADS, **changes})


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
HEAD = st.one_of(
    st.fixed_dictionaries({"kind": st.just("classification")}, optional={"units": st.just(3)}),
    st.fixed_dictionaries(
        {"kind": st.just("regression")}, optional={"loss": st.sampled_from(["mse", "huber"])}
    ),
    st.fixed_dictionaries(
        {"kind": st.just("box")},
        optional={
            "loss": st.sampled_from(["mse", "huber", "giou", "ciou"]),
            "format": st.sampled_from(["yxyx", "xyxy", "xywh", "cxcywh"]),
            "scale": st.sampled_from(["fraction", "pixel"]),
            "activation": st.sampled_from(["sigmoid", "linear"]),
        },
    ),
)
STUDIES = st.fixed_dictionaries(
    {
        "name": NAMES,
        "data": st.sampled_from(["digits.parquet", "/data", "s3://bucket/digits"]),
        "heads": st.dictionaries(st.sampled_from(["a", "b", "c_output"]), HEAD, min_size=1),
    },
    optional={
        "image_size": st.none() | st.tuples(st.integers(1, 99), st.integers(1, 99)),
        "validation": st.fixed_dictionaries({"share": st.floats(0.1, 0.9)}),
        "space": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "learning_rate": st.just({"float": [1e-4, 0.1], "log": True}),
                "dropout": st.just({"float": [0.0, 0.5], "step": 0.1}),
                "l2": st.floats(0, 1),
                "conv3_filters": st.just({"choice": [8, 16]}),
                "batch_size": st.just({"int": [8, 64], "step": 8}),
                "batch_norm": st.booleans(),
            },
        ),
        "budget": st.fixed_dictionaries(
            {"trials": st.integers(1, 99)}, optional={"hours": st.none() | st.floats(0.1, 9)}
        ),
        "start_with": st.lists(st.fixed_dictionaries({"l2": st.floats(0, 1)}), max_size=2),
        "sampler": st.sampled_from(["tpe", "random", "nsga2"]),
        "scheduler": st.sampled_from(["pareto_asha", "fifo"]),
        "resources": st.fixed_dictionaries(
            {"gpu": st.sampled_from([0, 0.25, 0.5, 1, 2])},
            optional={"concurrent": st.just("auto") | st.integers(1, 9)},
        ),
        "precision": st.sampled_from(["float32", "bfloat16", "auto"]),
        "seed": st.integers(0, 2**32 - 1),
        "reference": st.booleans(),
        "storage": st.sampled_from(["studies", "gs://bucket/studies/"]),
        "module_folder": st.none() | st.just("/modules"),
    },
)


@settings(deadline=None)
@given(values=STUDIES)
def test_a_study_survives_json_with_the_order_of_its_heads(values):
    study = Study(**values)

    again = Study.from_dict(json.loads(json.dumps(study.to_dict(), allow_nan=False)))

    assert again == study
    assert [head.name for head in again.heads] == list(values["heads"])
    assert again.differences(study) == []


def test_a_study_is_made_of_plain_values_or_of_checked_ones():
    plain = make(
        space={"learning_rate": {"float": [1e-4, 1e-2], "log": True}},
        budget={"trials": 3},
        resources={"cpu": 2},
        validation={"share": 0.3},
    )

    rate = Float(low=1e-4, high=1e-2, log=True)
    assert plain == make(
        heads=(
            DeclaredHead(name="c_output", kind="classification"),
            DeclaredHead(name="r_output", kind="box"),
        ),
        space=SearchSpace(parameters=(("learning_rate", rate),)),
        budget=Budget(trials=3),
        resources=Resources(cpu=2),
        validation=Validation(share=0.3),
    )


def test_values_are_kept_in_the_type_that_trials_get():
    study = make(
        space={"batch_size": 64.0, "l2": 0},
        start_with=[{"conv1_filters": 8.0, "learning_rate": 1}],
        budget={"trials": 3.0},
        image_size=[32.0, 24],
    )

    assert json.dumps(study.space.to_mapping()) == '{"batch_size": 64, "l2": 0.0}'
    assert json.dumps(study.start_with) == '[{"conv1_filters": 8, "learning_rate": 1.0}]'
    assert (repr(study.budget.trials), repr(study.image_size)) == ("3", "(32, 24)")


@pytest.mark.parametrize(
    ("storage", "folder"),
    [
        pytest.param("/", "/digits", id="root"),
        pytest.param("/a//", "/a/digits", id="slashes"),
        pytest.param("file:///a", "file:///a/digits", id="file"),
        pytest.param("mock://", "mock://digits", id="bare_uri"),
    ],
)
def test_a_study_lies_in_a_folder_of_its_name(storage, folder):
    assert make(storage=storage).folder == folder


FIELDS = [item.name for item in fields(Study) if item.init]
HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=9) | st.integers(), inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["kind", "units", "float", "int", "choice", "log", "l2", "batch_size"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(name=st.sampled_from(FIELDS), value=HOSTILE)
def test_any_value_of_a_field_gives_a_study_or_an_input_error(name, value):
    given_values = {"name": "digits", "data": "d", "heads": HEADS, name: value}
    try:
        study = Study.from_dict(given_values)
    except InputError:
        return

    assert Study.from_dict(json.loads(json.dumps(study.to_dict()))) == study


@pytest.mark.parametrize("values", [None, [], "digits", 3])
def test_a_study_is_read_from_a_mapping_only(values):
    with pytest.raises(InputError, match="study needs a mapping such as"):
        Study.from_dict(values)


def test_a_study_is_frozen():
    study = make()

    with pytest.raises(FrozenInstanceError, match="seed"):
        study.seed = 1


def test_paths_are_absolute_and_uris_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    study = make(data=Path("set") / "d.parquet", storage="s3://bucket/studies/")

    assert study.data == str(tmp_path / "set" / "d.parquet")
    assert study.folder == "s3://bucket/studies/digits"
    assert make().folder == str(tmp_path / "studies" / "digits")
    assert make(data="~/d").data == os.path.expanduser("~/d")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"name": "../x"}, "a letter or digit, got '../x'", id="name_with_dots"),
        pytest.param({"name": "x" * 65}, "name needs 1 to 64 letters", id="long_name"),
        pytest.param({"name": 3}, "name needs 1 to 64 letters", id="name_as_number"),
        pytest.param({"data": ""}, "data needs a path or a URI, got ''", id="data"),
        pytest.param({"data": "a\0b"}, "data needs a path or a URI", id="data_with_nul"),
        pytest.param({"storage": 3}, "storage needs a path or a URI, got 3", id="storage"),
        pytest.param({"heads": {}}, "heads needs 1 to 64 heads, got 0", id="no_head"),
        pytest.param({"heads": ["a"]}, "heads needs a mapping such as", id="heads_as_list"),
        pytest.param({"heads": {"a": "box"}}, "heads.a needs a mapping with a kind", id="kind"),
        pytest.param({"heads": {"a": {}}}, "heads.a needs a mapping with a kind", id="no_kind"),
        pytest.param({"heads": {"a b": {"kind": "box"}}}, "got 'a b'", id="head_name"),
        pytest.param({"heads": {1: {"kind": "box"}}}, "identifier, got 1", id="head_number"),
        pytest.param(
            {"heads": {"a": {"kind": "box", "scle": "pixel"}}}, "mean 'scale'?", id="head_key"
        ),
        pytest.param({"heads": {"a": {"kind": "box", "units": 3}}}, "units = 4", id="units"),
        pytest.param(
            {"heads": {"image": {"kind": "box"}}}, "heads.image needs another name", id="image"
        ),
        pytest.param(
            {"heads": {"split": {"kind": "box"}}}, "heads.split needs another name", id="split"
        ),
        pytest.param(
            {"heads": {"c": {"kind": "classification"}, "val_c": {"kind": "classification"}}},
            "heads.val_c needs another name: its metrics would have the names of some of 'c'",
            id="validation",
        ),
        pytest.param(
            {"heads": (DeclaredHead(name="a", kind="box"),) * 2}, "got ['a', 'a']", id="twice"
        ),
        pytest.param(
            {"image_size": [0, 8]}, "image_size needs a height and a width", id="image_height"
        ),
        pytest.param({"image_size": [8]}, "image_size needs [height, width]", id="image_size"),
        pytest.param({"model": "foo"}, "'package.module:function', got 'foo'", id="model"),
        pytest.param({"budget": {"trials": 0}}, "budget.trials needs", id="trials"),
        pytest.param({"budget": {"trails": 9}}, "did you mean 'trials'?", id="budget_key"),
        pytest.param({"sampler": "tpee"}, "'gp'], got 'tpee'", id="sampler"),
        pytest.param({"scheduler": "asha"}, "'pareto_asha'], got 'asha'", id="scheduler"),
        pytest.param({"precision": "float16"}, "'auto'], got 'float16'", id="precision"),
        pytest.param({"seed": -1}, "seed needs a whole number from 0 to 4294967295", id="seed"),
        pytest.param({"reference": "yes"}, "true or false, got 'yes'", id="reference"),
        pytest.param(
            {"module_folder": 3}, "module_folder needs a path or a URI, got 3", id="modules"
        ),
        pytest.param({"space": ["lr"]}, "space needs a mapping", id="space_as_list"),
        pytest.param({"space": {"learning_rate": REVERSED}}, "space.learning_rate: ", id="range"),
        pytest.param(
            {"space": {"l2": {"float": [0, 0.1]}}, "sampler": "grid"},
            "sampler needs finitely many configs for 'grid', but l2 is {'float': [0.0, 0.1]}",
            id="grid_of_real_numbers",
        ),
        pytest.param(
            {"space": {"num_conv_blocks": {"int": [1, 3]}}, "sampler": "gp"},
            "for 'gp', but conv2_filters depends on num_conv_blocks",
            id="gp_of_any_depth",
        ),
        pytest.param({"start_with": {"l2": 0}}, "start_with needs a list", id="start_with"),
        pytest.param({"start_with": [3]}, "start_with[0] needs a mapping", id="start_with_item"),
        pytest.param(
            {"start_with": [{}, {"lr": 1}]},
            "start_with[1].lr shapes nothing; did you mean 'learning_rate'?",
            id="start",
        ),
        pytest.param(
            {"model": "a.b:c", "start_with": [{"mine": 1, "learning_rate": 0}]},
            "start_with[0].learning_rate needs numbers > 0, got 0",
            id="start_with_a_users_model",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_its_key(change, message):
    with pytest.raises(InputError, match=re.escape(message)):
        make(**change)


def test_a_users_model_may_have_any_parameters():
    space = {"conv9_filters": 8, "kind": {"choice": ["a", "b"]}, "batch_size": 8}

    study = make(model="package.module:build", space=space, start_with=[{"kind": "a"}])

    assert study.space.to_mapping() == space


def test_all_problems_come_at_once_each_on_a_line_of_its_own():
    with pytest.raises(InputError, match="problems") as caught:
        make(
            name="../x",
            space={"learning_rate": REVERSED, "l2": {"choice": []}},
            heads={"a": {"kind": "box", "scle": 1, "unts": 2}},
            seed=-1,
        )

    first, *rest = str(caught.value).splitlines()
    assert first == "6 problems"
    assert [line[4:].split(" ")[0] for line in rest] == [
        "name",
        "heads.a",
        "heads.a",
        "space.learning_rate:",
        "space.l2:",
        "seed",
    ]


def test_a_mapping_with_unknown_and_missing_keys_is_refused_with_the_rest_of_its_problems():
    with pytest.raises(InputError, match="4 problems") as caught:
        Study.from_dict({"name": "digits", "data": "d", "sede": 1, "head": {}, "seed": -1})

    told = str(caught.value)
    for words in ("mean 'seed'?", "mean 'heads'?", "study needs 'heads'", "seed needs a whole"):
        assert words in told


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"storage": "/elsewhere"}, [], id="where_it_lies"),
        pytest.param({"module_folder": "/elsewhere"}, [], id="where_modules_lie"),
        pytest.param({"budget": {"trials": 25, "epochs": 10}}, [], id="grown_budget"),
        pytest.param({"budget": {"trials": 9}}, [("budget.trials", 9, 24)], id="fewer_trials"),
        pytest.param({"budget": {"epochs": 3}}, [("budget.epochs", 3, 9)], id="fewer_epochs"),
        pytest.param({"budget": {"hours": 1}}, [("budget.hours", 1, None)], id="fewer_hours"),
        pytest.param(
            {"heads": {**HEADS, "r_output": {"kind": "box", "loss": "giou"}}},
            [("heads.r_output.loss", "giou", None)],
            id="loss_of_a_head",
        ),
        pytest.param(
            {"space": None},
            [("space", None, {"l2": 0.1, "dropout": 0.1})],
            id="default_space",
        ),
        pytest.param({"seed": 1}, [("seed", 1, 0)], id="seed"),
        pytest.param({"sampler": "random"}, [("sampler", "random", "ehvi")], id="sampler"),
        pytest.param({"resources": {"cpu": 2}}, [("resources.cpu", 2, 1)], id="resources"),
        pytest.param({"space": {"l2": 0.2, "dropout": 0.1}}, [("space.l2", 0.2, 0.1)], id="space"),
        pytest.param({"space": {"dropout": 0.1, "l2": 0.1}}, [], id="order_of_the_space"),
        pytest.param({"space": {"l2": 0.1}}, [("space.dropout", None, 0.1)], id="unnamed"),
        pytest.param(
            {"heads": dict(reversed(HEADS.items()))},
            [("heads", ["r_output", "c_output"], ["c_output", "r_output"])],
            id="order_of_the_heads",
        ),
    ],
)
def test_only_the_budget_may_grow_and_the_place_change(change, expected):
    known = make(space={"l2": 0.1, "dropout": 0.1})

    assert make(**{"space": {"l2": 0.1, "dropout": 0.1}, **change}).differences(known) == expected


def test_the_budget_is_changed_field_by_field():
    study = make(budget={"trials": 5, "epochs": 7})

    assert study.with_budget(trials=8, epochs=None).budget == Budget(trials=8, epochs=7)
    assert study.with_budget() == study


def test_replacing_a_field_checks_it():
    with pytest.raises(InputError, match="seed needs a whole number"):
        replace(make(), seed=-1)
