"""Measures how the house is built: ``python -m tests.measures`` prints the whole table.

`tests/unit/test_layout.py` keeps the first of them by tests.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from functools import cache
from pathlib import Path
from typing import TypeGuard

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("search", "trainables")
FILES = sorted(path for package in PRODUCT for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MODULES = {
    ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in FILES
}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

LAYERS: tuple[Set[str], ...] = (
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
TRAINED: tuple[Set[str], ...] = (
    {"trainables.errors"},
    {"trainables.storage"},
    {"trainables.spec"},
    {"trainables.data"},
    {"trainables.model"},
    {"trainables.training"},
    {"trainables.trial"},
    {"trainables.probing"},
)
"""The same of what is in `trainables`."""
TRIALS = ("RecordedTrial", "TrialRecord", "EarlierTrial")
POINTS = ("Measurement", "EpochResult", "Point", "Tested")
"""The types that hold a trial, or a point of one."""


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def lines_of(paths: list[Path]) -> int:
    return sum(len(path.read_text().splitlines()) for path in paths)


def statements(node: ast.AST, *, into_functions: bool) -> Iterator[ast.AST]:
    """Yield what is executed when a module is imported, and in its functions if asked."""
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, (*FUNCTIONS, ast.Lambda))
        is_type_checking = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
        if is_type_checking or (is_function and not into_functions):
            continue
        yield child
        yield from statements(child, into_functions=into_functions)


@cache
def imported(path: Path, *, into_functions: bool) -> frozenset[str]:
    """Return the modules that a file imports; of ``from a import b`` a.b where that is one."""
    names: set[str] = set()
    for node in statements(tree_of(path), into_functions=into_functions):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} needs absolute imports, got line {node.lineno}"
            assert node.module is not None
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in full}
    return frozenset(names)


def graph(*, into_functions: bool) -> dict[str, Set[str]]:
    """Return which modules of ours each module imports."""
    return {
        name: imported(path, into_functions=into_functions) & MODULES.keys() - {name}
        for name, path in MODULES.items()
    }


def left_in_circles(arrows: Mapping[str, Set[str]]) -> list[str]:
    """Return what is in a circle of arrows, or leads from one to another."""
    left = dict(arrows)
    while ends := {
        name
        for name, others in left.items()
        if not others & left.keys() or not any(name in theirs for theirs in left.values())
    }:
        left = {name: others for name, others in left.items() if name not in ends}
    return sorted(left)


def arrows_up(layers: tuple[Set[str], ...]) -> list[str]:
    """Return the imports between layers that do not lead down, those in functions counted."""
    found = []
    for name, others in graph(into_functions=True).items():
        place, package = rank(name, layers)
        for other in others:
            theirs, whose = rank(other, layers)
            if -1 not in (place, theirs) and whose != package and theirs >= place:
                found.append(f"{name} -> {other}")
    return sorted(found)


def rank(name: str, layers: tuple[Set[str], ...]) -> tuple[int, str]:
    """Return the place of a module's package among the layers, and that package; -1 for none."""
    for place, layer in enumerate(layers):
        for package in layer:
            if name == package or name.startswith(f"{package}."):
                return place, package
    return -1, name


def packages() -> dict[str, Set[str]]:
    """Return which packages each package of the search imports; `trainables` counts as one."""
    found: dict[str, set[str]] = {}
    for name, others in graph(into_functions=True).items():
        place, package = rank(name, LAYERS)
        if place >= 0:
            theirs = {rank(other, LAYERS)[1] for other in others if rank(other, LAYERS)[0] >= 0}
            found.setdefault(package, set()).update(theirs - {package})
    return dict(found)


def floors() -> int:
    """Return over how many packages the longest way down leads."""
    arrows = packages()

    def height(package: str) -> int:
        return 1 + max(map(height, arrows[package]), default=0)

    return max(map(height, arrows)) if not left_in_circles(arrows) else len(arrows)


def top(package: str) -> list[str]:
    """Return what stands at the top of a package."""
    entries = {path.name for path in (ROOT / package).iterdir()}
    return sorted(entries - {"__pycache__", "assets", "py.typed"})


def wide_functions(least: int) -> dict[str, int]:
    """Return the functions of so many parameters, public constructors apart."""
    found = {}
    for name, path in MODULES.items():
        for node, owner in functions(tree_of(path)):
            is_constructor = node.name == "__init__" and not owner.startswith("_")
            if not is_constructor and (num := num_parameters(node)) >= least:
                found[f"{name}:{owner + '.' if owner else ''}{node.name}"] = num
    return found


def functions(tree: ast.AST, owner: str = "") -> Iterator[tuple[ast.FunctionDef, str]]:
    """Yield all functions, each with the class that it is in, if any."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, FUNCTIONS):
            yield node, owner  # type: ignore[misc]
        inner = node.name if isinstance(node, ast.ClassDef) else ""
        yield from functions(node, inner or ("" if isinstance(node, FUNCTIONS) else owner))


def num_parameters(node: ast.FunctionDef) -> int:
    args = node.args
    names = [arg.arg for arg in [*args.posonlyargs, *args.args, *args.kwonlyargs]]
    stars = [one for one in (args.vararg, args.kwarg) if one is not None]
    return len([name for name in names if name not in ("self", "cls")]) + len(stars)


def unused_definitions() -> list[str]:
    """Return the public functions and classes of modules that no other module names.

    But for classes that others get, as from a function or as part of a value, or have to give.
    """
    named = Counter(name for path in FILES for name in names_in(path))
    found = []
    for module, path in MODULES.items():
        own = names_in(path)
        body = tree_of(path).body
        given = {place: given_by(node) for place, node in enumerate(body)}
        for place, node in enumerate(body):
            if not is_public(node):
                continue
            is_given = any(node.name in names for other, names in given.items() if other != place)
            is_named = named[node.name] > (node.name in own)
            if not is_named and not (is_given and isinstance(node, ast.ClassDef)):
                found.append(f"{module}:{node.name}")
    return found


def is_public(node: ast.AST) -> TypeGuard[ast.FunctionDef | ast.ClassDef]:
    """Tell whether it is a public definition; what a process of its own begins with is none."""
    is_definition = isinstance(node, (*FUNCTIONS, ast.ClassDef))
    return is_definition and not node.name.startswith("_") and node.name != "main"


def given_by(node: ast.AST) -> set[str]:
    """Return the names in the annotations of what is public of a definition or a value."""
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and not is_public(node):
        return set()
    annotations = [
        one.returns if isinstance(one, FUNCTIONS) else one.annotation
        for one in ast.walk(node)
        if isinstance(one, (*FUNCTIONS, ast.AnnAssign, ast.arg))
    ]
    texts = [ast.unparse(one) for one in annotations if one is not None]
    return set(re.findall(r"\w+", " ".join(texts)))


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return all names that a file imports or takes from something, also in its strings."""
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom | ast.Import):
            found |= {alias.name.rpartition(".")[2] for alias in node.names}
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif is_text(node) and not re.search(r"\s", node.value):
            # Commands and actors are named in strings such as "best" or "package.module:name".
            found |= set(re.split(r"[.:]", node.value))
    return frozenset(found)


def is_text(node: ast.AST) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def classes() -> dict[str, list[str]]:
    """Return the modules that define a class of each name."""
    found: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(module)
    return found


def main() -> None:
    every = classes()
    twice = {name: where for name, where in every.items() if len(where) > 1}
    wide, unused = wide_functions(6), unused_definitions()
    rows = [
        ("modules in circles, at import; deferred ones counted", both_circles(), "0; 0"),
        ("arrows up in search; in trainables", both_arrows(), "0; 0"),
        ("floors between packages", floors(), "at most 8"),
        ("entries at the top of search; trainables", both_tops(), "at most 15; 9"),
        ("functions of 6 parameters or more; the widest", widest(wide), "at most 4; 7"),
        ("public definitions that no other file names", len(unused), "at most 20"),
        ("product files; lines", f"{len(FILES)}; {lines_of(FILES)}", "at most 150; 30,209"),
        ("types that hold a trial", ", ".join(n for n in TRIALS if n in every), "at most 3"),
        ("types that hold a point", ", ".join(n for n in POINTS if n in every), "at most 4"),
        ("class names defined twice", len(twice), "0"),
        ("test files; lines", f"{len(TESTS)}; {lines_of(TESTS)}", "at most 32,000 lines"),
    ]
    for what, figure, goal in rows:
        print(f"{what:55} {figure!s:12}  (goal: {goal})")
    for title, found in {"wide": wide, "unused": unused, "twice": twice}.items():
        print(f"\n{title}:")
        print(
            "\n".join(
                f"  {one} {found[one]}" if isinstance(found, dict) else f"  {one}" for one in found
            )
        )


def both_circles() -> str:
    kinds = (False, True)
    return "; ".join(str(len(left_in_circles(graph(into_functions=deep)))) for deep in kinds)


def both_arrows() -> str:
    return f"{len(arrows_up(LAYERS))}; {len(arrows_up(TRAINED))}"


def both_tops() -> str:
    return "; ".join(str(len(top(package))) for package in PRODUCT)


def widest(wide: Mapping[str, int]) -> str:
    return f"{len(wide)}; {max(wide.values(), default=0)}"


if __name__ == "__main__":
    main()
