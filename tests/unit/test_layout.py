import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(p for package in ("search", "trainables") for p in (ROOT / package).rglob("*.py"))
MODULES = {
    ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in FILES
}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
MOST_LINES = 550
MOST_FUNCTION_LINES = 60
HEAVY = {"tensorflow", "keras", "tf_keras"}
LIGHT = ("errors", "spec", "storage", "data")
"""Packages of `trainables` that need no TensorFlow at all."""
LIGHT_FILES = ("model.signature", "model.prediction", "model.preprocessing", "trial.checkpoint")
LIGHT_TO_IMPORT = ("trial", "training.run", "model.isolation", "model.keras_home", "probing.actor")
"""What a driver imports: TensorFlow only inside its functions."""

LAYERS = (
    {"trainables"},
    {"search.errors", "search.text"},
    {"search.space", "search.record"},
    {"search.study"},
    {"search.sampling", "search.results", "search.cluster"},
    {"search.running", "search.remote", "search.view"},
    {"search.doctor"},
    {"search.cli"},
)
"""Packages, the lowest first: a file imports from its own package and from lower ones only."""
TRAINED = (
    {"errors"},
    {"spec", "storage"},
    {"data"},
    {"model"},
    {"training"},
    {"trial"},
    {"probing"},
)
"""The same of what is in `trainables`."""
MOST_AT_THE_TOP = {"search": 15, "trainables": 9}


def is_type_checking(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def statements(node, *, into_functions):
    """Yield what is executed when a module is imported, and in its functions if asked."""
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, (*FUNCTIONS, ast.Lambda))
        if is_type_checking(child) or (is_function and not into_functions):
            continue
        yield child
        yield from statements(child, into_functions=into_functions)


def imported(path, *, into_functions):
    """Return the modules that a file imports; of ``from a import b`` a.b where that is one."""
    names = set()
    for node in statements(ast.parse(path.read_text()), into_functions=into_functions):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} needs absolute imports, got line {node.lineno}"
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in full}
    return names


def top_level(names):
    return {name.partition(".")[0] for name in names}


def body_lines(function):
    """Return how many lines a function has, its decorators and docstring apart."""
    first = function.body[0]
    is_documented = ast.get_docstring(function) is not None
    docstring = first.end_lineno - first.lineno + 1 if is_documented else 0
    return function.end_lineno - function.lineno + 1 - docstring


def by_module(name):
    return pytest.param(name, id=name)


@pytest.mark.parametrize("name", [by_module(n) for n in MODULES if n.startswith("trainables")])
def test_what_is_trained_knows_nothing_of_the_search(name):
    used = top_level(imported(MODULES[name], into_functions=True))

    assert not used & {"search", "optuna"}


@pytest.mark.parametrize("name", [by_module(n) for n in MODULES if n.startswith("search")])
def test_the_search_never_imports_tensorflow(name):
    used = top_level(imported(MODULES[name], into_functions=True))

    assert not used & HEAVY


def in_trainables(*places):
    return [
        by_module(n)
        for n in MODULES
        if n.removeprefix("trainables.").startswith(places) and n.startswith("trainables.")
    ]


@pytest.mark.parametrize("name", in_trainables(*LIGHT, *LIGHT_FILES))
def test_data_and_plain_values_need_no_tensorflow(name):
    used = top_level(imported(MODULES[name], into_functions=True))

    assert not used & HEAVY


@pytest.mark.parametrize("name", in_trainables(*LIGHT_TO_IMPORT))
def test_what_a_driver_imports_loads_no_tensorflow(name):
    used = top_level(imported(MODULES[name], into_functions=False))

    assert not used & HEAVY


def rank(name, layers, depth):
    """Return the place of a module's package among the layers, and that package."""
    package = ".".join(name.split(".")[:depth])
    found = [place for place, layer in enumerate(layers) if package in layer]
    assert found, f"{package} is in no layer: add it where it belongs"
    return found[0], package


def arrows_up(names, layers, depth):
    """Return the imports that do not lead down, those inside of functions counted."""
    up = []
    for name in names:
        place, package = rank(name, layers, depth(name))
        for other in imported(MODULES[name], into_functions=True) & set(names):
            theirs, whose = rank(other, layers, depth(other))
            if whose != package and theirs >= place:
                up.append(f"{name} -> {other}")
    return sorted(up)


def test_imports_lead_down_from_package_to_package():
    names = [name for name in MODULES if name not in ("search", "trainables")]

    def depth(name):
        return 2 if name.startswith("search.") else 1

    assert arrows_up(names, LAYERS, depth) == []


def test_imports_of_what_is_trained_lead_down_from_package_to_package():
    names = [name for name in MODULES if name.startswith("trainables.")]
    layers = [{f"trainables.{name}" for name in layer} for layer in TRAINED]

    assert arrows_up(names, layers, lambda name: 2) == []


@pytest.mark.parametrize("package", MOST_AT_THE_TOP)
def test_the_top_of_a_package_is_seen_at_one_glance(package):
    entries = {path.name for path in (ROOT / package).iterdir()}

    assert len(entries - {"__pycache__", "assets", "py.typed"}) <= MOST_AT_THE_TOP[package]


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
    graph = {
        name: {other for other in imported(path, into_functions=False) if other in MODULES}
        for name, path in MODULES.items()
    }
    left = dict(graph)
    while leaves := {name for name, used in left.items() if not used & left.keys() - {name}}:
        left = {name: used for name, used in left.items() if name not in leaves}

    assert not left, f"a circle among {sorted(left)}"


def test_every_import_is_of_the_standard_library_or_a_declared_dependency():
    declared = {
        "google",  # of protobuf, which TensorFlow brings
        "grpc",  # which Ray's dashboard brings
        "keras",
        "numpy",
        "optuna",
        "PIL",
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


@pytest.mark.parametrize("name", [by_module(n) for n in MODULES])
def test_files_are_short_enough_to_be_read_in_one_go(name):
    assert len(MODULES[name].read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("name", [by_module(n) for n in MODULES])
def test_functions_are_short_enough_to_be_seen_at_once(name):
    tree = ast.parse(MODULES[name].read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]

    long = {f.name: body_lines(f) for f in functions if body_lines(f) > MOST_FUNCTION_LINES}

    assert long == {}


@pytest.mark.parametrize("name", [by_module(n) for n in MODULES])
def test_every_file_says_its_one_job_in_its_first_line(name):
    docstring = ast.get_docstring(ast.parse(MODULES[name].read_text()))

    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":"))
