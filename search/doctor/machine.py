"""The facts of the machine that `twohead doctor` was typed on, and of its way to a cluster."""

import http.client
import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from search.doctor.access import EXPORT, token_problems
from search.doctor.ask import ASK_SECONDS, WRONG_TOKEN
from search.doctor.cluster import shown_storage
from search.doctor.facts import NodeFacts, Place
from search.doctor.finding import Finding, Problem, finding, names
from search.doctor.node import node_facts, version_of
from search.doctor.ports import is_loopback
from search.doctor.probe import gpu_facts, has_nvidia, remove_probe, write_probe
from search.doctor.rules import (
    judge_disks,
    judge_gpus,
    judge_memory,
    judge_open_files,
    judge_shm,
    judge_storage,
)
from search.doctor.token import own_token
from search.doctor.versions import OURS, declared_bounds, judge_versions
from search.ray_folder import places

GPU_SECONDS = 40.0
MOST_BYTES = 10_000
"""That are read of a page."""
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
        judge_own_ports(place.facts, os.environ.get("RAY_AUTH_MODE", "")),
        judge_ray_folder(places()),
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


def judge_own_ports(facts: NodeFacts | None, mode: str) -> Finding:
    """Judge who reaches a Ray on this machine: one that a study would start, and any that runs.

    Args:
        facts: Of this machine.
        mode: ``RAY_AUTH_MODE``; a Ray that is started asks for a token unless it says otherwise.
    """
    assert facts is not None
    problems = []
    if mode.strip().lower() == "disabled":
        what = "RAY_AUTH_MODE is disabled: any user of this machine runs code as you in a study"
        cure = "Unset RAY_AUTH_MODE: the Ray of a study then asks for a token"
        problems.append(("", Problem(what=what, cure=cure, state="warn")))
    outside = [
        f"{each['holder']} on {each['address']}:{each['port']}"
        for each in facts["listeners"]
        if each["is_rays"] and not is_loopback(each["address"])
    ]
    if outside:
        what = f"other machines reach a Ray that runs here: {names(outside)}"
        cure = "No study starts such a Ray: end it, or look again with RAY_ADDRESS naming it"
        problems.append(("", Problem(what=what, cure=cure, state="warn")))
    fine = "a study's Ray listens on 127.0.0.1 alone; users of this machine read its metrics there"
    return finding("ports", problems, fine)


def judge_ray_folder(found: Sequence[tuple[Path, str | None]]) -> Finding:
    """Judge whether a study's Ray has a place for its private folder, and the one that was meant.

    Args:
        found: Places, the preferred one first, each with what is against it.
    """
    taken = next((str(base) for base, problem in found if problem is None), None)
    cure = "Let RAY_TMPDIR name a folder of your own with a short path"
    against = "; ".join(f"{base} {problem}" for base, problem in found if problem is not None)
    if taken is None:
        problems = [("", Problem(what=f"no place for a study's Ray: {against}", cure=cure))]
        return finding("private folder", problems, "")
    told = f"a study's Ray lives in {taken}, where no other user enters it"
    if str(found[0][0]) == taken:
        return finding("private folder", [], told)
    problem = Problem(what=f"{told}, as {against}", cure=cure, state="warn")
    return finding("private folder", [("", problem)], "")


def examine_way(address: str) -> list[Finding]:
    """Return the findings about the way to a cluster's dashboard, from here.

    Args:
        address: ``http://host:port``, as the tunnel gives it, or ``https://``.
    """
    problems = _way_problems(address)
    fine = f"jobs at {address} are taken with our token only"
    return [finding("way", problems, fine), _judge_ray(address), _judge_tools()]


def judge_release(there: Mapping[str, str | None]) -> Finding:
    """Judge whether this machine and the cluster's head have the same release of ours."""
    here, other = version_of(OURS), there.get(OURS)
    if here == other:
        return finding("release", [], f"twohead-search {here} here and on the head")
    problem = Problem(
        what=f"twohead-search {here} here, {other} on the head",
        cure="Install one release on both: a study file may mean something else there",
        state="warn",
    )
    return finding("release", [("", problem)], "")


def _way_problems(address: str) -> list[tuple[str, Problem]]:
    open_to = [
        shown
        for token, shown in ((None, "no token"), (WRONG_TOKEN, "a wrong token"))
        if ask_page(address, token)[0] not in {401, 403}
    ]
    if open_to:
        what = f"jobs are taken with {' and '.join(open_to)}"
        return [("", Problem(what=what, cure=EXPORT))]
    if ask_page(address, own_token())[0] != 200:
        cure = "Copy the cluster's token to ~/.ray/auth_token here, and run `chmod 600` on it"
        return [("", Problem(what="the cluster refuses this machine's token", cure=cure))]
    return []


def ask_page(address: str, token: str | None, path: str = "/api/jobs/") -> tuple[int, bytes]:
    """Return status and content of a page of a dashboard; 0 if there is no answer.

    Args:
        address: ``http://host:port`` or ``https://host``.
        token: To be shown; None for none.
        path: Of the page.
    """
    parts = urlsplit(address)
    is_secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ASK_SECONDS)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(MOST_BYTES)
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def _judge_ray(address: str) -> Finding:
    """Judge whether this machine's Ray is the cluster's: its Jobs API is not told to be stable."""
    here = version_of("ray")
    try:
        there = str(json.loads(ask_page(address, own_token(), "/api/version")[1])["ray_version"])
    except (ValueError, LookupError, TypeError):
        cure = "Look whether this is the dashboard of a Ray"
        problem = Problem(what="no version was told", cure=cure, state="warn")
        return finding("Ray", [("", problem)], "")
    cure = f"Install that one here: `pip install 'ray[default,tune]=={there}'`"
    problem = Problem(what=f"{here} here, {there} on the cluster", cure=cure)
    same = f"{here} here and on the cluster"
    return finding("Ray", [] if here == there else [("", problem)], same)


def _judge_tools(tools: Sequence[str] = ("ssh", "rsync")) -> Finding:
    """Judge whether what `ray up` calls is there."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    problem = Problem(
        what=f"{', '.join(missing)} not found: `ray up` needs it",
        cure=f"Install {' and '.join(missing)} on the machine that you run `ray up` on",
        state="warn",
    )
    return finding("tools", [("", problem)] if missing else [], f"{' and '.join(tools)} are here")
