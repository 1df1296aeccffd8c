"""How the house is built: which file may import what, and how large things may grow."""

import ast
import sys

import pytest

from tests.measures import (
    LAYERS,
    MODULES,
    TRAINED,
    arrows_up,
    classes,
    floors,
    functions,
    graph,
    imported,
    left_in_circles,
    rank,
    top,
    tree_of,
    unused_definitions,
    wide_functions,
)

MOST_LINES = 550
MOST_FUNCTION_LINES = 60
HEAVY = {"tensorflow", "keras", "tf_keras"}
LIGHT = ("errors", "spec", "storage", "data")
"""Packages of `trainables` that need no TensorFlow at all."""
LIGHT_FILES = ("model.signature", "model.prediction", "model.preprocessing", "trial.checkpoint")
LIGHT_TO_IMPORT = ("trial", "probing", "training.run", "model.isolation", "model.keras_home")
"""What a driver imports: TensorFlow only inside its functions."""

MOST_AT_THE_TOP = {"search": 15, "trainables": 9}
MOST_FLOORS = 8
MOST_WIDE_FUNCTIONS = 4
"""Functions of six parameters or more, public constructors apart."""
MOST_PARAMETERS = 7
MOST_UNUSED_DEFINITIONS = 20
"""Public functions and classes that no other file, of ours or of the tests, names."""


def top_level(names):
    return {name.partition(".")[0] for name in names}


def body_lines(function):
    """Return how many lines a function has, its decorators and docstring apart."""
    first = function.body[0]
    is_documented = ast.get_docstring(function) is not None
    docstring = first.end_lineno - first.lineno + 1 if is_documented else 0
    return function.end_lineno - function.lineno + 1 - docstring


def of(package, *places):
    """Return the modules of a package, or those in some places of it."""
    return [
        n
        for n in MODULES
        if n.startswith(tuple(f"{package}.{place}" for place in places or ("",)))
    ]


def importing(names, forbidden, *, into_functions=True):
    """Return which of the modules import what they must not."""
    used = {n: top_level(imported(MODULES[n], into_functions=into_functions)) for n in names}
    return [name for name, found in used.items() if found & forbidden]


def test_what_is_trained_knows_nothing_of_the_search():
    assert importing(of("trainables"), {"search", "optuna"}) == []


def test_the_search_never_imports_tensorflow():
    assert importing(of("search"), HEAVY) == []


def test_data_and_plain_values_need_no_tensorflow():
    assert importing(of("trainables", *LIGHT, *LIGHT_FILES), HEAVY) == []


def test_what_a_driver_imports_loads_no_tensorflow():
    assert importing(of("trainables", *LIGHT_TO_IMPORT), HEAVY, into_functions=False) == []


def test_every_file_is_of_a_package_that_has_its_place():
    unplaced = [name for name in MODULES if rank(name, (*LAYERS, {"search"}))[0] < 0]
    unplaced += [
        name for name in MODULES if name.startswith("trainables.") and rank(name, TRAINED)[0] < 0
    ]

    assert unplaced == []


@pytest.mark.parametrize("layers", [LAYERS, TRAINED], ids=["search", "trainables"])
def test_imports_lead_down_from_package_to_package(layers):
    assert arrows_up(layers) == []


def test_there_are_few_floors():
    assert floors() <= MOST_FLOORS


@pytest.mark.parametrize("package", MOST_AT_THE_TOP)
def test_the_top_of_a_package_is_seen_at_one_glance(package):
    assert len(top(package)) <= MOST_AT_THE_TOP[package]


def test_few_functions_take_many_arguments():
    wide = wide_functions(6)

    assert len(wide) <= MOST_WIDE_FUNCTIONS, wide
    assert max(wide.values(), default=0) <= MOST_PARAMETERS, wide


def test_no_two_classes_have_one_name():
    assert {name: where for name, where in classes().items() if len(where) > 1} == {}


def test_what_nobody_else_uses_is_private():
    assert len(unused_definitions()) <= MOST_UNUSED_DEFINITIONS


def test_the_files_of_packages_say_nothing_but_what_the_package_is():
    for name, path in MODULES.items():
        if path.name == "__init__.py" and name != "search":
            assert len(ast.parse(path.read_text()).body) == 1, name


def test_only_the_samplers_speak_to_optuna():
    users = {
        name.rpartition(".")[0]
        for name, path in MODULES.items()
        if "optuna" in top_level(imported(path, into_functions=True))
    }

    assert users == {"search.sampling"}


def test_one_module_runs_a_tuner():
    users = [name for name, path in MODULES.items() if "Tuner(" in path.read_text()]

    assert len(users) == 1


def test_modules_do_not_import_each_other_in_circles():
    assert left_in_circles(graph(into_functions=False)) == []


def test_every_import_is_of_the_standard_library_or_a_declared_dependency():
    declared = {
        "google",  # of protobuf, which TensorFlow brings
        "grpc",  # which Ray's dashboard brings
        "keras",
        "msgspec",
        "numpy",
        "optuna",
        "packaging",
        "PIL",
        "psutil",
        "pyarrow",
        "ray",
        "rich",
        "scipy",
        "tensorflow",
        "threadpoolctl",
        "yaml",
    }
    allowed = declared | {"search", "trainables"} | set(sys.stdlib_module_names)
    unknown = {
        name: sorted(top_level(imported(path, into_functions=True)) - allowed)
        for name, path in MODULES.items()
    }

    assert {name: found for name, found in unknown.items() if found} == {}


def test_files_are_short_enough_to_be_read_in_one_go():
    lines = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}

    assert {name: num for name, num in lines.items() if num > MOST_LINES} == {}


def test_functions_are_short_enough_to_be_seen_at_once():
    lines = {
        f"{name}:{node.name}": body_lines(node)
        for name, path in MODULES.items()
        for node, _ in functions(tree_of(path))
    }

    assert {name: num for name, num in lines.items() if num > MOST_FUNCTION_LINES} == {}


def test_every_file_says_its_one_job_in_its_first_line():
    said = {name: ast.get_docstring(tree_of(path)) or "" for name, path in MODULES.items()}

    assert [
        n for n, text in said.items() if not text.partition("\n")[0].endswith((".", ":"))
    ] == []
