"""The facts of the machine that `twohead doctor` was typed on, and of its way to a cluster."""

import http.client
import json
import secrets
import shutil
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from search.doctor_access import token_problems
from search.doctor_ask import ASK_SECONDS, WRONG_TOKEN, ask_http
from search.doctor_cluster import shown_storage
from search.doctor_facts import NodeFacts, Place
from search.doctor_finding import Finding, Problem, finding
from search.doctor_node import node_facts, version_of
from search.doctor_probe import gpu_facts, has_nvidia, remove_probe, write_probe
from search.doctor_rules import (
    judge_disks,
    judge_gpus,
    judge_memory,
    judge_open_files,
    judge_shm,
    judge_storage,
)
from search.doctor_token import own_token
from search.doctor_versions import declared_bounds, judge_versions
from search.errors import InputError

GPU_SECONDS = 40.0
TUNNEL = "Open the tunnel with `ray dashboard cluster.yaml`, and give its address"
"""The usual cure where a cluster does not answer."""


def examine_machine(storage: str, *, with_token: bool) -> list[Finding]:
    """Return the findings of this machine alone.

    Args:
        storage: A path or URI to try; empty for none.
        with_token: Whether it needs a token, for a cluster.
    """
    place = machine_facts(storage)
    findings = [
        judge_versions([place], declared_bounds()),
        judge_own_token(place.facts, is_needed=with_token),
        judge_disks([place]),
        judge_shm([place]),
        judge_memory([place]),
        judge_open_files([place]),
        judge_gpus([place]),
    ]
    return findings + ([judge_storage([place], shown_storage(storage))] if storage else [])


def machine_facts(storage: str) -> Place:
    """Return what can be seen of this machine."""
    run, name = secrets.token_hex(8), "here"
    stored: Any = None
    if storage:
        stored = write_probe(storage, run, name)
        stored["delete"] = remove_probe(storage, run, name, made=stored["made"])
    facts: Any = node_facts({"salt": secrets.token_bytes(16)})
    gpu: Any = gpu_facts(None, GPU_SECONDS) if has_nvidia() else None
    gpus = 0 if gpu is None else gpu["seen"] or 1  # a device without TensorFlow is told, too
    return Place(title="", facts=facts, gpu=gpu, gpus=gpus, storage=stored)


def judge_own_token(facts: NodeFacts | None, *, is_needed: bool) -> Finding:
    """Judge this machine's token, which a study without a cluster can do without."""
    assert facts is not None
    token = facts["token"]
    if token["problem"] == "is not there" and not is_needed:
        return Finding(check="token file", state="ok", seen="none yet: a cluster needs one")
    problems = [("", problem) for problem in token_problems(token)]
    if token["problem"]:
        cure = "Make one with `ray get-auth-token --generate`, or copy the cluster's; chmod 600"
        problems = [("", Problem(what=f"{token['path']} {token['problem']}", cure=cure))]
    return finding("token file", problems, f"{token['path']}, mode 0600")


def examine_way(address: str) -> list[Finding]:
    """Return the findings about the way to a cluster's dashboard, from here.

    Args:
        address: ``http://host:port``, as the tunnel gives it.

    Raises:
        InputError: If it is no such address.
    """
    host, port = split_address(address)
    _, stranger = ask_http(host, port, None)
    if stranger in {None, "silent"}:
        what = f"{address} does not answer" + ("" if stranger else " as a dashboard does")
        return [finding("way", [("", Problem(what=what, cure=TUNNEL))], "")]
    return [
        finding("way", _way_problems(host, port), f"{address} answers to our token alone"),
        _judge_ray(host, port),
        _judge_tools(),
    ]


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of a dashboard's address.

    Raises:
        InputError: If it is no ``http://host:port``.

    Example:
        >>> split_address("http://127.0.0.1:8265")
        ('127.0.0.1', 8265)
    """
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme != "http":
        raise InputError(f"--address needs http://host:port, got {address!r}")
    return host, port or 8265


def _way_problems(host: str, port: int) -> list[tuple[str, Problem]]:
    open_to = [
        shown
        for token, shown in ((None, "no token"), (WRONG_TOKEN, "a wrong token"))
        if ask_http(host, port, token, "/api/jobs/")[1] != "refused"
    ]
    if open_to:
        cure = "Export RAY_AUTH_MODE=token on every node, and restart Ray there"
        what = f"jobs are taken with {' and '.join(open_to)}"
        return [("", Problem(what=what, cure=cure))]
    if ask_http(host, port, own_token(), "/api/jobs/")[1] != "answered":
        cure = "Copy the cluster's token to ~/.ray/auth_token here, and run `chmod 600` on it"
        return [("", Problem(what="the cluster refuses this machine's token", cure=cure))]
    return []


def _judge_ray(host: str, port: int) -> Finding:
    """Judge whether this machine's Ray is the cluster's: its Jobs API is not told to be stable."""
    here, there = version_of("ray"), _ray_version(host, port)
    problems = []
    if there is None:
        cure = "Look whether this is the dashboard of a Ray"
        problems = [("", Problem(what="no version was told", cure=cure, state="warn"))]
    elif here != there:
        cure = f"Install that one here: `pip install 'ray[default,tune]=={there}'`"
        problems = [("", Problem(what=f"{here} here, {there} on the cluster", cure=cure))]
    return finding("Ray", problems, f"{here} here and on the cluster")


def _ray_version(host: str, port: int) -> str | None:
    connection = http.client.HTTPConnection(host, port, timeout=ASK_SECONDS)
    try:
        headers = {"Authorization": f"Bearer {own_token()}"}
        connection.request("GET", "/api/version", headers=headers)
        told = json.loads(connection.getresponse().read(10_000))
        return str(told["ray_version"])
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return None
    finally:
        connection.close()


def _judge_tools(tools: Sequence[str] = ("ssh", "rsync")) -> Finding:
    """Judge whether what `ray up` calls is there."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    problem = Problem(
        what=f"{', '.join(missing)} not found: `ray up` needs it",
        cure=f"Install {' and '.join(missing)} on the machine that you run `ray up` on",
        state="warn",
    )
    return finding("tools", [("", problem)] if missing else [], f"{' and '.join(tools)} are here")
