"""More workers than a machine has room for processes: many of them in a few."""

import asyncio
import itertools
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import ray

HOSTS = 2


class Host:
    """A process that plays many workers: each the real trainable, whose trainings take a while."""

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._workers: dict[int, Any] = {}

    async def call(self, worker: int, method: str, given: Any, named: Any) -> Any:
        """Call a method of a worker; calls to one of them are taken in order."""
        if method == "start":
            trainable, arguments = given
            self._workers[worker] = trainable(**arguments)
        elif method == "train":
            await asyncio.sleep(random.uniform(0.5, 1.5) * self._pause)
        elif method == "stop":
            del self._workers[worker]
        if method in ("start", "stop", "__ray_ready__", "__ray_terminate__"):
            return None
        return getattr(self._workers[worker], method)(*given, **named)


class Method:
    """Looks like a method of a Ray actor."""

    def __init__(self, host: Any, worker: int, name: str) -> None:
        self._host, self._worker, self._name = host, worker, name

    def remote(self, *given: Any, **named: Any) -> Any:
        return self._host.call.remote(self._worker, self._name, given, named)


class Worker:
    """Looks like a Ray actor."""

    def __init__(self, host: Any, number: int) -> None:
        self._host, self._number = host, number

    def __getattr__(self, name: str) -> Method:
        return Method(self._host, self._number, name)


@contextmanager
def many_workers(num: int, pause: float) -> Iterator[None]:
    """Let Tune's controller have so many workers.

    Real are: the runner, searcher, scheduler and record, Tune's controller with its bookkeeping,
    every call to a worker and its answer through Ray, the trainable, and what it writes. Not
    real are the processes (``HOSTS`` play them all) and the placement of each by Ray.

    Args:
        num: Workers at once.
        pause: Seconds that an epoch takes on average, spread by half of them.
    """
    from ray.air.execution._internal import RayActorManager
    from ray.air.execution.resources.fixed import FixedResourceManager
    from ray.tune.execution import tune_controller

    import search.cluster.capacity

    hosts = [ray.remote(Host).options(num_cpus=0).remote(pause) for _ in range(HOSTS)]
    numbers = itertools.count()
    classes: dict[Any, Any] = {}

    class Manager(RayActorManager):  # type: ignore[misc] # ray is not typed
        def _try_start_actors(self, max_actors: int | None = None) -> int:
            for tracked in self.pending_actors[:max_actors]:
                trainable, arguments, request = self._pending_actors_to_attrs.pop(tracked)
                self._resource_request_to_pending_actors[request].remove(tracked)
                acquired = self._resource_manager.acquire_resources(request)
                number = next(numbers)
                worker = Worker(hosts[number % HOSTS], number)
                if trainable not in classes:
                    classes[trainable] = trainable.__ray_metadata__.modified_class
                future = worker.start.remote(classes[trainable], arguments)
                self._live_actors_to_ray_actors_resources[tracked] = (worker, acquired)
                self._live_resource_cache = None
                self._tracked_actors_to_state_futures[tracked].add(future)
                self._actor_state_events.track_future(
                    future=future,
                    on_result=lambda _, t=tracked, f=future: self._actor_start_resolved(t, f),
                    on_error=lambda error, t=tracked: self._actor_start_failed(t, error),
                )
                self._enqueue_cached_actor_tasks(tracked)
            return 0

    with ExitStack() as stack:
        enter = stack.enter_context
        enter(patch.object(tune_controller, "RayActorManager", Manager))
        enter(
            patch.object(
                tune_controller,
                "PlacementGroupResourceManager",
                lambda: FixedResourceManager({"CPU": float(num)}),
            )
        )
        enter(patch.object(search.cluster.capacity, "at_once", lambda *given: num))
        yield
        for host in hosts:
            ray.kill(host)
