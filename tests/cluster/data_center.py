"""Gives each machine of the simulated AWS one of a test's spare hosts, and takes it back."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from tests.cluster.cloud import ADDRESS
from tests.cluster.namespaces import HOME, REPOSITORY
from tests.cluster.network import Network


class DataCenter:
    """Follows the simulated AWS; a context manager.

    Args:
        hosts: One of them is ``laptop``, on which AWS is simulated; the rest are spare.
    """

    def __init__(self, hosts: Network) -> None:
        self.hosts = hosts
        self.events: list[dict[str, str]] = []
        """What became of machines, in order: as `tests.cluster.cloud` says it, and ``host``."""
        self.errors: list[BaseException] = []
        self._spare = [name for name in hosts.hosts if name != "laptop"]
        self._given: dict[str, str] = {}
        self._changed = threading.Condition()

    def __enter__(self) -> "DataCenter":
        self.hosts.add_address("laptop", ADDRESS)
        command = [sys.executable, "-m", "tests.cluster.cloud"]
        self._cloud = self.hosts.start(
            "laptop",
            command,
            output=subprocess.PIPE,
            env={"PYTHONPATH": str(REPOSITORY)},
        )
        self._follower = threading.Thread(target=self._follow, daemon=True)
        self._follower.start()
        self.wait_for(lambda events: any(one["state"] == "serving" for one in events), 60)
        return self

    def __exit__(self, *error: object) -> None:
        self._cloud.kill()
        self._follower.join(30)
        with self._cloud:
            pass

    def wait_for(self, is_there: Callable[[list[dict[str, str]]], bool], seconds: float) -> None:
        """Wait until the events are as they should be.

        Raises:
            AssertionError: If they are not in time, or a machine could not be given.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.errors or is_there(self.events), seconds)
            assert not self.errors, self.errors
            assert is_there(self.events), self.events

    def workers(self, state: str = "on") -> list[dict[str, str]]:
        """Return the workers' machines that began, or with ``over`` those that ended."""
        return [e for e in self.events if e["state"] == state and e["kind"].startswith("gpu")]

    def host_of(self, machine: str) -> str:
        """Return the name of the host that was given for a machine."""
        return self._given[machine]

    def _follow(self) -> None:
        assert self._cloud.stdout is not None
        for line in self._cloud.stdout:
            if not line.startswith("{"):
                continue
            event: dict[str, Any] = json.loads(line)
            try:
                if event["state"] == "on":
                    self._give(event)
                elif event["state"] == "over":
                    self._take(event)
            except BaseException as error:
                self.errors.append(error)
            with self._changed:
                self.events.append(event)
                self._changed.notify_all()

    def _give(self, event: dict[str, str]) -> None:
        name = self._spare.pop(0)
        self.hosts.readdress(name, event["address"])
        self.hosts.put(name, f"{HOME}/.ssh/authorized_keys", event["key"] + "\n")
        self._given[event["id"]] = name

    def _take(self, event: dict[str, str]) -> None:
        name = self._given[event["id"]]
        if self.hosts.hosts[name].pid is not None:
            self.hosts.power_off(name)
