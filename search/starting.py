"""How a Ray of ours is started: without what nobody asks, and with warm processes."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from search.resources import local_cores
from search.study import Study

PRELOAD = "RAY_preload_python_modules"
"""Ray's own setting: what each process imports when it starts, before it has a task."""
FRAMEWORKS = "tensorflow,keras"
"""What takes a training seconds to import. Nothing of ours: a process knows the folder of the
driver's own packages only when it has a task."""
ONLOOKERS = ("start_api_server", "start_monitor", "start_log_monitor")
"""What starts the processes of a Ray that only watch it (ray 2.60): the dashboard's, which
without a dashboard only counts its use; the autoscaler's, of a Ray of one node; the one that
brings the driver what others print."""

TIMED_OUT = "timed out during startup"
"""In what Ray raises after 30 s, its own fixed limit, on a machine that is too busy (ray 2.60)."""


def has_a_slot_per_core(study: Study) -> bool:
    """Tell whether as many processes as Ray has CPUs are as many as will train.

    Ray starts that many by itself, and each of them imports what it is told to.
    """
    return bool(study.resources.cpu == 1 and not study.resources.gpu)


def num_cpus(study: Study) -> int:
    """Return how many CPUs a Ray of ours has: all of the machine, or all that trials will use."""
    most, cores = study.resources.concurrent, local_cores()
    return min(most, cores) if has_a_slot_per_core(study) and most != "auto" else cores


def start_ray(arguments: Mapping[str, Any], *, warms: bool) -> None:
    """Start a Ray on this machine; once more, if that takes longer than Ray waits.

    What a start that failed has begun is ended.

    Args:
        arguments: Of ``ray.init``.
        warms: Whether its processes import TensorFlow at once.
    """
    import ray

    for is_last in (False, True):
        nodes: list[Any] = []
        try:
            with _starting(nodes.append, warms=warms):
                ray.init(**arguments)
            return
        except BaseException as error:
            for node in nodes:
                _end(node)
            ray.shutdown()
            if is_last or TIMED_OUT not in str(error):
                raise


def _end(node: Any) -> None:
    """End a node that has begun to start, and what its processes have begun.

    A raylet's agents that have not joined it yet would outlive it for minutes (ray 2.60).
    """
    owned = [one.process.pid for some in node.all_processes.values() for one in some]
    begun = [pid for parent in owned for pid in _children(parent)]
    node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
    for pid in begun:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    """Return the processes that one has begun; none where the system does not tell."""
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, listed.read_text().split())
    return found


@contextmanager
def _starting(begun: Callable[[Any], None], *, warms: bool) -> Iterator[None]:
    """Let Ray start no onlookers; tell ``begun`` of each node that it begins to start.

    And let it take the address of this machine alone, where it is given that: it would put a
    public one in its place (ray 2.60).

    One stays, without which there is no Ray: the dashboard's agent. Where the dashboard lacks
    its packages it serves nobody, and Ray does not wait until it could.
    """
    from ray._private import services, utils
    from ray._private.node import Node

    start = Node.start_head_processes

    def noted(node: Any) -> None:
        begun(node)
        start(node)

    with ExitStack() as stack:
        stack.enter_context(replaced(Node, "start_head_processes", noted))
        for name in ONLOOKERS:
            if hasattr(Node, name):
                stack.enter_context(replaced(Node, name, _nothing))
        stack.enter_context(replaced(utils, "get_dashboard_dependency_error", ImportError))
        stack.enter_context(replaced(services, "resolve_ip_for_localhost", str))
        if warms:
            stack.enter_context(_variable(PRELOAD, os.environ.get(PRELOAD, FRAMEWORKS)))
        yield


@contextmanager
def actors_of_no_environment() -> Iterator[None]:
    """Let Tune start its actors in the processes that are there.

    It gives them an environment of their own, so that they would take processes of their own
    (ray 2.60). In a Ray of ours all processes have the driver's environment already.
    """
    from ray.tune.execution import class_cache

    with (
        replaced(class_cache, "DEFAULT_ENV_VARS", {}),
        replaced(class_cache, "ENV_VARS_TO_PROPAGATE", frozenset()),
    ):
        yield


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Start nothing."""


@contextmanager
def replaced(holder: Any, name: str, value: Any) -> Iterator[None]:
    """Let a name of a module or class stand for another value, for a seam of Ray's."""
    former = getattr(holder, name)
    setattr(holder, name, value)
    try:
        yield
    finally:
        setattr(holder, name, former)


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    former = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if former is None:
            del os.environ[name]
        else:
            os.environ[name] = former
