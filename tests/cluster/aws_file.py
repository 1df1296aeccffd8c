"""The shipped file for AWS, with what differs where AWS is simulated and machines are hosts."""

import shlex
import sys
from collections.abc import Mapping
from typing import Any

import yaml

from search.cli.local import _shipped_yaml
from tests.cluster.cloud import CREDENTIALS
from tests.cluster.cluster_file import OBJECT_STORE, changed
from tests.cluster.namespaces import REPOSITORY


def aws_file(*, storage: str, environment: Mapping[str, str], **changes: Any) -> str:
    """Return the shipped file for hosts.

    They have no internet, so the installation is this Python's; no GPU, so Ray believes what AWS
    says of the type; one user; and addresses of the inner network alone. Images, key, profile,
    markets, ports, commands and all else are the file's.

    Args:
        storage: For the studies, as the nodes see it.
        environment: More variables for ``ray start``, and so for all that runs on the nodes.
        **changes: Of keys at the top of the file.
    """
    text = changed(_shipped_yaml("aws"), r"(export TWOHEAD_STORAGE=)\S+", storage)
    values: dict[str, Any] = yaml.safe_load(text)
    values["provider"]["use_internal_ips"] = True
    values["auth"]["ssh_user"] = "root"
    more = {
        **CREDENTIALS,
        "PYTHONPATH": str(REPOSITORY),
        "TWOHEAD_SIMULATED_GPU": "1",
        "TWOHEAD_RAY_START_OPTIONS": OBJECT_STORE,
        **environment,
    }
    lines = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in more.items())
    env = values["initialization_commands"]
    values["initialization_commands"] = [changed(env[0], r"(<<'END'\n)", lines), *env[1:]]
    values["setup_commands"] = [f"ln -sfn {shlex.quote(sys.prefix)} ~/.twohead/venv"]
    return yaml.safe_dump(values | changes, sort_keys=False)
