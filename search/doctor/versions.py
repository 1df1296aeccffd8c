"""Which versions a machine needs: what our own distribution declares, and no second list."""

from collections.abc import Iterator, Mapping
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from search.doctor.facts import ClusterFacts, Machine
from search.doctor.findings import Fault, fail, on_each, warn

OURS = "twohead-search"
INSTALL = (
    "Install the same release of twohead-search, with what it needs, on every node: "
    "`pip install --upgrade twohead-search` in the setup commands, then `ray up` again"
)


def declared_bounds() -> dict[str, SpecifierSet]:
    """Return what the installed distribution asks of its packages, but for those of extras.

    Empty if there is none.
    """
    try:
        requirements = [Requirement(line) for line in metadata.requires(OURS) or []]
    except metadata.PackageNotFoundError:
        return {}
    return {one.name.lower(): one.specifier for one in requirements if one.marker is None}


def _is_older(version: str, other: str) -> bool:
    """Tell whether a version comes before another; what is no version comes before all."""
    try:
        return Version(version) < Version(other)
    except InvalidVersion:
        return True


def version_faults(cluster: ClusterFacts) -> Iterator[Fault]:
    """Yield where machines do not run the same, or something older than what is safe."""
    yield from on_each(_of_one)(cluster)
    if not cluster.bounds:
        yield warn(
            "twohead-search is not installed here, so the floors are not known",
            "Install it, with `pip install twohead-search` or `pip install .` in its folder",
        )


def versions_told(cluster: ClusterFacts) -> str:
    """Return the versions that all machines share."""
    if not cluster.answered:
        return "nothing to compare"
    facts = cluster.answered[0].facts
    told = [f"Python {facts.python}"]
    told += [f"{name} {version}" for name, version in facts.versions.items()]
    num = len(cluster.answered)
    return ", ".join(told) + (f"; the same on {num} nodes" if num > 1 else "")


def _of_one(machine: Machine, cluster: ClusterFacts) -> Iterator[Fault]:
    facts, first = machine.facts, cluster.answered[0]
    for name, found in facts.versions.items():
        yield from _bounded(name, found, cluster.bounds)
    differing = {
        name: f"{found}, but {first.facts.versions.get(name) or 'none'}"
        for name, found in facts.versions.items()
        if found is not None and found != first.facts.versions.get(name)
    }
    for name, told in differing.items():
        yield fail(f"{name} {told} on {first.title}", INSTALL)
    if facts.code != first.facts.code and OURS not in differing:
        yield fail(f"other code than on {first.title}, at the same version of {OURS}", INSTALL)
    here, there = facts.python, first.facts.python
    if here != there:
        told_as = warn if here.split(".")[:2] == there.split(".")[:2] else fail
        yield told_as(
            f"Python {here}, but {there} on {first.title}",
            "Use one Python on all nodes: Ray takes no two of different minor versions",
        )


def _bounded(
    name: str, version: str | None, bounds: Mapping[str, SpecifierSet]
) -> Iterator[Fault]:
    if version is None:
        if bounds:
            yield fail(f"{name} is not installed", INSTALL)
        return
    for bound in bounds.get(name, ()):
        if bound.operator == ">=" and _is_older(version, bound.version):
            yield fail(f"{name} {version} is older than {bound.version}", INSTALL)
        if bound.operator == "<" and not _is_older(version, bound.version):
            yield warn(f"{name} {version} was not tried: below {bound.version} is", INSTALL)
