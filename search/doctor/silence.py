"""Why a node that is said to live gives no answer: asked where no process of ours is needed."""

from collections.abc import Mapping
from typing import Any

from search.doctor.ask import ask_grpc
from search.doctor.facts import Silence
from search.nodes import Node

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
