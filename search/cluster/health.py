"""Keeps an eye on the joined Ray while a study runs: who lives there, and whether it answers."""

import atexit
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from search.cluster.nodes import Node, living_nodes
from search.cluster.ray_patches import variable
from search.errors import ClusterLost

PAUSE_SECONDS = 1.0
"""Between two looks."""
SILENT_SECONDS = 4.0
"""After so many without an answer nothing is asked of the head that would hang without one."""
KNOCK_SECONDS = 1.0
"""How long a head may take to accept a connection; normally it is a millisecond."""
RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"
"""How long Ray's processes wait for a head that is away (ray 2.60); then each ends itself."""
RECONNECT_SECONDS = 60.0
"""Ray's own default of that."""
OUTLIVES = 2
"""A driver waits so many times as long before Ray ends it, so that it can end by itself."""
SHUTDOWN_SECONDS = 6.0
"""How long leaving a lost Ray may take: with a head that is merely silent it is five."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """The cluster at one moment."""

    nodes: tuple[Node, ...] = ()
    """The living ones."""
    leaving: frozenset[str] = frozenset()
    """Ids of those that were announced to go: Ray places nothing there any more."""
    free: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By node id: what of its resources nobody uses; a node may be missing."""

    @property
    def staying(self) -> tuple[Node, ...]:
        """The nodes where trials may be placed."""
        return tuple(node for node in self.nodes if node.id not in self.leaving)


class ClusterWatch:
    """Looks at the cluster every second, in a thread of its own.

    So nobody else waits for an answer of a head that is away, nor goes on for ever without one.

    ``look`` returns what there is; it raises, or does not return, if there is no answer: after
    ``patience`` seconds of that the cluster is given up. ``own`` is the id of the node that this
    process hangs on. ``knock`` tells at once whether the head can be reached, ``missing`` returns
    the name of a process without which the Ray is lost, if one has ended.
    """

    def __init__(
        self,
        look: Callable[[], Sight],
        own: str,
        *,
        patience: float,
        knock: Callable[[], bool] = lambda: True,
        missing: Callable[[], str | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self.own = own
        self._patience = patience
        self._knock = knock
        self._missing = missing
        self._clock = clock
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cluster-watch", daemon=True)
        self.sight = look()
        self._heard = clock()

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; on return no look is under way, unless it hangs."""
        self._stopped.set()
        is_hanging = self._clock() - self._heard > SILENT_SECONDS
        if self._thread.is_alive() and not is_hanging:
            self._thread.join(timeout=SILENT_SECONDS)

    def check(self) -> None:
        """Make sure that the cluster is still the one that was joined.

        `ClusterLost` if it has not answered for too long, has lost a process of its own, or has
        given up the node that this process hangs on: then nothing that it still has reaches this
        process.
        """
        name = self._missing()
        if name is not None:
            raise ClusterLost(
                f"Ray's process {name!r} has ended: it was killed, or memory was short; what was "
                "measured is recorded: `twohead resume` continues the study"
            )
        silent = self._clock() - self._heard
        if silent > self._patience:
            raise ClusterLost(
                f"Ray's head has not answered for {silent:.0f} s: it has ended or cannot be "
                f"reached; {CURE}"
            )
        if self.own not in {node.id for node in self.sight.nodes}:
            raise ClusterLost(
                "the Ray that this process joined has given up its node, or was started anew; "
                f"{CURE}"
            )

    def answers(self) -> bool:
        """Tell whether the head is there at this moment, for whoever would hang without it."""
        return self._clock() - self._heard < SILENT_SECONDS and self._knock()

    def settle(self) -> None:
        """Wait until the cluster answers again, or is given up; raises what `check` raises.

        For telling what is behind an error: as long as it is not known whether the cluster is
        there, any error may come from that.
        """
        asked = self._clock()
        while self._heard < asked + PAUSE_SECONDS:  # an answer to a look begun after the error
            self.check()
            self._stopped.wait(0.2)
        self.check()

    def _run(self) -> None:
        while not self._stopped.wait(PAUSE_SECONDS):
            try:
                sight = self._look()
            except Exception:  # no answer: `check` sees how long there has been none
                continue
            self.sight, self._heard = sight, self._clock()


CURE = (
    "what was measured is recorded: once the cluster is up again, `twohead resume` continues the "
    "study"
)


@contextmanager
def watched(patience: float) -> Iterator[ClusterWatch]:
    """Watch the Ray that this process has joined or started."""
    import ray

    context = ray.get_runtime_context()
    address = "" if _is_client() else context.gcs_address
    watch = ClusterWatch(
        look,
        context.get_node_id(),
        patience=patience,
        knock=lambda: is_open(address),
        missing=_ended_process,
    )
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


def look() -> Sight:
    """Return the joined Ray as it is now."""
    import ray
    from ray._private.state import available_resources_per_node, state

    if not ray.is_initialized():  # else Ray would start one by itself
        raise ConnectionError("no Ray is joined")
    nodes = living_nodes()
    if _is_client():
        return Sight(nodes=nodes)
    return Sight(
        nodes=nodes,
        leaving=frozenset(state.get_draining_nodes()),
        free=available_resources_per_node(),
    )


def _ended_process() -> str | None:
    """Return the name of a process of Ray that this one has started and that has ended."""
    from ray._private.worker import _global_node as node

    return next((name for name, _ in node.dead_processes()), None) if node is not None else None


def _is_client() -> bool:
    """Tell whether Ray was joined by ``ray://``: then its private state is not to be had."""
    from ray._private.client_mode_hook import client_mode_should_convert

    return bool(client_mode_should_convert())


def is_open(address: str) -> bool:
    """Tell whether something accepts connections at a ``host:port``; yes for none."""
    host, _, port = address.rpartition(":")
    if not host:
        return True
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()
    except OSError:
        return False
    return True


def head_patience() -> float:
    """Return how long a head may be away: as long as the cluster's own nodes wait for it."""
    try:
        return max(1.0, float(os.environ.get(RECONNECT, "")))
    except ValueError:
        return RECONNECT_SECONDS


def outliving(is_joined: bool) -> AbstractContextManager[None]:
    """Let this process outlive a Ray that it joins, for as long as `head_patience` and longer.

    Ray reads the variable while it is initialised; what it starts here would inherit it.
    """
    seconds = str(round(OUTLIVES * head_patience()))
    return variable(RECONNECT, seconds) if is_joined else nullcontext()


def leave_lost_ray() -> None:
    """Leave a Ray that does not answer any more, as well as that goes in bounded time.

    Where it does not, Ray's own attempt at the process' end would wait for the head, too.
    """
    import ray

    thread = threading.Thread(target=ray.shutdown, daemon=True)
    thread.start()
    thread.join(SHUTDOWN_SECONDS)
    if thread.is_alive():
        atexit.unregister(ray._private.worker.shutdown)
