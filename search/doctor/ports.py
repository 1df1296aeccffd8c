"""Which ports of a machine are listened on, by whom, and whether they ask for the token.

Travels to the nodes as it is here (see `search.doctor.cluster`).
"""

import http.client
import ipaddress
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import psutil

from search.cluster.token import own_token
from search.doctor.facts import Answer, Listener, PortAnswers

ROLES = (
    ("gcs/gcs_server", "control service"),
    ("raylet/raylet ", "raylet"),
    ("dashboard/dashboard.py", "dashboard"),
    ("ray-dashboard", "dashboard"),
    ("ray.util.client.server", "Ray Client"),
    ("autoscaler/_private/monitor.py", "autoscaler"),
    ("autoscaler/v2/monitor.py", "autoscaler"),
    ("log_monitor.py", "log monitor"),
    ("ray::DashboardAgent", "dashboard agent"),
    ("dashboard/agent.py", "dashboard agent"),
    ("ray::RuntimeEnvAgent", "runtime env agent"),
    ("runtime_env/agent/main.py", "runtime env agent"),
    ("ray::", "worker"),
    ("default_worker.py", "worker"),
)
"""What a command line of Ray's holds, and whose it is (ray 2.60)."""
RETITLED = "ray::"
"""How a process begins its title that has written it over its environment."""
HEADS_OWN = {"control service", "dashboard", "Ray Client", "autoscaler", "log monitor"}
WITHOUT_A_NAME = "unseen"
"""The holder of a socket is not told to other users, but to root."""

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
STATUSES: Mapping[str, Answer] = {
    "UNAUTHENTICATED": "refused",
    "PERMISSION_DENIED": "refused",
    "UNAVAILABLE": "silent",
    "DEADLINE_EXCEEDED": "silent",
    "UNIMPLEMENTED": "unclear",
    "CANCELLED": "unclear",
    "INTERNAL": "unclear",
}
"""What a status of gRPC tells of whether the token was looked at; any other does: answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayNode:
    """The node of Ray that this process belongs to, and how its processes are told from others."""

    raylet: int | None = None
    """The process id of the raylet that started this process; None outside of Ray."""
    session: str | None = None
    """Its folder."""
    gcs: str = ""
    """The address of its control service."""
    is_head: bool = False

    def owns(self, process: psutil.Process, role: str) -> bool:
        """Tell whether a process belongs to this very node of this very Ray.

        One of another user never does, whatever it calls itself: it would be shown the token.
        Nor does one with several users: it is root's, as ``su`` is, and run by anybody.
        """
        users = process.info["uids"] or ()
        if self.raylet is None or set(users) != {os.getuid()}:
            return False
        if role not in HEADS_OWN:
            return self.raylet in (process.pid, process.info["ppid"])
        line, session = _line_of(process), os.path.basename(self.session or "\0")
        return self.is_head and (
            self.gcs in line or session in line or self.gcs in _line(process.info["ppid"])
        )


def this_node(gcs: str = "", head: str | None = None) -> RayNode:
    """Return the node of Ray that this process belongs to; ``head`` is the id of its head."""
    raylet = raylet_of_this()
    if raylet is None:
        return RayNode()
    words = _line(raylet).split(" ")
    session = next((w.partition("=")[2] for w in words if w.startswith("--session_dir=")), None)
    return RayNode(raylet=raylet, session=session, gcs=gcs, is_head=node_id() == head)


def raylet_of_this() -> int | None:
    """Return the process id of the raylet that started this process; None outside of Ray."""
    parent = os.getppid()
    return parent if _role_of(_line(parent)) == "raylet" else None


def node_id() -> str:
    """Return Ray's id of the node whose process this is."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def processes() -> dict[int, psutil.Process]:
    """Return the processes of this machine by id, each with what this user may see of it."""
    seen = psutil.process_iter(["cmdline", "name", "ppid", "uids"])
    return {process.pid: process for process in seen}


def _line_of(process: psutil.Process) -> str:
    """Return the command line of one of `processes`."""
    return " ".join(process.info["cmdline"] or ())


def _role_of(line: str) -> str | None:
    """Return what a command line is in Ray; None if it is none of Ray's."""
    return next((role for mark, role in ROLES if mark in line), None)


def environment_of(pid: int | None) -> dict[str, str]:
    """Return the environment that a process was started with; empty if it cannot be seen."""
    try:
        return psutil.Process(pid).environ() if pid is not None else {}
    except psutil.Error:
        return {}


def listeners(node: RayNode) -> list[Listener]:
    """Return every port that is listened on here, and what those of this Ray say to strangers.

    A Ray port is asked without a token, with a wrong one, and with ours, for what changes
    nothing. Those that only this machine reaches are listed, not asked, but for the dashboard.
    """
    try:
        sockets = psutil.net_connections("tcp")
    except (OSError, psutil.Error):  # a kernel that shows no tables
        sockets = []
    known = processes()
    found: dict[tuple[str, int], Listener] = {}
    for socket in sorted(sockets, key=lambda each: (each.pid or 0, each.fd)):
        if socket.status == psutil.CONN_LISTEN and socket.laddr:
            address, port = socket.laddr
            listener = _listener(address, port, known.get(socket.pid or 0), node)
            found[listener.address, listener.port] = listener
    ordered = [found[key] for key in sorted(found, key=lambda key: (key[1], key[0]))]
    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(_asked, ordered))


def auth_modes(node: RayNode) -> dict[str, str | None]:
    """Return ``RAY_AUTH_MODE`` of this node's Ray processes, as they were started.

    Workers and others that have a title of their own are left out: theirs cannot be seen.
    """
    modes: dict[str, str | None] = {}
    for pid, process in processes().items():
        line = _line_of(process)
        role = _role_of(line)
        if role is None or line.startswith(RETITLED) or not node.owns(process, role):
            continue
        if environment := environment_of(pid):
            modes[role] = environment.get("RAY_AUTH_MODE")
    return modes


def is_loopback(address: str) -> bool:
    """Tell whether only this machine reaches an address."""
    return ipaddress.ip_address(address).is_loopback


def ask_port(holder: str, host: str, port: int) -> PortAnswers:
    """Ask a port without a token, with a wrong one, and with ours."""

    def ask(token: str | None) -> Answer:
        if by:
            return _ask_http(host, port, token)[1] or "silent"
        return ask_grpc(holder, host, port, token)

    by, own = _ask_http(host, port, None)[0], own_token()
    right = ask(own) if own else "silent"
    return PortAnswers(by=by or "grpc", none=ask(None), wrong=ask(WRONG_TOKEN), right=right)


def _ask_http(host: str, port: int, token: str | None) -> tuple[str, Answer | None]:
    """Ask for a page: Ray looks at the token before it looks whether there is one.

    Return ``http``, ``metrics`` if it tells those, or "" if it speaks no HTTP; and its answer.
    """
    connection = http.client.HTTPConnection(host, port, timeout=ASK_SECONDS)
    try:
        status, begins = read_page(connection, "/api/version", token, len(METRICS))
    except (http.client.HTTPException, ConnectionResetError, BrokenPipeError):
        return "", None
    except OSError:
        return "http", "silent"
    by = "metrics" if begins == METRICS else "http"
    return by, "refused" if status in {401, 403} else "answered"


def read_page(
    connection: http.client.HTTPConnection, path: str, token: str | None, most: int
) -> tuple[int, bytes]:
    """Return status and content of a page, ``most`` bytes of it, and end the connection."""
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(most)
    finally:
        connection.close()


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
            return STATUSES.get(error.code().name, "answered")
    return "answered"


def _listener(address: str, port: int, process: psutil.Process | None, node: RayNode) -> Listener:
    role = None if process is None else _role_of(_line_of(process))
    name = WITHOUT_A_NAME if process is None else process.info["name"] or WITHOUT_A_NAME
    plain = ipaddress.ip_address(address)
    return Listener(
        address=str(getattr(plain, "ipv4_mapped", None) or plain),
        port=port,
        holder=role or name,
        is_rays=role is not None,
        is_this_rays=process is not None and role is not None and node.owns(process, role),
    )


def _asked(listener: Listener) -> Listener:
    """Return a listener with its answers, if it is asked: workers are many, and all alike."""
    if not listener.is_this_rays or listener.holder == "worker":
        return listener
    if is_loopback(listener.address) and listener.holder != "dashboard":
        return listener
    bound = ipaddress.ip_address(listener.address)
    local = "127.0.0.1" if bound.version == 4 else "::1"
    host = local if bound.is_unspecified else listener.address
    return replace(listener, answers=ask_port(listener.holder, host, listener.port))


def _line(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""
