"""The files for `ray up` that come with this project, and what a laptop lacks to launch one."""

import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from search.errors import InputError

PROVIDERS = {"aws": "cluster.yaml", "local": "cluster-local.yaml"}
"""The file for each of Ray's providers that there is one for."""
LARGEST_BYTES = 2**18
UNSET = "CHANGE-ME"
"""What stands in a file for a value that only its user knows."""


def cluster_yaml(provider: str) -> str:
    """Return the file for a provider: ``aws``, or ``local`` for machines of one's own.

    Raises:
        InputError: If there is none for it.
    """
    if provider not in PROVIDERS:
        raise InputError(f"a provider needs to be one of {list(PROVIDERS)}, got {provider!r}")
    shipped = files("search") / "assets" / PROVIDERS[provider]
    if not shipped.is_file():  # a copy of a checkout in which its link was not kept
        shipped = Path(__file__).parents[2] / PROVIDERS[provider]
    return shipped.read_text(encoding="utf-8")


def write_cluster_yaml(path: str, text: str) -> None:
    """Write a file that is not there yet.

    Raises:
        InputError: If it is there, or cannot be written.
    """
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise InputError(f"OUT needs a new file, got {path!r}, which exists") from error
    except OSError as error:
        raise InputError(f"OUT needs a file that can be written, got {path!r}: {error}") from error


def read_cluster_yaml(path: str) -> dict[str, Any]:
    """Return what a cluster file holds.

    Raises:
        InputError: If it cannot be read, or is no mapping in YAML.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST_BYTES + 1)
        if len(text) > LARGEST_BYTES:
            raise InputError(f"{path} needs to be a cluster file, got over {LARGEST_BYTES} bytes")
        config = yaml.safe_load(text)
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        why = " ".join(str(error).split())
        raise InputError(f"{path} needs to be a cluster file, got: {why}") from error
    if not isinstance(config, dict):
        kind = type(config).__name__
        raise InputError(f"{path} needs to be a cluster file, a mapping, got {kind}")
    return config


def launch_problems_of(config: Mapping[str, Any], folder: str = ".") -> list[str]:
    """Return why `ray up` would fail from this machine; Ray itself finds out with a machine paid.

    Args:
        config: What the cluster file holds.
        folder: Where `ray up` is run: mounted paths are relative to it.
    """
    found = [
        f"{place} needs a value of yours, got {UNSET}"
        for place, text in leaves(config)
        if UNSET in text
    ]
    return [*found, *_mount_problems(config, folder), *_token_problems(), *_tool_problems(config)]


def _mount_problems(config: Mapping[str, Any], folder: str) -> Iterator[str]:
    mounts = config.get("file_mounts")
    for remote, local in mounts.items() if isinstance(mounts, Mapping) else ():
        path = os.path.join(folder, os.path.expanduser(str(local)))
        if remote != TOKEN_FILE and not os.path.exists(path):
            yield f"file_mounts needs what it names, got {local!r}, which is not here"
    auth = config.get("auth")
    key = auth.get("ssh_private_key") if isinstance(auth, Mapping) else None
    if key is not None and not os.path.exists(os.path.expanduser(str(key))):
        yield f"auth.ssh_private_key needs a key, got {key!r}, which is not here"


def _token_problems() -> Iterator[str]:
    path = Path(TOKEN_FILE).expanduser()
    if not path.is_file():
        yield (
            f"{TOKEN_FILE} needs a token, got no file: "
            "run `(umask 077; ray get-auth-token --generate)`"
        )
    elif (mode := stat.S_IMODE(path.stat().st_mode)) & 0o077:
        yield f"{TOKEN_FILE} needs to be yours alone, got mode {mode:04o}: run `chmod 600` on it"


def _tool_problems(config: Mapping[str, Any]) -> Iterator[str]:
    for tool in ("ssh", "rsync"):
        if shutil.which(tool) is None:
            yield f"`ray up` needs {tool}, got none in PATH"
    provider = config.get("provider")
    is_aws = isinstance(provider, Mapping) and provider.get("type") == "aws"
    if is_aws and find_spec("boto3") is None:
        yield "AWS needs boto3, got none: `pip install 'twohead-search[aws]'`"


TOKEN_FILE = "~/.ray/auth_token"
"""Where Ray looks for the token, on a laptop and on a node."""
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")
PREPARATIONS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
)
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
EVERYONE = {"0.0.0.0/0", "::/0"}
OLDEST_RAY = (2, 55)
"""Before it, whoever reached the Jobs API could run any code (CVE-2026-41486 and others)."""

_SOURCED = re.compile(r"(?:^|[\s;&(])(?:\.|source)\s+(\S+?)(?=[\s;&)]|$)")
_SETTING = re.compile(r"\b(RAY_\w+)=([^\s;&]*)")
_DASHBOARD = re.compile(r"--dashboard-host[=\s]+(\S+)")
_NIGHTLY = re.compile(r"ray-wheels|ray[:-]nightly|ray-[0-9.]+\.dev0|ray:latest")
_RAY_VERSION = re.compile(r"\bray(?:\[[\w,]*\])?\s*==\s*(\d+)\.(\d+)")
_OLD_IMAGE = re.compile(r"ubuntu-(?:16|18|20)\.04|latest_dlami", re.IGNORECASE)
_SECRETS = (
    ("a token", re.compile(r"RAY_AUTH_TOKEN=(?!\$)[^\s;&]")),
    ("an access key of AWS", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a secret key of AWS", re.compile(r"aws_secret_access_key\s*[=:]\s*[^\s$]", re.IGNORECASE)),
    ("a private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY")),
)


def problems_of(config: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a cluster file, each as one sentence; none for a good one.

    What a file leaves to Ray counts with Ray's defaults (2.60): on AWS a dashboard on every
    interface, a nightly wheel, an image of 2022, and workers that may not write to S3.

    Args:
        config: What the file holds, as `yaml.safe_load` returns it.

    Example:
        >>> problems_of({"provider": {"type": "local"}, "head_start_ray_commands": ["ray stop",
        ...     "RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 ray start --head"]})[0]
        'head_start_ray_commands needs --autoscaling-config, got none: no worker would ever start'
    """
    found: list[str] = []
    for rule in (_commands_are_safe, _token_is_there, _nothing_secret, _software_is_current):
        found += rule(config)
    if _mapping(config, "provider").get("type") == "aws":
        for rule in (_machines_are_right, _ports_are_closed, _nothing_is_kept):
            found += rule(config)
    return found


def _commands_are_safe(config: Mapping[str, Any]) -> Iterator[str]:
    before = [command for key in PREPARATIONS for command in _texts(config.get(key))]
    for key in STARTS:
        commands = _texts(config.get(key))
        starts = [command for command in commands if "ray start" in command]
        if not starts:
            yield f"{key} needs a `ray start`, got none: Ray's own has neither token nor settings"
            continue
        first = commands.index(starts[0])
        if not any("ray stop" in command for command in commands[:first]):
            yield f"{key} needs `ray stop` first, got none: a second `ray up` would fail"
        for command in starts:
            yield from _start_is_safe(key, command, before)


def _start_is_safe(key: str, command: str, before: Sequence[str]) -> Iterator[str]:
    environment = _environment_of(command, before)
    mode = environment.get("RAY_AUTH_MODE")
    if mode != "token":
        yield (
            f"{key} needs RAY_AUTH_MODE=token, in the command of `ray start` or in a file that "
            f"it reads, got {mode or 'none'}"
        )
    if not key.startswith("head"):
        return
    for host in _DASHBOARD.findall(command):
        if host.strip("'\"") not in LOOPBACK:
            yield f"{key} needs a dashboard on loopback, got --dashboard-host={host}"
    is_quiet = environment.get("RAY_USAGE_STATS_ENABLED") == "0"
    if not is_quiet and "--disable-usage-stats" not in command:
        yield f"{key} needs RAY_USAGE_STATS_ENABLED=0, got none: Ray would report its use"
    if "--autoscaling-config" not in command:
        yield f"{key} needs --autoscaling-config, got none: no worker would ever start"


def _environment_of(command: str, before: Sequence[str]) -> dict[str, str]:
    """Return what a command sets for its `ray start`, itself or by a file that it reads."""
    files = _SOURCED.findall(command)
    texts = [text for text in before if any(_writes(text, name) for name in files)]
    texts.append(command.partition("ray start")[0])
    lines = [line.partition("#")[0] for text in texts for line in text.splitlines()]
    return dict(pair for line in lines for pair in _SETTING.findall(line))


def _writes(command: str, name: str) -> bool:
    return re.search(r">\s*" + re.escape(name) + r"(?=[\s;&]|$)", command) is not None


def _token_is_there(config: Mapping[str, Any]) -> Iterator[str]:
    if TOKEN_FILE not in _mapping(config, "file_mounts"):
        yield f"file_mounts needs {TOKEN_FILE}, got none: nodes would have no token"
    commands = [command for key in (*PREPARATIONS, *STARTS) for command in _texts(config.get(key))]
    if not any(re.search(r"chmod\s+0?600\s+\S*auth_token", command) for command in commands):
        yield (
            f"initialization_commands needs `chmod 600 {TOKEN_FILE}`, got none: "
            "other users of a node could read the token"
        )


def _nothing_secret(config: Mapping[str, Any]) -> Iterator[str]:
    # Says which kind it is and never the text itself: a message ends in logs.
    for place, text in leaves(config):
        for kind, pattern in _SECRETS:
            if pattern.search(text) or pattern.search(f"{place.rpartition('.')[2]}={text}"):
                yield f"{place} needs no secret, got {kind}: mount a file, or use a role"


def _software_is_current(config: Mapping[str, Any]) -> Iterator[str]:
    if _mapping(config, "provider").get("type") == "aws":
        for key in ("setup_commands", "head_setup_commands"):
            if config.get(key) is None:
                yield f"{key} needs to be written out, got none: Ray's own installs what it likes"
    for place, text in leaves(config):
        if nightly := _NIGHTLY.search(text):
            yield f"{place} needs a release of Ray, got {nightly.group()!r}"
        for major, minor in _RAY_VERSION.findall(text):
            if (int(major), int(minor)) < OLDEST_RAY:
                least = ".".join(map(str, OLDEST_RAY))
                yield f"{place} needs ray >= {least}, got {major}.{minor}, which lets anyone in"


def _machines_are_right(config: Mapping[str, Any]) -> Iterator[str]:
    needs_bucket = any("s3://" in text for _, text in leaves(config))
    types = _mapping(config, "available_node_types")
    if not types:
        yield "available_node_types needs to be written out, got none: Ray's own are dated"
    for name in types:
        node = _mapping(_mapping(types, name), "node_config")
        image = node.get("ImageId")
        if not image or _OLD_IMAGE.search(str(image)):
            yield f"node type {name!r} needs a current ImageId, got {image!r}"
        if needs_bucket and not node.get("IamInstanceProfile"):
            yield (
                f"node type {name!r} needs an IamInstanceProfile for the studies' bucket, got none"
            )


def _ports_are_closed(config: Mapping[str, Any]) -> Iterator[str]:
    group = _mapping(_mapping(config, "provider"), "security_group")
    for rule in _sequence(group.get("IpPermissions")):
        if not isinstance(rule, Mapping):
            continue
        ranges = [*_sequence(rule.get("IpRanges")), *_sequence(rule.get("Ipv6Ranges"))]
        open_to = {str(v) for r in ranges if isinstance(r, Mapping) for v in r.values()}
        ports = (rule.get("IpProtocol"), rule.get("FromPort"), rule.get("ToPort"))
        if open_to & EVERYONE and ports != ("tcp", 22, 22):
            yield (
                "provider.security_group needs every port but 22 closed to the world, "
                f"got {ports[0]} {ports[1]}-{ports[2]}"
            )


def _nothing_is_kept(config: Mapping[str, Any]) -> Iterator[str]:
    if _mapping(config, "provider").get("cache_stopped_nodes") is not False:
        yield (
            "provider.cache_stopped_nodes needs to be false, got none: "
            "`ray down` would stop machines whose disks cost on"
        )
    if not isinstance(config.get("max_workers"), int):
        yield f"max_workers needs a number, got {config.get('max_workers')!r}: it caps the cost"


def leaves(value: Any) -> Iterator[tuple[str, str]]:
    """Yield every text of nested data with where it is, such as ``provider.region``.

    What stands in several places, by anchors, is yielded for one of them.
    """
    seen: set[int] = set()
    left: list[tuple[str, Any]] = [("", value)]
    while left:
        place, value = left.pop()
        if isinstance(value, str):
            yield place, value
        if not isinstance(value, Mapping | list | tuple) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            below = [(f"{place}.{key}" if place else str(key), value[key]) for key in value]
        else:
            below = [(f"{place}[{index}]", item) for index, item in enumerate(value)]
        left += reversed(below)


def _mapping(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    return value if isinstance(value, Mapping) else {}


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _texts(value: Any) -> list[str]:
    return [item for item in _sequence(value) if isinstance(item, str)]
