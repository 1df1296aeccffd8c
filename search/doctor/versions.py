"""Which versions a machine needs: what our own distribution declares, and no second list."""

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata

from search.doctor.findings import Finding, Place, Problem, finding

OURS = "twohead-search"
INSTALL = (
    "Install the same release of twohead-search, with what it needs, on every node: "
    "`pip install --upgrade twohead-search` in the setup commands, then `ray up` again"
)
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*(?:\[[^]]*\])?\s*([^;]*)$")

Bounds = Mapping[str, Sequence[tuple[str, str]]]
"""By package: operators and versions, such as ``(">=", "2.60"), ("<", "2.61")``."""


def declared_bounds() -> Bounds:
    """Return what the installed distribution asks of its packages; empty if there is none."""
    try:
        required = metadata.requires(OURS) or []
    except metadata.PackageNotFoundError:
        return {}
    return parse_bounds(required)


def parse_bounds(required: Iterable[str]) -> Bounds:
    """Return the bounds of requirements; those of extras are left out.

    Example:
        >>> parse_bounds(["ray[default]>=2.60,<2.61", 'torch>=2; extra == "gp"'])
        {'ray': [('>=', '2.60'), ('<', '2.61')]}
    """
    bounds: dict[str, Sequence[tuple[str, str]]] = {}
    for requirement in required:
        match = _REQUIREMENT.match(requirement.strip())
        if match:
            bounds[match[1].lower()] = re.findall(r"([<>=!~]+)\s*([^\s,]+)", match[2])
    return bounds


def is_older(version: str, other: str) -> bool:
    """Tell whether a version comes before another, by the numbers in it.

    Example:
        >>> is_older("3.9", "3.15.1"), is_older("2.60.0", "2.60"), is_older("2.61.0rc1", "2.61")
        (True, False, True)
    """
    return _order(version) < _order(other)


def judge_versions(places: Sequence[Place], bounds: Bounds) -> Finding:
    """Judge whether all machines run the same, and nothing older than what is safe."""
    known = [place for place in places if place.facts is not None]
    problems = [(place.title, p) for place in known for p in _of_one(place, known[0], bounds)]
    if not bounds:
        problems.append(("", _NOT_INSTALLED))
    return finding("versions", problems, _fine(known))


_NOT_INSTALLED = Problem(
    what="twohead-search is not installed here, so the floors are not known",
    cure="Install it, with `pip install twohead-search` or `pip install .` in its folder",
    state="warn",
)


def _fine(known: Sequence[Place]) -> str:
    facts = known[0].facts if known else None
    if facts is None:
        return "nothing to compare"
    told = [f"Python {facts['python']}"]
    told += [f"{name} {version}" for name, version in facts["versions"].items()]
    return ", ".join(told) + (f"; the same on {len(known)} nodes" if len(known) > 1 else "")


def _of_one(place: Place, first: Place, bounds: Bounds) -> list[Problem]:
    facts, other = place.facts, first.facts
    assert facts is not None
    assert other is not None
    problems = [
        p for name, found in facts["versions"].items() for p in _bounded(name, found, bounds)
    ]
    differing = {
        name: (found, other["versions"].get(name))
        for name, found in facts["versions"].items()
        if found is not None and found != other["versions"].get(name)
    }
    problems += [
        Problem(what=f"{name} {found}, but {there or 'none'} on {first.title}", cure=INSTALL)
        for name, (found, there) in differing.items()
    ]
    if facts["code"] != other["code"] and OURS not in differing:
        what = f"other code than on {first.title}, at the same version of {OURS}"
        problems.append(Problem(what=what, cure=INSTALL))
    return problems + _python(facts["python"], other["python"], first.title)


def _bounded(name: str, version: str | None, bounds: Bounds) -> list[Problem]:
    if version is None:
        return [Problem(what=f"{name} is not installed", cure=INSTALL)] if bounds else []
    problems = []
    for operator, bound in bounds.get(name, ()):
        if operator == ">=" and is_older(version, bound):
            what = f"{name} {version} is older than {bound}"
            problems.append(Problem(what=what, cure=INSTALL))
        if operator == "<" and not is_older(version, bound):
            what = f"{name} {version} was not tried: below {bound} is"
            problems.append(Problem(what=what, cure=INSTALL, state="warn"))
    return problems


def _python(version: str, other: str, where: str) -> list[Problem]:
    if version == other:
        return []
    is_minor = version.split(".")[:2] != other.split(".")[:2]
    return [
        Problem(
            what=f"Python {version}, but {other} on {where}",
            cure="Use one Python on all nodes: Ray takes no two of different minor versions",
            state="FAIL" if is_minor else "warn",
        )
    ]


def _order(version: str) -> tuple[tuple[int, ...], int]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    if match is None:
        return (), 0
    numbers = [int(part) for part in match[0].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    is_before = re.match(r"\.?(?:a|b|rc|dev)", version[match.end() :]) is not None
    return tuple(numbers), -1 if is_before else 0
