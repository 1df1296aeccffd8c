"""Which ports of a machine are listened on, by whom, and whether they ask for the token."""

import hashlib
import http.client
import ipaddress
import os
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

LISTENING = "0A"
"""How the kernel's tables name that state."""
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


def listeners(raylet: int | None, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every port that is listened on here, and what those of this Ray say to strangers.

    A Ray port is asked without a token, with a wrong one, and with ours, for what changes
    nothing. Those that only this machine reaches are listed, not asked, but for the dashboard.
    """
    sockets = _listening()
    holders = _holders({inode for inode, _, _ in sockets})
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for inode, address, port in sockets:
        pid = holders.get(inode)
        line = "" if pid is None else _line(pid)
        role = _role(line)
        is_ours = (
            role is not None and pid is not None and _is_ours(pid, role, line, raylet, request)
        )
        found[address, port] = {
            "address": address,
            "port": port,
            "holder": role or (WITHOUT_A_NAME if pid is None else _name(pid)),
            "is_rays": role is not None,
            "is_this_rays": is_ours,
            "answer": None,
        }
    own = [each for each in found.values() if each["is_this_rays"] and is_worth_asking(each)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        for each, answer in zip(own, pool.map(_ask, own), strict=True):
            each["answer"] = answer
    return sorted(found.values(), key=lambda each: (each["port"], each["address"]))


def _ask(listener: Mapping[str, Any]) -> dict[str, Any]:
    host = _reachable(listener["address"])
    return ask_port(listener["holder"], host, listener["port"])


def is_worth_asking(listener: Mapping[str, Any]) -> bool:
    """Tell whether a port of Ray's is asked: not the many of its workers, which are all alike."""
    if listener["holder"] == "worker":
        return False
    return not is_loopback(listener["address"]) or listener["holder"] == "dashboard"


def is_loopback(address: str) -> bool:
    """Tell whether only this machine reaches an address.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    return ipaddress.ip_address(address).is_loopback


def raylet_of_this() -> int | None:
    """Return the process id of the raylet that started this process; None outside of Ray."""
    parent = os.getppid()
    return parent if _role(_line(parent)) == "raylet" else None


def raylet_environment() -> dict[str, str]:
    """Return the environment of the raylet that started this process; empty outside of Ray."""
    raylet = raylet_of_this()
    return {} if raylet is None else _environment(raylet)


def session_folder(raylet: int | None) -> str | None:
    """Return the folder of this node's Ray."""
    words = [] if raylet is None else _line(raylet).split(" ")
    return next((w.partition("=")[2] for w in words if w.startswith("--session_dir=")), None)


def auth_modes(raylet: int | None, request: Mapping[str, Any]) -> dict[str, str | None]:
    """Return ``RAY_AUTH_MODE`` of this node's Ray processes, as they were started.

    Workers and others that have a title of their own are left out: theirs cannot be seen.
    """
    modes: dict[str, str | None] = {}
    for pid in _processes():
        line = _line(pid)
        role = _role(line)
        if (
            role is None
            or line.startswith(RETITLED)
            or not _is_ours(pid, role, line, raylet, request)
        ):
            continue
        environment = _environment(pid)
        if environment:
            modes[str(role)] = environment.get("RAY_AUTH_MODE")
    return modes


def parse_address(text: str) -> tuple[str, int]:
    """Return address and port of an entry of ``/proc/net/tcp`` or ``tcp6``.

    Example:
        >>> parse_address("0100007F:2049"), parse_address("0" * 32 + ":0016")
        (('127.0.0.1', 8265), ('::', 22))
    """
    digits, _, port = text.partition(":")
    # 32-bit words, each in the order of this machine; all that Ray runs on are little-endian.
    words = [digits[start : start + 8] for start in range(0, len(digits), 8)]
    packed = b"".join(bytes.fromhex(word)[::-1] for word in words)
    address = ipaddress.ip_address(packed)
    return str(getattr(address, "ipv4_mapped", None) or address), int(port, 16)


def _listening() -> list[tuple[str, str, int]]:
    """Return inode, address and port of every listening socket of this network namespace."""
    found = []
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTENING:
                found.append((fields[9], *parse_address(fields[1])))
    return found


def _holders(inodes: set[str]) -> dict[str, int]:
    """Return the process that holds each socket, as far as this user may see."""
    found: dict[str, int] = {}
    for pid in _processes():
        try:
            for handle in os.listdir(f"/proc/{pid}/fd"):
                target = os.readlink(f"/proc/{pid}/fd/{handle}")
                if target.startswith("socket:[") and target[8:-1] in inodes:
                    found.setdefault(target[8:-1], pid)
        except OSError:
            continue
    return found


def _is_ours(
    pid: int, role: str, line: str, raylet: int | None, request: Mapping[str, Any]
) -> bool:
    """Tell whether a process belongs to this very node of this very Ray.

    One of another user never does, whatever it calls itself: it would be shown the token.
    """
    if raylet is None or _user(pid) != os.getuid():
        return False
    if role in HEADS_OWN:
        gcs = str(request["gcs"])
        own = gcs in line or os.path.basename(session_folder(raylet) or "\0") in line
        return bool(request["is_head"]) and (own or _belongs(pid, gcs))
    return raylet in (pid, _parent(pid))


def _belongs(pid: int, gcs: str) -> bool:
    """Tell whether the dashboard that a process was started by is of the Ray at ``gcs``."""
    return gcs in _line(_parent(pid))


def _reachable(address: str) -> str:
    """Return where a socket that is bound to this address can be asked from here."""
    parsed = ipaddress.ip_address(address)
    if parsed.is_unspecified:
        return "127.0.0.1" if parsed.version == 4 else "::1"
    return address


def _role(line: str) -> str | None:
    return next((role for mark, role in ROLES if mark in line), None)


def _processes() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _line(pid: int) -> str:
    return _read(f"/proc/{pid}/cmdline").replace("\0", " ")


def _name(pid: int) -> str:
    return _read(f"/proc/{pid}/comm").strip() or WITHOUT_A_NAME


def _user(pid: int) -> int | None:
    """Return the user of a process; None if it is gone, or has several.

    Not whose its folder in ``/proc`` is: that is root for what anybody runs with root's rights,
    such as ``su``, under whatever name.
    """
    lines = _read(f"/proc/{pid}/status").splitlines()
    told = next((line.split()[1:] for line in lines if line.startswith("Uid:")), [])
    return int(told[0]) if len(set(told)) == 1 else None


def _parent(pid: int) -> int:
    # Behind the name, which is in brackets and may hold anything: state, then the parent.
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def _environment(pid: int) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in _read(f"/proc/{pid}/environ").split("\0"))
    return {name: value for name, equals, value in pairs if equals}


def _read(path: str) -> str:
    try:
        return Path(path).read_bytes().decode(errors="replace")
    except OSError:
        return ""


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


def token_facts(salt: bytes) -> dict[str, Any]:
    """Return where this machine's token lies and who may read it; never the token.

    It is looked for where Ray does (ray 2.60): ``RAY_AUTH_TOKEN``, ``RAY_AUTH_TOKEN_PATH``,
    ``~/.ray/auth_token``.

    Args:
        salt: Goes into ``digest``, by which tokens are compared.
    """
    file = token_file()
    facts: dict[str, Any] = {
        "source": "file",
        "path": str(file),
        "mode": None,
        "folder_mode": None,
        "digest": None,
        "problem": None,
    }
    try:
        facts["mode"] = stat.S_IMODE(os.stat(file).st_mode)
        facts["folder_mode"] = stat.S_IMODE(os.stat(file.parent).st_mode)
        facts["digest"] = digest_of(file.read_text(encoding="utf-8"), salt)
        facts["problem"] = None if facts["digest"] else "is empty"
    except FileNotFoundError:
        facts["problem"] = "is not there"
    except (OSError, ValueError) as error:
        facts["problem"] = f"cannot be read ({getattr(error, 'strerror', None) or 'no text'})"
    if os.environ.get("RAY_AUTH_TOKEN"):
        digest = digest_of(os.environ["RAY_AUTH_TOKEN"], salt)
        facts.update(source="RAY_AUTH_TOKEN", digest=digest, problem=None)
    return facts


def token_file() -> Path:
    """Return where Ray looks for the token's file."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def own_token() -> str | None:
    """Return the token that this process would show to a Ray; None if it has none."""
    given = os.environ.get("RAY_AUTH_TOKEN")
    if given:
        return given.strip()
    try:
        return token_file().read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def digest_of(token: str | None, salt: bytes) -> str | None:
    """Return a salted hash of a token; None for none."""
    stripped = (token or "").strip()
    return hashlib.sha256(salt + stripped.encode()).hexdigest() if stripped else None
