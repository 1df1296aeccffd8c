"""A cluster on a simulated AWS, launched from a test's laptop from the shipped file."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.aws_file import aws_file
from tests.cluster.cloud import CREDENTIALS
from tests.cluster.data_center import DataCenter
from tests.cluster.launched import FILE, LAPTOP, START_SECONDS, STORAGE, Launched
from tests.cluster.namespaces import HOME, REPOSITORY
from tests.cluster.network import Network, network
from tests.support import data_sets

MACHINES = tuple(f"m{number}" for number in range(1, 9))
"""Spare ones; what AWS has ended does not come back."""
END = "import boto3, sys; boto3.client('ec2').terminate_instances(InstanceIds=sys.argv[1:])"


class OnAws(Launched):
    """A cluster whose machines AWS starts and ends.

    Args:
        hosts: Among them one named ``laptop``.
        token: What the cluster asks for.
        center: Gives the machines.
    """

    def __init__(self, hosts: Network, token: str, center: DataCenter) -> None:
        super().__init__(hosts, token)
        self.center = center

    def prepare(self, *, environment: Mapping[str, str], **options: Any) -> None:
        """Give the laptop what its owner has: the token and the cluster's file."""
        text = aws_file(storage=STORAGE, environment=environment, **options)
        self.hosts.put("laptop", FILE, text)
        self.hosts.put("laptop", f"{HOME}/.ray/auth_token", self.token)
        self.hosts.run("laptop", ["chmod", "700", f"{HOME}/.ray"])
        self.storage.mkdir()
        data_sets.write(self.storage.parent / "data.parquet")

    def laptop(
        self, command: Sequence[str], *, seconds: float = START_SECONDS, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command on the laptop, in its checkout, with the rights of its owner at AWS."""
        moved = ["env", "-C", str(REPOSITORY), *command]
        env = LAPTOP | CREDENTIALS
        ended = self.hosts.run("laptop", moved, env=env, timeout=seconds, check=check)
        self.printed.append(ended.stdout + ended.stderr)
        return ended

    def node(
        self, name: str, *command: str, seconds: float = 120.0, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command on a node, in the environment of its Ray; ``head`` is whichever it is."""
        (head,) = [e for e in self.center.events if e.get("kind") == "head" and e["state"] == "on"]
        host = self.center.host_of(head["id"]) if name == "head" else name
        return super().node(host, *command, seconds=seconds, check=check)

    def take_away(self, machine: str) -> None:
        """End a machine as AWS does, without a word to Ray."""
        self.laptop(["python", "-c", END, machine])


@contextmanager
def on_aws(
    folder: Path, *, token: str, environment: Mapping[str, str], **options: Any
) -> Iterator[OnAws]:
    """Have a laptop with an account at AWS and a file to launch, as long as this lasts."""
    with network(folder, ["laptop", *MACHINES]) as hosts, DataCenter(hosts) as center:
        cluster = OnAws(hosts, token, center)
        cluster.prepare(environment=environment, **options)
        yield cluster
