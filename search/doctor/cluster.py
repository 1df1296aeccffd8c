"""The facts of a Ray that this process has joined, asked of every node at once."""

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import search.cluster.token
import search.doctor
from search.cluster.nodes import Failed, Node, living_nodes, on_each_node
from search.cluster.token import own_token
from search.doctor import node as doctor_node
from search.doctor.facts import ClusterFacts, GpuFacts, Machine, NodeFacts, Silence, StorageFacts
from search.doctor.ports import ask_grpc
from search.doctor.versions import declared_bounds
from trainables.storage.uri_keys import without_keys

FACTS_SECONDS = 25.0
STORAGE_SECONDS = 20.0
"""Of each of the three steps: write, look, delete."""
GPU_SECONDS = 50.0
SIDE_BY_SIDE = 16
"""Silent nodes that are looked into at once."""
TRAVELLING = (search.doctor, search.cluster.token)
"""Packages and modules that go to the nodes as they are here, with what a task of theirs refers
to: what is installed there is what is in question."""
LET_GO = {1, 4}
"""Ray's reasons for a node's end that are no fault: expected, and idle (ray 2.60)."""
LOG_SECONDS = 4
LOG_LINES = 40
LOGS_LOOKED_AT = 6
REFUSAL = "InvalidAuthToken"
"""What a process of Ray writes whose token is refused (ray 2.60)."""


def cluster_facts(storage: str) -> ClusterFacts:
    """Return what can be seen of the Ray that this process has joined, within a minute."""
    import ray
    from ray._private.worker import get_dashboard_url
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    salt = secrets.token_bytes(16)
    nodes = living_nodes()
    gcs = ray.get_runtime_context().gcs_address
    head = next((node.id for node in nodes if node.is_head), None)
    _let_travel()
    with ThreadPoolExecutor(max_workers=SIDE_BY_SIDE) as pool:
        gpus = pool.submit(_gpus, nodes)
        stored = pool.submit(_storage, nodes, storage)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        clock = ray.remote(num_cpus=0, scheduling_strategy=here)(doctor_node.Clock).remote()
        told = on_each_node(doctor_node.node_facts, gcs, head, salt, clock, seconds=FACTS_SECONDS)
        ray.kill(clock)
        answers = [told.get(node) or Failed(reason="no answer") for node in nodes]
        machines = [
            replace(machine, gpu=gpus.result().get(node), storage=stored.result().get(node))
            for node, machine in zip(nodes, pool.map(_machine, nodes, answers), strict=True)
        ]
    return ClusterFacts(
        machines=machines,
        bounds=declared_bounds(),
        storage=shown_storage(storage),
        dead=_dead(nodes),
        own_digest=doctor_node.digest_of(own_token(), salt),
        dashboard=str(get_dashboard_url() or ""),
        has_autoscaler=any("autoscaler" in m.told.modes for m in machines if m.is_head and m.told),
        autoscaler_crash=_autoscaler_crash(),
        autoscaler_troubles=_lost_nodes() + _failed_launches(),
    )


def shown_storage(uri: str) -> str:
    """Return a storage without its options, and without a key: it is refused when tried."""
    return without_keys(uri).partition("?")[0]


def _let_travel() -> None:
    """Have our modules travel by value from now on; nothing else refers to them in a task."""
    from ray import cloudpickle

    for module in TRAVELLING:
        cloudpickle.register_pickle_by_value(module)


def _machine(node: Node, told: NodeFacts | Failed) -> Machine:
    return Machine(
        title=node.title,
        is_head=node.is_head,
        cpus=node.resources.get("CPU", 0),
        gpus=node.resources.get("GPU", 0),
        told=None if isinstance(told, Failed) else told,
        silence=_silence(node, told.reason) if isinstance(told, Failed) else None,
    )


def _silence(node: Node, reason: str) -> Silence:
    """Return why a node is silent, asked where no process of ours is needed.

    Its raylet, which has run for long, is asked first; then its log is searched for the token,
    which only what starts anew reads.
    """
    import ray

    told = next((told for told in ray.nodes() if told["NodeID"] == node.id), None)
    if told is None or not told["Alive"]:
        return Silence(reason="it died while it was asked", is_gone=True)
    host, port = str(told["NodeManagerAddress"]), int(told["NodeManagerPort"])
    if ask_grpc("raylet", host, port, None) not in {"refused", "answered"}:
        return Silence(reason=reason, is_gone=True)
    return Silence(reason=reason, has_other_token=_log_tells_of_token(node))


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


def _gpus(nodes: Sequence[Node]) -> Mapping[Node, GpuFacts]:
    """Return by node what TensorFlow sees, of those that promise GPUs only: it takes seconds."""
    promising = [node for node in nodes if node.resources.get("GPU", 0)]
    asked = on_each_node(
        doctor_node.gpu_facts, GPU_SECONDS - 5, seconds=GPU_SECONDS, nodes=promising
    )
    return {
        node: GpuFacts(problem=told.reason) if isinstance(told, Failed) else told
        for node, told in asked.items()
    }


def _storage(nodes: Sequence[Node], uri: str) -> Mapping[Node, StorageFacts]:
    """Return by node how it fares with the storage: all write, then all look, then all delete."""
    if not uri:
        return {}
    run = secrets.token_hex(8)
    facts = {
        node: StorageFacts(errors={"write": told.reason}) if isinstance(told, Failed) else told
        for node, told in _ask(nodes, doctor_node.write_probe, uri, run).items()
    }
    able = [node for node, told in facts.items() if "write" not in told.errors]
    titles = {node.id: node.title for node in able}
    for node, unseen in _ask(able, doctor_node.unseen_probes, uri, run, [*titles]).items():
        if isinstance(unseen, Failed):
            errors = {**facts[node].errors, "read": unseen.reason}
            facts[node] = replace(facts[node], errors=errors)
        else:
            facts[node] = replace(facts[node], unseen=[titles[name] for name in unseen])
    made = [node.id for node in able if facts[node].made]
    for node, error in _ask(able, doctor_node.remove_probe, uri, run, made).items():
        if error is not None:
            why = error.reason if isinstance(error, Failed) else error
            facts[node] = replace(facts[node], errors={**facts[node].errors, "delete": why})
    return facts


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
        words = str(told.get("DeathReasonMessage") or "no reason is known").split()
        lines.append(f"{address} ({' '.join(words)[:80]}{again})")
    return lines


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
