"""A Ray of several nodes in which each has a home, packages and a clock of its own.

As a script: starts it, says its address, and then obeys lines such as ``add far {"num_gpus": 1}``
and ``kill far``; all ends with its input.
"""

import json
import os
import resource
import secrets
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.support.stub_study import ROOT

SITE = """\
import time
from pathlib import Path

_true, _file = time.time, Path({folder!r}, "skew")
_ahead = float(_file.read_text()) if _file.exists() else 0.0
time.time = lambda: _true() + _ahead
"""
"""Read by every Python of a node when it starts: it gives the node a clock of its own."""


class PlantedRay:
    """A Ray whose nodes can be made ill one by one.

    Args:
        folder: Short: sockets lie below it.
        head: How its head is started, such as ``{"dashboard_host": "0.0.0.0"}``.
        open_files: The limit for all of its processes; None for that of this process.
    """

    def __init__(self, folder, *, head=None, open_files=None):
        self.folder = folder
        self.token = secrets.token_hex(32)
        self.shared = folder / "shared"
        self.shared.mkdir()
        self.furnish("head")
        command = [sys.executable, "-m", "tests.integration.planted_ray", str(folder)]
        command += [json.dumps(head or {}), str(open_files or 0)]
        self._process = subprocess.Popen(
            command, env=self.environment("head"), cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.address = self._said()

    def home(self, name):
        return self.folder / name / "home"

    def furnish(self, name):
        """Give a node a home with the token, packages, a clock, and the shared storage."""
        token = self.home(name) / ".ray" / "auth_token"
        token.parent.mkdir(parents=True, mode=0o700)
        token.touch(mode=0o600)
        token.write_text(self.token)
        (self.home(name) / "studies").symlink_to(self.shared)
        site = self.folder / name / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(SITE.format(folder=str(self.folder / name)))

    def environment(self, name):
        kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        site = self.folder / name / "site"
        return {
            **kept,
            "HOME": str(self.home(name)),
            "PYTHONPATH": os.pathsep.join([str(site), ROOT]),
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": str(self.folder),
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_timeout_ms": "1000",
        }

    def add(self, name, *, variables=None, **options):
        """Start a node; ``variables`` go into its environment."""
        self.furnish(name)
        own = {key: self.environment(name)[key] for key in ("HOME", "PYTHONPATH")}
        options |= {"node_name": name, "env_vars": {**own, **(variables or {})}}
        self._ask(f"add {name} {json.dumps(options)}")

    def kill(self, name):
        """End all processes of a node at once."""
        self._ask(f"kill {name} {{}}")

    def raylet(self, name):
        """Return the process id of a node's raylet."""
        return int(self._ask(f"raylet {name} {{}}"))

    def doctor(self, *arguments, **changes):
        """Run ``twohead doctor`` beside the head; return its exit status and what it found."""
        command = [sys.executable, "-m", "search.cli.main", "doctor", "--json", *arguments]
        environment = self.environment("head") | {"RAY_ADDRESS": self.address} | changes
        done = subprocess.run(
            command, env=environment, cwd=self.folder,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert self.token not in done.stdout + done.stderr
        assert done.returncode in {0, 1}, done.stderr
        assert done.stdout, done.stderr
        told = json.loads(done.stdout)
        return done.returncode, {
            each["check"]: each for part in told["parts"] for each in part["findings"]
        }

    def close(self):
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def _ask(self, line):
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._said()

    def _said(self):
        line = next((line for line in self._process.stdout if line.startswith("said ")), None)
        assert line is not None, "the Ray has ended"
        return line.removeprefix("said ").strip()


def main(folder, head, open_files):
    if open_files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
    from ray.cluster_utils import Cluster

    from search.cluster.session import OBJECT_STORE_BYTES

    common = {"object_store_memory": OBJECT_STORE_BYTES}
    (folder / "ray").mkdir()
    started = {"num_cpus": 0, "include_dashboard": True, "temp_dir": str(folder), **head}
    cluster = Cluster(initialize_head=True, head_node_args={**common, **started})
    nodes = {}
    print("said", cluster.address, flush=True)
    for line in sys.stdin:
        act, name, options = line.split(" ", 2)
        if act == "add":
            nodes[name] = cluster.add_node(**common, **json.loads(options))
        elif act == "kill":
            cluster.remove_node(nodes.pop(name), allow_graceful=False)
            _wait_until_known(cluster, living=1 + len(nodes))
        print("said", _raylet(nodes[name]) if act == "raylet" else "done", flush=True)
    cluster.shutdown()


def _wait_until_known(cluster, *, living, seconds=60):
    """Wait until Ray has noticed that a node has gone."""
    end = time.monotonic() + seconds
    while sum(told["Alive"] for told in cluster.global_state.node_table()) != living:
        assert time.monotonic() < end, "a node that was killed still counts as living"
        time.sleep(0.1)


def _raylet(node):
    return node.all_processes["raylet"][0].process.pid


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]))
