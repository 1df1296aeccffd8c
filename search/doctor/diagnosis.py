"""Whether this machine, or a cluster, is fit: collects facts, judges them, and says what to do."""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from rich.console import Console

from search.as_json import to_text
from search.cluster import check_answers, prepare_environment
from search.doctor.access import (
    EXPORT,
    judge_dashboard,
    judge_modes,
    judge_ports,
    judge_refusals,
    judge_tokens,
)
from search.doctor.ask import ask_port
from search.doctor.cluster import cluster_facts, cluster_storage
from search.doctor.facts import ClusterFacts
from search.doctor.finding import Finding, Problem, finding
from search.doctor.machine import TUNNEL, examine_machine, examine_way, judge_release
from search.doctor.page import Part, page_from_dict, page_to_dict, print_page
from search.doctor.rules import (
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
from search.doctor.versions import declared_bounds, judge_versions
from search.errors import InputError, SearchError
from search.ray_address import own_address
from search.resources import joined_address
from trainables.imports import hiding_file
from trainables.uri_keys import check_no_key

MACHINE, WAY, CLUSTER = "this machine", "the way to the cluster", "the cluster"
JOB = "Look into the job with `ray job logs`, and whether the head has this release"
LONGEST = 400
"""Characters of another's message."""
UNFIT = 1
"""Exit status where something has to be done."""


def doctor(args: Namespace, console: Console) -> int:
    """Print whether this machine, or a cluster, is fit."""
    with redirect_stdout(sys.stderr):  # where Ray's own remarks belong: this is read by programs
        parts = examine(args.address, args.storage)
    told = page_to_dict(parts)
    if args.json:
        console.file.write(to_text(told) + "\n")
    else:
        print_page(console, parts)
    return 0 if told["fit"] else UNFIT


def examine(address: str | None, storage: str | None) -> list[Part]:
    """Return all findings, about this machine or about a cluster.

    Args:
        address: A cluster, as `search.connect` takes it; None for this machine alone, or for the
            Ray at ``RAY_ADDRESS``.
        storage: A path or URI to try; None for ``studies`` here, ``TWOHEAD_STORAGE`` there.

    Raises:
        InputError: If an address is none.
    """
    if address is not None:
        return [(MACHINE, examine_machine("", with_token=True)), *_far(address, storage)]
    if joined_address():
        return [(CLUSTER, examine_joined(storage))]
    machine = examine_machine(storage or "studies", with_token=False)
    return [(MACHINE, [*machine, *hidden_packages(os.getcwd())])]


def hidden_packages(folder: str) -> list[Finding]:
    """Return the finding of a file that hides our packages from scripts here; none without."""
    file = hiding_file(folder)
    if file is None:
        return []
    what = f"{file} is what a script or `python -m` that is started here imports in our place"
    cure = f"Rename {file}, or start Python with -P"
    return [finding("imports", [("", Problem(what=what, cure=cure, state="warn"))], "")]


def _far(address: str, storage: str | None) -> list[Part]:
    """Return the findings of a cluster that this machine reaches through its dashboard only."""
    from search.client import Client

    check_no_key("--storage", storage or "")
    argv = ["doctor", "--json", *(["--storage", storage] if storage else [])]
    try:
        with Client(address) as client:
            way = examine_way(client.address)
            try:
                answer = client.relay(argv)
            except SearchError as error:
                return [(WAY, way), (CLUSTER, [_one("job", error, JOB)])]
    except InputError:
        raise
    except SearchError as error:
        return [(WAY, [_one("way", error, TUNNEL)])]
    try:
        told = json.loads(answer.out)
        return [(WAY, [*way, judge_release(told["versions"])]), *page_from_dict(told)]
    except (ValueError, LookupError, TypeError):
        said = answer.err or answer.out or f"status {answer.status}"
        return [(WAY, way), (CLUSTER, [_one("job", said, JOB)])]


def _one(check: str, what: object, cure: str) -> Finding:
    """Return the finding of what kept us from looking further."""
    said = " ".join(str(what).split())[:LONGEST]
    return finding(check, [("", Problem(what=said, cure=cure))], "")


def examine_joined(storage: str | None) -> list[Finding]:
    """Return the findings of the Ray at ``RAY_ADDRESS``.

    Raises:
        InputError: If nothing answers there.
    """
    address = joined_address()
    if "://" in address:
        raise InputError(f"doctor needs RAY_ADDRESS as host:port or 'auto', got {address!r}")
    address = own_address(address)
    check_answers(address)
    unheard = _unheard(address)
    if unheard is not None:
        return [unheard]
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
        judge_refusals(places, facts.dashboard),
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


def _unheard(address: str) -> Finding | None:
    """Return what to say if the control service refuses us, or answers nothing at all.

    Ray would try for 20 seconds, or for minutes in which no signal ends it (ray 2.60).
    """
    host, _, port = address.rpartition(":")
    if not host:
        return None
    answer = ask_port("control service", host.strip("[]"), int(port))
    answers = {answer["right"], answer["none"]}
    if answers == {"silent"}:
        what = f"what listens at {address} answers nothing that a Ray's head is asked"
        cure = "See whether RAY_ADDRESS names a Ray's head, and whether that still runs"
        return finding("nodes", [("", Problem(what=what, cure=cure))], "")
    if "refused" not in answers or answer["right"] == "answered":
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
