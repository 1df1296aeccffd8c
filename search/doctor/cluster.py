"""The facts of a Ray that this process has joined, asked of every node at once."""

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from search.cluster.nodes import Failed, Node, living_nodes, on_each_node
from search.doctor import node as doctor_node
from search.doctor import node as doctor_probe
from search.doctor import ports as doctor_ask
from search.doctor import ports as doctor_ports
from search.doctor import ports as doctor_token
from search.doctor.findings import ClusterFacts, Place, Silence
from search.doctor.ports import ask_grpc
from trainables.storage.uri_keys import without_keys

FACTS_SECONDS = 25.0
STORAGE_SECONDS = 20.0
"""Of each of the three steps: write, look, delete."""
GPU_SECONDS = 50.0
SIDE_BY_SIDE = 16
"""Silent nodes that are looked into at once."""
TRAVELLING = (doctor_ask, doctor_node, doctor_ports, doctor_probe, doctor_token)
"""Go to the nodes as they are here: what is installed there is what is in question."""
LET_GO = {1, 4}
"""Ray's reasons for a node's end that are no fault: expected, and idle (ray 2.60)."""


def cluster_facts(storage: str) -> ClusterFacts:
    """Return what can be seen of the Ray that this process has joined, within a minute.

    Args:
        storage: A path or URI to try on every node; empty for none.
    """
    import ray

    salt = secrets.token_bytes(16)
    nodes = living_nodes()
    request = {
        "salt": salt,
        "gcs": ray.get_runtime_context().gcs_address,
        "head": next((node.id for node in nodes if node.is_head), None),
    }
    with _by_value(), ThreadPoolExecutor(max_workers=SIDE_BY_SIDE) as pool:
        gpus = pool.submit(_gpus, nodes)
        stored = pool.submit(_storage, nodes, storage)
        clock = _clock()
        told = on_each_node(doctor_node.node_facts, request, clock, seconds=FACTS_SECONDS)
        ray.kill(clock)
        places = pool.map(_place, nodes, [told.get(node) for node in nodes])
        found = [
            replace(place, gpu=gpus.result().get(node), storage=stored.result().get(node))
            for node, place in zip(nodes, places, strict=True)
        ]
    return ClusterFacts(
        places=found,
        dead=_dead(nodes),
        own_digest=doctor_token.digest_of(doctor_token.own_token(), salt),
        dashboard=_dashboard(),
        has_autoscaler=_has_autoscaler(found),
        autoscaler_crash=_autoscaler_crash(),
        autoscaler_troubles=_lost_nodes() + _failed_launches(),
        storage=shown_storage(storage),
    )


def cluster_storage() -> str:
    """Return the storage that studies get on this machine; empty if none is set."""
    return os.environ.get("TWOHEAD_STORAGE", "").strip()


def shown_storage(uri: str) -> str:
    """Return a storage without its options, and without a key: it is refused when tried."""
    return without_keys(uri).partition("?")[0]


@contextmanager
def _by_value() -> Iterator[None]:
    """Let our modules travel by value for the time being."""
    from ray import cloudpickle

    for module in TRAVELLING:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in TRAVELLING:
            cloudpickle.unregister_pickle_by_value(module)


def _clock() -> Any:
    """Start what tells this machine's time to the nodes."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(doctor_node.Clock).remote()


def _place(node: Node, told: Any) -> Place:
    place = Place(
        title=node.title,
        is_head=node.is_head,
        cpus=node.resources.get("CPU", 0),
        gpus=node.resources.get("GPU", 0),
    )
    if told is None or isinstance(told, Failed):
        reason = "no answer" if told is None else told.reason
        return replace(place, silence=silence_of(node, reason))
    return replace(place, facts=told)


def _gpus(nodes: Sequence[Node]) -> Mapping[Node, Any]:
    """Return by node what TensorFlow sees, of those that promise GPUs only: it takes seconds."""
    promising = [node for node in nodes if node.resources.get("GPU", 0)]
    asked = on_each_node(
        doctor_probe.gpus_here, GPU_SECONDS - 5, seconds=GPU_SECONDS, nodes=promising
    )
    lost = {"seen": None, "is_simulated": False}
    return {
        node: {**lost, "problem": told.reason} if isinstance(told, Failed) else told
        for node, told in asked.items()
    }


def _storage(nodes: Sequence[Node], uri: str) -> Mapping[Node, Any]:
    """Return by node how it fares with the storage: all write, then all look, then all delete."""
    if not uri:
        return {}
    run = secrets.token_hex(8)
    answers: dict[Node, Any] = {}
    empty: dict[str, Any] = dict.fromkeys(("write", "read", "list", "delete", "disk"))
    for node, told in _ask(nodes, doctor_probe.write_here, uri, run).items():
        lost = {**empty, "unseen": [], "made": False}
        answers[node] = {**lost, "write": told.reason} if isinstance(told, Failed) else told
    wrote = {node.id: node.title for node, told in answers.items() if told["write"] is None}
    able = [node for node in nodes if node.id in wrote]
    for node, told in _ask(able, doctor_probe.unseen_probes, uri, run, list(wrote)).items():
        if isinstance(told, Failed):
            answers[node]["read"] = told.reason
        else:
            answers[node]["unseen"] = [wrote[name] for name in told]
    made = [node.id for node in able if answers[node]["made"]]
    for node, told in _ask(able, doctor_probe.remove_here, uri, run, made).items():
        answers[node]["delete"] = told.reason if isinstance(told, Failed) else told
    return answers


def _ask(nodes: Sequence[Node], function: Callable[..., Any], *arguments: Any) -> dict[Node, Any]:
    return on_each_node(function, *arguments, seconds=STORAGE_SECONDS, nodes=nodes)


def _dead(living: Sequence[Node]) -> list[str]:
    """Return a line for each node that went without being let go."""
    import ray

    here = {node.address for node in living}
    lines = []
    for told in ray.nodes():
        if told["Alive"] or told.get("DeathReason") in LET_GO:
            continue
        address = told["NodeManagerAddress"]
        again = ", another is there now" if address in here else ""
        lines.append(f"{address} ({_reason(told)}{again})")
    return lines


def _reason(told: Mapping[str, Any]) -> str:
    words = str(told.get("DeathReasonMessage") or "no reason is known").split()
    return " ".join(words)[:80]


def _dashboard() -> str:
    from ray._private.worker import get_dashboard_url

    return str(get_dashboard_url() or "")


def _has_autoscaler(places: Sequence[Place]) -> bool:
    heads = [place.facts for place in places if place.is_head and place.facts is not None]
    return any("autoscaler" in facts["modes"] for facts in heads)


def _autoscaler_crash() -> str | None:
    """Return the last line of what the autoscaler left when it ended."""
    from ray._private.ray_constants import DEBUG_AUTOSCALING_ERROR
    from ray.experimental.internal_kv import _internal_kv_get

    left = (_internal_kv_get(DEBUG_AUTOSCALING_ERROR) or b"").decode(errors="replace")
    lines = [line for line in left.splitlines() if line.strip()]
    return lines[-1][:200] if lines else None


def _lost_nodes() -> list[str]:
    """Return the nodes that the autoscaler's first version lost, or could not start."""
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
    from ray.experimental.internal_kv import _internal_kv_get

    try:
        report = json.loads(_internal_kv_get(DEBUG_AUTOSCALING_STATUS) or "{}")
        failed = (report.get("autoscaler_report") or {}).get("failed_nodes", [])
        return [f"lost or never started {one[0]}" for one in failed]
    except (ValueError, LookupError, AttributeError):  # no public format
        return []


def _failed_launches() -> list[str]:
    """Return the launches that failed, as the autoscaler's second version tells them."""
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_status

    try:
        status = get_cluster_status(ray.get_runtime_context().gcs_address, timeout=5)
    except Exception:  # a static cluster has no such report; and it is no public interface
        return []
    return [
        f"could not start {one.instance_type_name}: {' '.join(str(one.details).split())[:160]}"
        for one in status.failed_launches
    ]


LOG_SECONDS = 4
LOG_LINES = 40
LOGS_LOOKED_AT = 6
REFUSAL = "InvalidAuthToken"
"""What a process of Ray writes whose token is refused (ray 2.60)."""


def silence_of(node: Node, reason: str) -> Silence:
    """Return why a node is silent.

    Its raylet, which has run for long, is asked first; then its log is searched for the token,
    which only what starts anew reads.

    Args:
        node: Said to live.
        reason: What came in the place of its answer.
    """
    told = _told(node)
    if told is None or not told["Alive"]:
        return Silence(reason="it died while it was asked", is_gone=True)
    if not _raylet_answers(told):
        return Silence(reason=reason, is_gone=True)
    return Silence(reason=reason, has_other_token=_log_tells_of_token(node))


def _raylet_answers(told: Mapping[str, Any]) -> bool:
    host, port = str(told["NodeManagerAddress"]), int(told["NodeManagerPort"])
    return ask_grpc("raylet", host, port, None) in {"refused", "answered"}


def _told(node: Node) -> Mapping[str, Any] | None:
    import ray

    return next((told for told in ray.nodes() if told["NodeID"] == node.id), None)


def _log_tells_of_token(node: Node) -> bool:
    from ray.util.state import get_log, list_logs

    try:
        listed = list_logs(node_id=node.id, glob_filter="raylet*.err", timeout=LOG_SECONDS)
        files = [name for group in listed.values() for name in group][:LOGS_LOOKED_AT]
        for name in files:
            lines = get_log(node_id=node.id, filename=name, tail=LOG_LINES, timeout=LOG_SECONDS)
            if any(REFUSAL in line for line in lines):
                return True
    except Exception:  # the dashboard's, whatever it cannot do; then nothing is known of the log
        return False
    return False
