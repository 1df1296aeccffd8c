"""Whether this machine, or a cluster, is fit: collects facts, judges them, and says what to do."""

import http.client
import json
import os
import secrets
import shutil
import sys
import textwrap
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.text import Text

from search.cluster.ray_folder import places
from search.cluster.session import check_answers, own_address, prepare_environment
from search.cluster.shares import joined_address
from search.doctor.access import (
    EXPORT,
    judge_dashboard,
    judge_modes,
    judge_ports,
    judge_refusals,
    judge_tokens,
    token_problems,
)
from search.doctor.cluster import cluster_facts, cluster_storage, shown_storage
from search.doctor.findings import (
    ClusterFacts,
    Finding,
    NodeFacts,
    Place,
    Problem,
    State,
    finding,
    is_fit,
    names,
)
from search.doctor.machines import (
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
from search.doctor.node import (
    PACKAGES,
    gpu_facts,
    has_nvidia,
    node_facts,
    remove_probe,
    version_of,
    write_probe,
)
from search.doctor.ports import ASK_SECONDS, WRONG_TOKEN, ask_port, is_loopback, own_token
from search.doctor.versions import OURS, declared_bounds, judge_versions
from search.errors import InputError, SearchError
from search.text import clean, count
from search.view.json_form import to_text
from trainables.model.user_modules import hiding_file
from trainables.storage.uri_keys import check_no_key

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


Part = tuple[str, Sequence[Finding]]
"""What the findings are about, and those."""


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
    from search.remote.client import Client

    check_no_key("--storage", storage or "")
    try:
        with Client(address) as client:
            way = examine_way(client.address)
            try:
                answer = client.relay("doctor", {"storage": storage, "json": True})
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


COLOURS: Mapping[State, str] = {"ok": "green", "warn": "yellow", "FAIL": "bold red"}


NAMES = 15
"""Columns of the longest name of a check, with a blank behind it."""


INDENT = 2 + 6 + NAMES


NARROWEST = 60


def print_page(console: Console, parts: Sequence[Part]) -> None:
    """Print all findings, one below the other, each failing one with its cures."""
    width = max(NARROWEST, console.width)
    for title, findings in parts:
        console.print(Text(clean(title), style="bold"), soft_wrap=True)
        for each in findings:
            _print_finding(console, each, width)
    console.print(Text(verdict(parts), style="bold"), soft_wrap=True)


def page_to_dict(parts: Sequence[Part]) -> dict[str, Any]:
    """Return all findings, and this process' versions, as plain JSON values."""
    everything = [each for _, findings in parts for each in findings]
    return {
        "fit": is_fit(everything),
        "versions": {name: version_of(name) for name in PACKAGES},
        "parts": [
            {"title": title, "findings": [each.to_dict() for each in findings]}
            for title, findings in parts
        ],
    }


def page_from_dict(told: Mapping[str, Any]) -> list[Part]:
    """Return what `page_to_dict` was given.

    Raises:
        LookupError: If it is nothing of that kind.
        TypeError: The same.
    """
    return [
        (str(part["title"]), [Finding.from_dict(one) for one in part["findings"]])
        for part in told["parts"]
    ]


def verdict(parts: Sequence[Part]) -> str:
    """Return the last line: fit or not, and how much there is to do."""
    states = [each.state for _, findings in parts for each in findings]
    failing, warnings = states.count("FAIL"), states.count("warn")
    more = f" ({count(warnings, 'warning')})" if warnings else ""
    if failing:
        return f"unfit: {count(failing, 'check')} of {len(states)} failed{more}"
    return f"fit: none of {count(len(states), 'check')} failed{more}"


def _print_finding(console: Console, each: Finding, width: int) -> None:
    lines = _wrapped(clean(each.seen), width)
    head = Text("  ")
    head.append(f"{each.state:<6}", style=COLOURS[each.state])
    head.append(f"{clean(each.check):<{NAMES}}")
    head.append(lines[0] if lines else "")
    console.print(head, soft_wrap=True)
    cures = [f"-> {clean(cure)}" for cure in each.cures]
    for line in [*lines[1:], *(line for cure in cures for line in _wrapped(cure, width))]:
        console.print(Text(" " * INDENT + line), soft_wrap=True)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width - INDENT, break_long_words=False, break_on_hyphens=False)
