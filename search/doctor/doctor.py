"""The command `twohead doctor`: collects facts, has them judged, and prints what was found."""

import http.client
import json
import os
import secrets
import shutil
import sys
import textwrap
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import asdict, replace
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from search.cluster.ray_folder import places
from search.cluster.session import check_answers, no_ray, own_address, prepare_environment
from search.cluster.shares import joined_address
from search.cluster.token import own_token
from search.doctor import checks, node
from search.doctor.cluster import cluster_facts, shown_storage
from search.doctor.facts import ClusterFacts, Machine, WayFacts
from search.doctor.findings import Finding, State, fail, finding, judge
from search.doctor.ports import ASK_SECONDS, WRONG_TOKEN, ask_port, read_page
from search.doctor.versions import OURS, declared_bounds
from search.errors import InputError, SearchError
from search.remote.connection import http_connection
from search.text import clean, count
from search.view.json_form import to_text
from trainables.model.user_modules import hiding_file
from trainables.storage.uri_keys import check_no_key

Part = tuple[str, Sequence[Finding]]
"""What the findings are about, and those."""

MACHINE, WAY, CLUSTER = "this machine", "the way to the cluster", "the cluster"
UNFIT = 1
"""Exit status where something has to be done."""
GPU_SECONDS = 40.0
TOOLS = ("ssh", "rsync")
"""What `ray up` calls."""
MOST_BYTES = 10_000
"""That are read of a page."""
LONGEST = 400
"""Characters of another's message."""
TUNNEL = "Open the tunnel with `ray dashboard cluster.yaml`, and give its address"
JOB = "Look into the job with `ray job logs`, and whether the head has this release"

COLOURS: Mapping[State, str] = {"ok": "green", "warn": "yellow", "FAIL": "bold red"}
NAMES = 15
"""Columns of the longest name of a check, with a blank behind it."""
INDENT = 2 + 6 + NAMES
NARROWEST = 60


def doctor(args: Namespace, console: Console) -> int:
    """Print whether this machine, or a cluster, is fit."""
    with redirect_stdout(sys.stderr):  # where Ray's own remarks belong: this is read by programs
        parts = _examine(args.address, args.storage)
    told = _page_to_dict(parts)
    if args.json:
        console.file.write(to_text(told) + "\n")
    else:
        _print_page(console, parts)
    return 0 if told["fit"] else UNFIT


def _examine(address: str | None, storage: str | None) -> list[Part]:
    """Return all findings, about this machine or about a cluster."""
    if address is not None:
        machine = judge(checks.MACHINE, _machine_facts("", needs_token=True))
        return [(MACHINE, machine), *_far(address, storage)]
    if joined_address():
        return [(CLUSTER, _joined_cluster(storage))]
    return [(MACHINE, judge(checks.ALONE, _machine_facts(storage or "studies")))]


def _machine_facts(storage: str, *, needs_token: bool = False) -> ClusterFacts:
    """Return what can be seen of this machine alone."""
    stored = None
    if storage:
        run = secrets.token_hex(8)
        stored = node.write_probe(storage, run)
        made = [node.probe_name()] if stored.made else []
        if error := node.remove_probe(storage, run, made):
            stored = replace(stored, errors={**stored.errors, "delete": error})
    gpu = node.gpu_facts(GPU_SECONDS) if node.has_nvidia() else None
    gpus = 0 if gpu is None else gpu.seen or 1  # a device without TensorFlow is told, too
    told = node.node_facts("", None, secrets.token_bytes(16))
    return ClusterFacts(
        machines=[Machine(told=told, gpu=gpu, gpus=gpus, storage=stored)],
        bounds=declared_bounds(),
        storage=shown_storage(storage),
        needs_token=needs_token,
        auth_mode=os.environ.get("RAY_AUTH_MODE", ""),
        ray_folders=places(),
        hiding_file=hiding_file(os.getcwd()),
    )


def _way_facts(address: str) -> WayFacts:
    """Return what can be seen of the way to a cluster's dashboard, from here."""
    own = own_token()
    strangers = {"no token": None, "a wrong token": WRONG_TOKEN}
    answers = {who: _ask_page(address, token)[0] for who, token in strangers.items()}
    try:
        page = _ask_page(address, own, "/api/version")[1]
        ray = str(json.loads(page)["ray_version"])
    except (ValueError, LookupError, TypeError):
        ray = None
    return WayFacts(
        address=address,
        open_to=[who for who, status in answers.items() if status not in {401, 403}],
        takes_ours=_ask_page(address, own)[0] == 200,
        ray=(node.version_of("ray"), ray),
        missing_tools=[tool for tool in TOOLS if shutil.which(tool) is None],
    )


def _ask_page(address: str, token: str | None, path: str = "/api/jobs/") -> tuple[int, bytes]:
    """Return status and content of a page of a dashboard; 0 if there is no answer."""
    try:
        return read_page(http_connection(address, ASK_SECONDS), path, token, MOST_BYTES)
    except (OSError, http.client.HTTPException):
        return 0, b""


def _far(address: str, storage: str | None) -> list[Part]:
    """Return the findings of a cluster that this machine reaches through its dashboard only."""
    from search.remote.client import Client

    check_no_key("--storage", storage or "")
    try:
        with Client(address) as client:
            way = _way_facts(client.address)
            found = judge(checks.WAY, way)
            try:
                answer = client.relay("doctor", {"storage": storage, "json": True})
            except SearchError as error:
                return [(WAY, found), (CLUSTER, [_one("job", error, JOB)])]
    except InputError:
        raise
    except SearchError as error:
        return [(WAY, [_one("way", error, TUNNEL)])]
    try:
        told = json.loads(answer.out)
        way = replace(way, releases=(node.version_of(OURS), told["versions"].get(OURS)))
        return [(WAY, [*found, *judge([checks.RELEASE], way)]), *_page_from_dict(told)]
    except (ValueError, LookupError, TypeError):
        said = answer.err or answer.out or f"status {answer.status}"
        return [(WAY, found), (CLUSTER, [_one("job", said, JOB)])]


def _one(check: str, what: object, cure: str) -> Finding:
    """Return the finding of what kept us from looking further."""
    return finding(check, [fail(" ".join(str(what).split())[:LONGEST], cure)])


def _joined_cluster(storage: str | None) -> list[Finding]:
    """Return the findings of the Ray at ``RAY_ADDRESS``."""
    address = joined_address()
    if "://" in address:
        raise InputError(f"doctor needs RAY_ADDRESS as host:port or 'auto', got {address!r}")
    address = own_address(address)
    check_answers(address)
    if unheard := _unheard(address):
        return [unheard]
    if storage is None:
        storage = os.environ.get("TWOHEAD_STORAGE", "").strip()
    with _joined(address):
        return judge(checks.CLUSTER, cluster_facts(storage))


def _unheard(address: str) -> Finding | None:
    """Return what to say if the control service refuses us, or answers nothing at all.

    Ray would try for 20 seconds, or for minutes in which no signal ends it (ray 2.60).
    """
    host, _, port = address.rpartition(":")
    told = ask_port("control service", host.strip("[]"), int(port))
    answers = {told.right, told.none}
    if answers == {"silent"}:
        what = f"what listens at {address} answers nothing that a Ray's head is asked"
        cure = "See whether RAY_ADDRESS names a Ray's head, and whether that still runs"
        return finding("nodes", [fail(what, cure)])
    if "refused" not in answers or told.right == "answered":
        return None
    what = f"the control service at {address} refuses this machine's token, or its lack of one"
    cure = f"Bring the cluster's token to ~/.ray/auth_token here. {checks.EXPORT}"
    return finding("token", [fail(what, cure)])


def _joined(address: str) -> AbstractContextManager[Any]:
    """Join a Ray until the context ends, unless this process has joined it before."""
    prepare_environment()
    import ray

    if ray.is_initialized():
        return nullcontext()
    try:
        joined: AbstractContextManager[Any] = ray.init(
            address, log_to_driver=False, logging_level="error"
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(no_ray(address, error)) from error
    return joined


def _print_page(console: Console, parts: Sequence[Part]) -> None:
    """Print all findings, one below the other, each failing one with its cures."""
    width = max(NARROWEST, console.width)
    for title, findings in parts:
        console.print(Text(clean(title), style="bold"), soft_wrap=True)
        for each in findings:
            _print_finding(console, each, width)
    console.print(Text(_verdict(parts), style="bold"), soft_wrap=True)


def _page_to_dict(parts: Sequence[Part]) -> dict[str, Any]:
    """Return all findings, and this process' versions, as plain JSON values."""
    return {
        "fit": all(each.state != "FAIL" for _, findings in parts for each in findings),
        "versions": {name: node.version_of(name) for name in node.PACKAGES},
        "parts": [{"title": title, "findings": [*map(asdict, found)]} for title, found in parts],
    }


def _page_from_dict(told: Mapping[str, Any]) -> list[Part]:
    """Return what `_page_to_dict` was given."""
    return [
        (part["title"], msgspec.convert(part["findings"], list[Finding])) for part in told["parts"]
    ]


def _verdict(parts: Sequence[Part]) -> str:
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
