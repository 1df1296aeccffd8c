"""A Ray of several nodes on this machine: each its own raylet, all at one address."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from search.cluster.session import OBJECT_STORE_BYTES, prepare_environment
from tests.support.stub_study import ROOT

HEALTH = {"health_check_period_ms": 500, "health_check_timeout_ms": 1000}
"""How often Ray looks whether a node still lives: a killed one is known to be dead in seconds."""


class Nodes:
    """The nodes of a running Ray, which this process may or may not have joined."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add(self, **options: Any) -> Any:
        """Start a node; in the main thread only, for Ray sets a signal handler."""
        options = {"num_cpus": 1, "object_store_memory": OBJECT_STORE_BYTES, **options}
        return self._cluster.add_node(**options)

    def remove(self, node: Any) -> None:
        """Kill all processes of a node, as if its power was cut."""
        self._cluster.remove_node(node, allow_graceful=False)

    def kill_head(self) -> None:
        """Kill all processes of the head at once."""
        for processes in self._cluster.head_node.all_processes.values():
            for one in processes:
                one.process.kill()


@contextmanager
def nodes_of_ray() -> Iterator[Nodes]:
    """Start the head of a Ray whose processes can import the tests; all ends with the block."""
    prepare_environment()
    from ray.cluster_utils import Cluster

    with (
        tempfile.TemporaryDirectory(
            prefix="ray-", dir="/tmp", ignore_cleanup_errors=True
        ) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        Path(folder, "ray").mkdir()  # where Ray writes the address of what it has started
        patch.setenv("PYTHONPATH", ROOT)
        patch.setenv("RAY_TMPDIR", folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        for name, value in HEALTH.items():
            patch.setenv(f"RAY_{name}", str(value))
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "object_store_memory": OBJECT_STORE_BYTES,
                "include_dashboard": False,
                "temp_dir": folder,
            },
        )
        try:
            yield Nodes(cluster)
        finally:
            cluster.shutdown()


@contextmanager
def joined(nodes: Nodes) -> Iterator[None]:
    """Join that Ray for the time being."""
    import ray

    ray.init(nodes.address, log_to_driver=False, logging_level="error")
    try:
        yield
    finally:
        ray.shutdown()
