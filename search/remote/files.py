"""The files for `ray up` that come with this project, and what a laptop lacks to launch one."""

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from search.errors import InputError
from search.remote.rules import TOKEN_FILE, leaves

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
