"""How a Ray of ours is started: without what nobody asks, and with warm processes."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from search.cluster.ray_patches import replaced, variable
from search.cluster.shares import local_cores
from search.cluster.watchdog import end_processes, tell
from search.study.study import Study

PRELOAD = "RAY_preload_python_modules"
"""Ray's own setting: what each process imports when it starts, before it has a task."""
FRAMEWORKS = "tensorflow,keras"
"""What takes a training seconds to import. Nothing of ours: a process knows the folder of the
driver's own packages only when it has a task."""
ONLOOKERS = ("start_api_server", "start_monitor", "start_log_monitor")
"""What starts the processes of a Ray that only watch it (ray 2.60): the dashboard's, which
without a dashboard only counts its use; the autoscaler's, of a Ray of one node; the one that
brings the driver what others print."""

PRESTART = "--num_prestart_python_workers="
"""Tells a raylet how many processes to start for the first driver. It does not answer that driver
before each of them has registered, and never if one dies before (ray 2.60): the driver hangs in
C++ with the interpreter's lock held. So none is started so; `_begin_processes` asks for them."""
ASKED_SECONDS = 5.0
"""How long a raylet may take to answer that it starts processes; it takes milliseconds."""
KEPT_SECONDS = 24 * 3600
"""How long a process that was started beforehand is kept while nothing runs in it."""

TIMED_OUT = ("timed out during startup", "timed out waiting for file")
"""In what Ray raises after 30 s, its own fixed limit, on a machine that is too busy, or where one
of its processes has died meanwhile (ray 2.60)."""


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
    """
    import ray

    for is_last in (False, True):
        nodes: list[Any] = []
        tell("starting")
        try:
            with _starting(nodes.append, arguments["num_cpus"], warms=warms):
                ray.init(**arguments)
            tell("running")
            return
        except BaseException as error:
            for node in nodes:
                node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
            # Agents that have not joined their raylet yet outlive it for minutes (ray 2.60).
            end_processes(arguments["_temp_dir"], spared=os.getpid())
            ray.shutdown()
            if is_last or not any(words in str(error).lower() for words in TIMED_OUT):
                raise


@contextmanager
def _starting(begun: Callable[[Any], None], num: int, *, warms: bool) -> Iterator[None]:
    """Let Ray start no onlookers but processes for trials; tell ``begun`` of each node.

    And let it take the address of this machine alone, where it is given that: it would put a
    public one in its place (ray 2.60).

    One stays, without which there is no Ray: the dashboard's agent. Where the dashboard lacks
    its packages it serves nobody, and Ray does not wait until it could.
    """
    from ray._private import services, utils, worker
    from ray._private.node import Node

    start, connect = Node.start_head_processes, worker.connect

    def noted(node: Any) -> None:
        begun(node)
        start(node)

    def connected(node: Any, *args: Any, **options: Any) -> None:
        _begin_processes(node, num)  # now, not behind it: that is a second later
        connect(node, *args, **options)

    begin = services.start_ray_process

    def begun_without_prestart(command: list[str], *args: Any, **options: Any) -> Any:
        told = [f"{PRESTART}0" if one.startswith(PRESTART) else one for one in command]
        return begin(told, *args, **options)

    with ExitStack() as stack:
        stack.enter_context(replaced(services, "start_ray_process", begun_without_prestart))
        stack.enter_context(replaced(worker, "connect", connected))
        stack.enter_context(replaced(Node, "start_head_processes", noted))
        for name in ONLOOKERS:
            if hasattr(Node, name):
                stack.enter_context(replaced(Node, name, lambda *given, **named: None))
        stack.enter_context(replaced(utils, "get_dashboard_dependency_error", ImportError))
        stack.enter_context(replaced(services, "resolve_ip_for_localhost", str))
        if warms:
            stack.enter_context(variable(PRELOAD, os.environ.get(PRELOAD, FRAMEWORKS)))
        yield


def _begin_processes(node: Any, num: int) -> None:
    """Have processes started for the first trials, and wait for none of them.

    They are taken by actors, which processes that have run a task never are (ray 2.60). One that
    dies before it registers is missed by nobody: where it was the only one, Ray starts another
    after a minute.
    """
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import common_pb2, node_manager_pb2, node_manager_pb2_grpc

    request = node_manager_pb2.PrestartWorkersRequest(
        language=common_pb2.Language.Value("PYTHON"),
        num_workers=num,
        keep_alive_duration_secs=KEPT_SECONDS,
    )
    request.runtime_env_info.serialized_runtime_env = "{}"
    channel = init_grpc_channel(f"{node.node_ip_address}:{node.node_manager_port}")
    with channel, suppress(grpc.RpcError):  # then they are started when they are needed
        stub = node_manager_pb2_grpc.NodeManagerServiceStub(channel)
        stub.PrestartWorkers(request, timeout=ASKED_SECONDS)
