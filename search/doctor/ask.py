"""Whether a port of Ray's answers a stranger: without a token, and with a wrong one."""

import http.client
from typing import Any, Literal

from search.doctor.token import own_token

Answer = Literal["refused", "answered", "silent", "unclear"]

ASK_SECONDS = 3.0
WRONG_TOKEN = "0" * 64
METRICS = b"# HELP"
"""How every page of a Prometheus exporter begins."""
# Harmless questions with an empty request, by who is asked (ray 2.60). A method that is not
# there is told so to strangers as well, which shows nothing.
METHODS = {
    "control service": "/ray.rpc.NodeInfoGcsService/CheckAlive",
    "raylet": "/ray.rpc.NodeManagerService/GetSystemConfig",
    "dashboard agent": "/ray.rpc.ReporterService/HealthCheck",
    "Ray Client": "/ray.rpc.RayletDriver/ClusterInfo",
}
REFUSED = {"UNAUTHENTICATED", "PERMISSION_DENIED"}
SHOW_NOTHING = {"UNIMPLEMENTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL"}
"""Statuses of gRPC that do not tell whether the token was looked at."""


def ask_port(holder: str, host: str, port: int) -> dict[str, Any]:
    """Ask a port without a token, with a wrong one, and with ours.

    Returns:
        ``by`` (``http``, ``metrics`` or ``grpc``) and what came: ``none``, ``wrong`` and
        ``right``, the last as ``silent`` if this machine has no token.
    """
    own = own_token()
    tokens = {"none": None, "wrong": WRONG_TOKEN} | ({"right": own} if own else {})
    by, first = ask_http(host, port, None)
    if first is None:
        told = {name: ask_grpc(holder, host, port, token) for name, token in tokens.items()}
        return {"by": "grpc", "right": "silent", **told}
    told = {name: ask_http(host, port, token)[1] or "silent" for name, token in tokens.items()}
    return {"by": by, "right": "silent", **told}


def ask_http(
    host: str, port: int, token: str | None, path: str = "/api/version"
) -> tuple[str, Answer | None]:
    """Ask for a page; Ray looks at the token before it looks whether there is one.

    Returns:
        What listens there (``http``, or ``metrics`` if it tells those), and its answer; None
        if it does not speak HTTP.
    """
    connection = http.client.HTTPConnection(host, port, timeout=ASK_SECONDS)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        begins = response.read(len(METRICS))
    except (http.client.HTTPException, ConnectionResetError, BrokenPipeError):
        return "", None
    except OSError:
        return "http", "silent"
    finally:
        connection.close()
    by = "metrics" if begins == METRICS else "http"
    return by, "refused" if response.status in {401, 403} else "answered"


def ask_grpc(holder: str, host: str, port: int, token: str | None) -> Answer:
    """Ask who speaks gRPC what changes nothing; ``unclear`` if nothing is known to ask."""
    method = METHODS.get(holder)
    if method is None:
        return "unclear"
    try:
        import grpc
    except ImportError:
        return "unclear"

    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    options = [("grpc.enable_http_proxy", 0)]
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(where, options=options) as channel:
        try:
            channel.unary_unary(method)(b"", timeout=ASK_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            return _status(error.code().name)
    return "answered"


def _status(name: str) -> Answer:
    if name in REFUSED:
        return "refused"
    if name in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}:
        return "silent"
    return "unclear" if name in SHOW_NOTHING else "answered"
