"""A cluster on a test's hosts, launched from its laptop by ``ray up`` and used from there."""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.cluster_file import KEY, cluster_file
from tests.cluster.namespaces import HOME, REPOSITORY
from tests.cluster.network import SHARED, Network, network
from tests.support import data_sets

FILE = f"{REPOSITORY}/cluster-test.yaml"
"""On the laptop, in its copy of the checkout: the file's mounts are named from there."""
STORAGE = f"{SHARED}/studies"
LAPTOP = {
    "PYTHONPATH": str(REPOSITORY),
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
}
START_SECONDS = 300.0
COUNT = """
from ray._private.state import state
from ray._raylet import GcsClientOptions
state._initialize_global_state(GcsClientOptions.create("127.0.0.1:6379", None, True, False))
print(sum(node["Resources"].get("GPU", 0) for node in state.node_table() if node["Alive"]))
"""
"""Asks the head itself: what `ray status` says of lost nodes is old while it looks for them."""


class Launched:
    """A cluster of a head and workers.

    Args:
        hosts: Among them one named ``laptop``, one ``head``.
        token: What the cluster asks for.
    """

    def __init__(self, hosts: Network, token: str) -> None:
        self.hosts = hosts
        self.token = token
        self.printed: list[str] = []
        """All that the laptop's commands said."""
        self.workers = [name for name in hosts.hosts if name not in {"laptop", "head"}]

    @property
    def storage(self) -> Path:
        """Where the studies lie, as this process sees it."""
        return self.hosts.folder / "shared" / "studies"

    def address(self, name: str) -> str:
        """Return a host's address."""
        return self.hosts.hosts[name].address

    def prepare(self, *, environment: Mapping[str, str], **options: Any) -> None:
        """Give the laptop what its owner has: the key, the token and the cluster's file."""
        text = cluster_file(
            head=self.address("head"),
            workers=[self.address(name) for name in self.workers],
            storage=STORAGE,
            environment=environment,
            **options,
        )
        self.hosts.put("laptop", KEY, self.hosts.key)
        self.hosts.put("laptop", FILE, text)
        self.hosts.put("laptop", f"{HOME}/.ray/auth_token", self.token)
        self.hosts.run("laptop", ["chmod", "700", f"{HOME}/.ray"])
        self.storage.mkdir(exist_ok=True)
        # By the test's process, so that it is all there before a study asks for it.
        data_sets.write(self.storage.parent / "data.parquet")

    def up(self) -> None:
        """Launch it; the workers come later."""
        self.ray("up", "-y", FILE)

    def down(self) -> "subprocess.CompletedProcess[str]":
        """Take it down, as its owner does."""
        return self.ray("down", "-y", FILE)

    def ray(
        self, *arguments: str, seconds: float = START_SECONDS
    ) -> "subprocess.CompletedProcess[str]":
        """Run ``ray`` on the laptop, in its checkout."""
        return self.laptop(["ray", *arguments], seconds=seconds)

    def twohead(
        self, *arguments: str, seconds: float = START_SECONDS, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run ``twohead`` on the laptop, in its checkout."""
        return self.laptop(["twohead", *arguments], seconds=seconds, check=check)

    def doctor(self) -> tuple[int, dict[tuple[str, str], dict[str, Any]]]:
        """Run ``twohead doctor`` on the laptop; return status, and findings by part and check."""
        done = self.twohead("doctor", "--json", "--address", FILE, check=False)
        assert self.token not in done.stdout + done.stderr
        assert done.stdout, done.stderr
        parts = json.loads(done.stdout)["parts"]
        return done.returncode, {
            (part["title"], each["check"]): each for part in parts for each in part["findings"]
        }

    def laptop(
        self, command: Sequence[str], *, seconds: float = START_SECONDS, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command on the laptop, in its checkout."""
        moved = ["env", "-C", str(REPOSITORY), *command]
        ended = self.hosts.run("laptop", moved, env=LAPTOP, timeout=seconds, check=check)
        self.printed.append(ended.stdout + ended.stderr)
        return ended

    def node(
        self, name: str, *command: str, seconds: float = 120.0, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command on a node, in the environment of its Ray."""
        script = ["sh", "-c", '. ~/.twohead/env && exec "$@"', "node", *command]
        return self.hosts.run(name, script, timeout=seconds, check=check)

    def num_workers(self) -> int:
        """Return how many workers take part."""
        return round(float(self.node("head", "python", "-c", COUNT).stdout))

    def wait_for_workers(self, number: int, seconds: float = START_SECONDS) -> None:
        """Wait until so many workers, of one GPU each, take part."""
        end = time.monotonic() + seconds
        while self.num_workers() != number:
            assert time.monotonic() < end, self.node("head", "ray", "status").stdout
            time.sleep(0.5)

    def wait_for_no_processes(self, name: str, seconds: float = 240.0) -> None:
        """Wait until nothing runs on a host any more but its sshd."""
        end = time.monotonic() + seconds
        while left := self.hosts.processes(name):
            assert time.monotonic() < end, f"on {name} there is still {left}"
            time.sleep(0.5)


@contextmanager
def launched(
    folder: Path,
    workers: Sequence[str],
    *,
    token: str,
    environment: Mapping[str, str],
    **options: Any,
) -> Iterator[Launched]:
    """Have hosts with a launched head, whose workers are coming, for as long as this lasts."""
    with network(folder, ["laptop", "head", *workers]) as hosts:
        cluster = Launched(hosts, token)
        cluster.prepare(environment=environment, **options)
        cluster.up()
        yield cluster
