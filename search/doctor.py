"""Whether this machine, or a cluster, is fit: collects facts, judges them, and says what to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from search.cluster import check_answers, prepare_environment
from search.doctor_access import (
    EXPORT,
    judge_dashboard,
    judge_modes,
    judge_ports,
    judge_refusals,
    judge_tokens,
)
from search.doctor_ask import ask_port
from search.doctor_cluster import cluster_facts, cluster_storage
from search.doctor_facts import ClusterFacts
from search.doctor_finding import Finding, Problem, finding
from search.doctor_machine import examine_machine, examine_way
from search.doctor_page import Part, page_from_dict
from search.doctor_rules import (
    judge_autoscaler,
    judge_clocks,
    judge_disks,
    judge_gpus,
    judge_head,
    judge_memory,
    judge_nodes,
    judge_open_files,
    judge_shm,
    judge_storage,
)
from search.doctor_versions import declared_bounds, judge_versions
from search.errors import InputError, SearchError
from search.resources import joined_address

MACHINE, WAY, CLUSTER = "this machine", "the way to the cluster", "the cluster"

Relay = Callable[[str, str], dict[str, object]]
"""Asks the cluster at an address, about a storage, for what `page_to_dict` gives there."""


def examine(address: str | None, storage: str | None, relay: Relay | None = None) -> list[Part]:
    """Return all findings, about this machine or about a cluster.

    Args:
        address: The dashboard of a cluster; None for this machine alone, or for the Ray at
            ``RAY_ADDRESS``.
        storage: A path or URI to try; None for ``studies`` here, ``TWOHEAD_STORAGE`` there.
        relay: How a cluster is asked.

    Raises:
        InputError: If an address is none.
    """
    if address is None:
        if joined_address():
            return [(CLUSTER, examine_joined(storage))]
        return [(MACHINE, examine_machine(storage or "studies", with_token=False))]
    way = examine_way(address)
    parts: list[Part] = [(MACHINE, examine_machine("", with_token=True)), (WAY, way)]
    if relay is None or any(each.state == "FAIL" for each in way if each.check == "way"):
        return parts
    return parts + _relayed(relay, address, storage)


def examine_joined(storage: str | None) -> list[Finding]:
    """Return the findings of the Ray at ``RAY_ADDRESS``.

    Raises:
        InputError: If nothing answers there.
    """
    address = joined_address()
    if "://" in address:
        raise InputError(f"doctor needs RAY_ADDRESS as host:port or 'auto', got {address!r}")
    check_answers(address)
    refused = _refused(address)
    if refused is not None:
        return [refused]
    with _joined(address):
        return judge_cluster(cluster_facts(cluster_storage() if storage is None else storage))


def judge_cluster(facts: ClusterFacts) -> list[Finding]:
    """Return what is to be said of a cluster."""
    places = facts.places
    return [
        judge_nodes(facts),
        judge_versions(places, declared_bounds()),
        judge_modes(places),
        judge_tokens(places, facts.own_digest),
        judge_refusals(places),
        judge_dashboard(places, facts.dashboard),
        judge_ports(places),
        judge_gpus(places),
        judge_storage(places, facts.storage),
        judge_disks(places),
        judge_shm(places),
        judge_memory(places),
        judge_open_files(places),
        judge_clocks(places),
        judge_head(places),
        judge_autoscaler(facts),
    ]


def _refused(address: str) -> Finding | None:
    """Return what to say if the control service refuses us; Ray would try for 20 seconds."""
    host, _, port = address.rpartition(":")
    if not host:
        return None
    answer = ask_port("control service", host.strip("[]"), int(port))
    if "refused" not in {answer["right"], answer["none"]} or answer["right"] == "answered":
        return None
    what = f"the control service at {address} refuses this machine's token, or its lack of one"
    cure = f"Bring the cluster's token to ~/.ray/auth_token here. {EXPORT}"
    return finding("token", [("", Problem(what=what, cure=cure))], "")


@contextmanager
def _joined(address: str) -> Iterator[None]:
    prepare_environment()
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address, log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"RAY_ADDRESS needs the address of a running Ray, got {address!r} ({said})"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _relayed(relay: Relay, address: str, storage: str | None) -> list[Part]:
    """Return what the cluster says of itself, or that it does not."""
    try:
        return page_from_dict(relay(address, storage or ""))
    except (SearchError, LookupError, TypeError) as error:
        what = f"it could not be asked: {' '.join(str(error).split())[:300]}"
        cure = "Look into the job with `ray job logs`, and whether the head has twohead-search"
        return [(CLUSTER, [finding("job", [("", Problem(what=what, cure=cure))], "")])]
