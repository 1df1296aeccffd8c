"""The shipped file for machines of one's own, with a test's hosts in it."""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tests.cluster.namespaces import HOME, REPOSITORY

SHIPPED = REPOSITORY / "search" / "assets" / "cluster-local.yaml"
KEY = f"{HOME}/.ssh/cluster_key"
"""Where the laptop has the key that opens the hosts."""
OBJECT_STORE = "--object-store-memory=80000000"


def cluster_file(
    *,
    head: str,
    workers: Sequence[str],
    storage: str,
    environment: Mapping[str, str],
    num_cpus: int = 2,
    num_gpus: int = 1,
    shipped: str | None = None,
) -> str:
    """Return the shipped file with what a user changes in it, and with what hosts lack.

    A user changes the machines, who logs in how, and the storage. The hosts have no internet, so
    the installation is this Python's; and no GPU, so workers claim to have some.

    Args:
        head: Its address.
        workers: Theirs.
        storage: For the studies, as the nodes see it.
        environment: Variables for ``ray start``, and so for all that runs on the nodes, more of
            them or other values.
        num_cpus: Of a worker.
        num_gpus: Of a worker; simulated.
        shipped: The file's text, by default that of this checkout.
    """
    text = SHIPPED.read_text() if shipped is None else shipped
    values: dict[str, Any] = yaml.safe_load(text)
    values["provider"] |= {"head_ip": head, "worker_ips": list(workers)}
    values["auth"] = {"ssh_user": "root", "ssh_private_key": KEY}
    more = {
        "TWOHEAD_STORAGE": storage,
        "PYTHONPATH": str(REPOSITORY),
        "TWOHEAD_SIMULATED_GPU": "1",
        "TWOHEAD_RAY_START_OPTIONS": OBJECT_STORE,
        **environment,
    }
    first, *rest = values["initialization_commands"]
    for name, value in more.items():
        first = exported(first, name, shlex.quote(value))
    values["initialization_commands"] = [first, *rest]
    values["setup_commands"] = [f"ln -sfn {shlex.quote(sys.prefix)} ~/.twohead/venv"]
    options = f"$TWOHEAD_RAY_START_OPTIONS --num-cpus={num_cpus} --num-gpus={num_gpus}"
    start = values["worker_start_ray_commands"]
    started = [line.replace("$TWOHEAD_RAY_START_OPTIONS", options) for line in start]
    assert started != start
    values["worker_start_ray_commands"] = started
    return yaml.safe_dump(values, sort_keys=False)


def exported(text: str, name: str, value: str) -> str:
    """Return the commands with a variable that they write to the nodes' environment."""
    if re.search(rf"export {name}=", text):
        return changed(text, rf"(export {name}=)\S+", value)
    return changed(text, r"(<<'END'\n)", f"export {name}={value}\n")


def changed(text: str, pattern: str, after: str) -> str:
    """Return a text in which what follows the pattern's one place in it is something else."""
    new, times = re.subn(pattern, lambda found: found[1] + after, text)
    assert times == 1, f"{pattern} needs one place in the shipped file, got {times}"
    return new
