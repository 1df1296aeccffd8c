"""What hosts are made of: processes in namespaces of their own, and how others get into them."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
TOOLS = ("ip", "unshare", "nsenter", "setpriv", "ssh", "ssh-keygen", "rsync", "/usr/sbin/sshd")
HOME = pwd.getpwuid(0).pw_dir
"""Of root, who is the user on every host."""
SECONDS_TO_START = 30.0
ENTER = ("--mount", "--net", "--pid", "--uts", "--ipc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One machine."""

    name: str
    address: str
    port: str
    """The switch's end of its cable."""
    has_shared: bool
    """Whether it reaches the folder that the hosts have in common."""
    pid: int | None
    """Its first process, as this machine counts; None while it is off."""


class NoHosts(Exception):
    """There cannot be hosts here, or one of them did not start; says why."""


def why_no_hosts() -> str | None:
    """Return why no hosts can be made on this machine; None where they can."""
    if os.geteuid() != 0:
        return "hosts need root"
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"hosts need {', '.join(missing)}; tests/cluster/setup.sh installs them"
    bridge = "ip link add hosts type bridge"
    made = subprocess.run(
        ["unshare", *ENTER, "--fork", "sh", "-c", f"mount -t tmpfs none /mnt && {bridge}"],
        capture_output=True,
        text=True,
    )
    return f"namespaces are refused: {made.stderr.strip()}" if made.returncode else None


def start_switch(folder: Path, outlives_us: bool) -> tuple[int, "subprocess.Popen[str]"]:
    """Start the switch; return its pid and what was started."""
    tied = () if outlives_us else ("setpriv", "--pdeathsig", "KILL")
    fresh = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child")
    command = [*tied, *fresh, "--propagation", "private", "bash", str(HERE / "switch.sh")]
    process = _start([*command, str(folder)], folder / "switch.log")
    pid = said(process)
    if not pid:
        process.wait()
        raise NoHosts(f"the switch did not start: {(folder / 'switch.log').read_text()}")
    return int(pid), process


def start_host(switch: int, folder: Path, name: str, shared: str) -> "subprocess.Popen[str]":
    """Start a host's first process, which says its pid and waits for its cable, and a line."""
    inside = ("nsenter", "--target", str(switch), "--mount", "--net", "--pid")
    clean = ("env", "-i", f"PATH={os.environ['PATH']}")
    fresh = ("unshare", *ENTER, "--fork", "--kill-child", "--propagation", "private")
    script = ("bash", str(HERE / "host.sh"), str(folder), name, shared, *_visible())
    return _start([*inside, *clean, *fresh, *script], folder / f"{name}.log")


def _start(command: Sequence[str], log: Path) -> "subprocess.Popen[str]":
    with open(log, "ab") as file:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            start_new_session=True,  # an interrupt from the keyboard is its owner's business
        )


def enter(pid: int) -> list[str]:
    """Return what goes before a command that runs in a host."""
    # Without the death signal a command that runs out of time would go on in there.
    return ["nsenter", "--target", str(pid), *ENTER, "setpriv", "--pdeathsig", "KILL"]


def said(process: "subprocess.Popen[str]") -> str:
    """Return the first line of a process, empty if it ended without any."""
    assert process.stdout is not None
    with process.stdout as stdout:
        return stdout.readline().strip()


def is_switch(pid: int, folder: Path) -> bool:
    """Tell whether this process is the folder's switch, and not a later one of that number."""
    try:
        mounts = Path(f"/proc/{pid}/mountinfo").read_text()
    except OSError:
        return False
    return f" {folder}/disks " in mounts


def end(pid: int) -> None:
    """Kill a process and wait until it has ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    limit = time.monotonic() + SECONDS_TO_START
    while _lives(pid):
        assert time.monotonic() < limit, f"process {pid} does not end"
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def ip(pid: str, commands: str, check: bool = True) -> None:
    """Run lines of ``ip`` in the network of a process."""
    ended = subprocess.run(
        ["nsenter", "--target", pid, "--net", "ip", "-batch", "-"],
        input=commands,
        capture_output=True,
        text=True,
    )
    assert not (check and ended.returncode), f"ip {commands!r}: {ended.stderr}"


def _visible() -> list[str]:
    """Return the folders that every host sees: Python, its packages and this repository."""
    wanted = {Path(sys.prefix), Path(sys.base_prefix), REPOSITORY}
    hidden = (Path("/tmp"), Path(HOME), Path("/run"))
    needed = {path.resolve() for path in wanted if _is_apart(path.resolve(), hidden)}
    return sorted(str(path) for path in needed)


def _is_apart(path: Path, hidden: Sequence[Path]) -> bool:
    """Tell whether a folder is not seen through the root folder alone."""
    is_mounted = path.stat().st_dev != Path("/").stat().st_dev
    return is_mounted or any(path.is_relative_to(folder) for folder in hidden)


def environment(env: Mapping[str, str] | None) -> list[str]:
    """Return what gives a command in a host the environment of its root."""
    paths = f"{sys.prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    values = {"HOME": HOME, "PATH": paths, "LANG": "C.UTF-8", "SHELL": "/bin/bash", **(env or {})}
    return ["env", "-i", "-C", HOME, *(f"{key}={value}" for key, value in values.items())]
