"""Machines for tests: each a set of namespaces with a disk, a cable and an sshd of its own.

Everything hangs on one process, the switch, whose pid namespace holds those of all hosts and
whose network namespace holds all cables. Nothing is ever put into the machine's own network, so
any number of networks can be there at once, and when the switch ends, however that comes about,
the kernel ends and removes all the rest.
"""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from tests.cluster.namespaces import (
    SECONDS_TO_START,
    Host,
    NoHosts,
    end,
    enter,
    environment,
    ip,
    is_switch,
    said,
    start_host,
    start_switch,
    why_no_hosts,
)

SHARED = "/mnt/shared"
"""Where the hosts have the folder in common that is ``<folder>/shared`` outside."""


class Network:
    """Some hosts on one switch, on this machine.

    Args:
        folder: Keeps keys, names and the state, so that another process can `open` it. Its
            subfolder ``shared`` is the hosts' folder in common.
    """

    def __init__(
        self,
        folder: Path,
        switch: int,
        hosts: Mapping[str, Host],
        process: "subprocess.Popen[str] | None" = None,
    ) -> None:
        self.folder = folder
        self.hosts = dict(hosts)
        self.switch = switch
        self._started = [] if process is None else [process]

    @classmethod
    def up(
        cls,
        folder: Path,
        names: Sequence[str],
        *,
        without_shared: Sequence[str] = ("laptop",),
        outlives_us: bool = False,
    ) -> "Network":
        """Start a switch and a host per name, at 10.77.0.11, 10.77.0.12, ... in this order.

        Args:
            folder: A new or empty folder.
            names: Letters and digits.
            without_shared: The hosts that do not reach the common folder.
            outlives_us: Whether it stays when this process ends, until someone opens it and
                takes it down.

        Raises:
            NoHosts: If they cannot be made here.
        """
        if reason := why_no_hosts():
            raise NoHosts(reason)
        folder = folder.resolve()
        (folder / "shared").mkdir(parents=True, exist_ok=True)
        for key in ("key", "host_key"):
            if not (folder / key).exists():
                make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
                subprocess.run(make, check=True)
        switch, process = start_switch(folder, outlives_us)
        network = cls(folder, switch, {}, process)
        try:
            for index, name in enumerate(names, start=1):
                network.hosts[name] = Host(
                    name=name,
                    address=f"10.77.0.{10 + index}",
                    port=f"port{index}",
                    has_shared=name not in without_shared,
                    pid=None,
                )
            network._write_names()
            for name in names:
                network.power_on(name)
        except BaseException:
            network.down()
            raise
        return network

    @classmethod
    def open(cls, folder: Path) -> "Network":
        """Return the network that another process has started in this folder."""
        state = json.loads((folder.resolve() / "network.json").read_text())
        hosts = {host["name"]: Host(**host) for host in state["hosts"]}
        return cls(folder.resolve(), state["switch"], hosts)

    @property
    def key(self) -> str:
        """The private key that opens every host to its root."""
        return (self.folder / "key").read_text()

    @property
    def is_up(self) -> bool:
        """Whether the switch is on."""
        return is_switch(self.switch, self.folder)

    def down(self) -> None:
        """End all hosts and the switch; what they wrote to their disks is gone."""
        if self.is_up:
            end(self.switch)
        for process in self._started:
            with process:  # closes what is open to it, and waits
                pass
        self._started.clear()
        self.hosts.clear()
        (self.folder / "network.json").unlink(missing_ok=True)

    def run(
        self,
        name: str,
        command: Sequence[str],
        *,
        timeout: float = 60.0,
        check: bool = True,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command on a host, as its root in its home, and return what it said.

        Raises:
            AssertionError: If it ends with another status than 0 and ``check`` is set.
            subprocess.TimeoutExpired: If it takes longer than ``timeout`` seconds.
        """
        ended = subprocess.run(
            [*self.entering(name, env), *command],
            capture_output=True,
            text=True,
            timeout=timeout,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
        )
        if check and ended.returncode:
            said = f"{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
            raise AssertionError(f"{name}: {command} ended with {ended.returncode}:\n{said}")
        return ended

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        output: IO[Any] | int = subprocess.DEVNULL,
        env: Mapping[str, str] | None = None,
    ) -> "subprocess.Popen[str]":
        """Start a command on a host; it ends with the host, if not before."""
        return subprocess.Popen(
            [*self.entering(name, env), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def entering(self, name: str, env: Mapping[str, str] | None = None) -> list[str]:
        """Return what goes before a command that runs on a host, as its root in its home."""
        pid = self.hosts[name].pid
        assert pid is not None, f"{name} is off"
        return [*enter(pid), *environment(env)]

    def put(self, name: str, path: str, text: str, *, mode: str = "600") -> None:
        """Write a file on a host, in a folder that is made where it is missing."""
        script = 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1"'
        self.run(name, ["sh", "-c", script, "put", path, mode], input=text)

    def get(self, name: str, path: str) -> str:
        """Return the text of a file on a host."""
        return self.run(name, ["cat", path]).stdout

    def power_on(self, name: str) -> None:
        """Start a host that is off, with the disk that it had, and wait for its sshd."""
        host = self.hosts[name]
        assert host.pid is None, f"{name} is on"
        shared = SHARED if host.has_shared else ""
        process = start_host(self.switch, self.folder, name, shared)
        self._started.append(process)
        pid = said(process)
        if not pid:
            raise self._not_started(name)
        self._plug(host, pid)
        self._set(name, pid=int(pid))
        assert process.stdin is not None
        with process.stdin as stdin:
            stdin.write("go\n")
        self._wait_for_sshd(name, process)

    def power_off(self, name: str) -> None:
        """End every process of a host at once; what its disk holds stays."""
        pid = self.hosts[name].pid
        assert pid is not None, f"{name} is off"
        end(pid)
        self._ip(f"link del {self.hosts[name].port}", check=False)
        self._set(name, pid=None)

    def cut(self, name: str) -> None:
        """Take a host's cable out: packets get lost, no connection is closed."""
        self._ip(f"link set {self.hosts[name].port} down")

    def heal(self, name: str) -> None:
        """Put a host's cable back in."""
        self._ip(f"link set {self.hosts[name].port} up")

    def small_disk(self, name: str, path: str, num_bytes: int) -> None:
        """Give a folder of a host an empty disk of its own, of this size, until power-off."""
        self.run(name, ["mkdir", "-p", path])
        self.run(name, ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "small", path])

    def readdress(self, name: str, address: str, prefix: int = 16) -> None:
        """Give a host another address, in the place of its own, which all hosts know it by.

        A host that is to reach it needs an address of the same network.
        """
        host = self.hosts[name]
        ip(str(self.hosts[name].pid), f"addr flush dev eth0\naddr add {address}/{prefix} dev eth0")
        self.hosts[name] = replace(host, address=address)
        self._write_names()
        for other, its in self.hosts.items():
            if its.pid is not None:
                self.put(other, "/etc/hosts", self._names(), mode="644")

    def add_address(self, name: str, address: str, prefix: int = 16) -> None:
        """Give a host one more address, such as one in the network of readdressed hosts."""
        ip(str(self.hosts[name].pid), f"addr add {address}/{prefix} dev eth0")

    def processes(self, name: str) -> list[str]:
        """Return the command lines of a host's processes, but for its sshd and this question."""
        listed = self.run(name, ["ps", "-e", "-o", "pid=,args="]).stdout.splitlines()
        parted = [line.strip().partition(" ") for line in listed]
        return [what for pid, _, what in parted if pid != "1" and "ps -e" not in what]

    def _plug(self, host: Host, pid: str) -> None:
        self._ip(
            f"link add {host.port} type veth peer name eth0 netns {pid}\n"
            f"link set {host.port} master hosts up"
        )
        ip(pid, f"link set lo up\naddr add {host.address}/24 dev eth0\nlink set eth0 up")

    def _ip(self, commands: str, check: bool = True) -> None:
        ip(str(self.switch), commands, check)

    def _wait_for_sshd(self, name: str, process: "subprocess.Popen[str]") -> None:
        limit = time.monotonic() + SECONDS_TO_START
        knock = ["nsenter", "--target", str(self.hosts[name].pid), "--net"]
        knock += ["bash", "-c", "</dev/tcp/127.0.0.1/22"]
        while subprocess.run(knock, capture_output=True).returncode:
            if process.poll() is not None or time.monotonic() > limit:
                raise self._not_started(name)
            time.sleep(0.02)

    def _not_started(self, name: str) -> NoHosts:
        log = (self.folder / f"{name}.log").read_text()[-1000:]
        return NoHosts(f"host {name!r} did not start: {log}")

    def _set(self, name: str, *, pid: int | None) -> None:
        self.hosts[name] = replace(self.hosts[name], pid=pid)
        state = {"switch": self.switch, "hosts": [asdict(h) for h in self.hosts.values()]}
        (self.folder / "network.json").write_text(json.dumps(state))

    def _names(self) -> str:
        lines = [f"{host.address} {host.name}" for host in self.hosts.values()]
        return "\n".join(["127.0.0.1 localhost", *lines]) + "\n"

    def _write_names(self) -> None:
        (self.folder / "names").write_text(self._names())


@contextmanager
def network(folder: Path, names: Sequence[str], **options: Any) -> Iterator[Network]:
    """Have hosts for as long as the context lasts; see `Network.up`."""
    made = Network.up(folder, names, **options)
    try:
        yield made
    finally:
        made.down()
