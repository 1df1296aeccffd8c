"""Ray, started for one study or joined where it runs, and tasks whose errors are ours."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from search.errors import SearchError
from search.resources import local_cores
from search.study import Study

Answer = TypeVar("Answer")

# Read by Ray Tune when it is imported or when a run starts (ray 2.60): no loggers that nobody
# reads, no experiment snapshot, no change of folder, no signal handler and no retries of Tune's.
# And how long a lost actor's cause is waited for: after Ray's own second a dead node is not yet
# known to be dead, and its actors pass for unavailable.
TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_timeout_ms_task_wait_for_death_info": "30000",
}
OBJECT_STORE_BYTES = 128 * 2**20
"""Data travels by memory map, not through Ray's object store."""


def prepare_environment() -> None:
    """Set what Ray reads from the environment; what the user has set stays."""
    for name, value in TUNE_ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """The Ray that a study runs on."""

    nodes: tuple[Mapping[str, Any], ...]
    """The resources of every living node."""
    is_left_after: bool
    """Whether this process leaves it at the study's end, and all it holds there goes with it."""


@contextmanager
def ray_for(study: Study, notify: Callable[[str], None]) -> Iterator["Joined"]:
    """Join the Ray that is there, or start one on this machine for the time being.

    Joined is a Ray that this process has initialised, or the one at ``RAY_ADDRESS``.

    Yields:
        What was found there.
    """
    prepare_environment()
    notify("starting Ray")
    import ray

    owned = not ray.is_initialized()
    try:
        if owned:
            ray.init(**_arguments(study))
        nodes = tuple(node["Resources"] for node in ray.nodes() if node["Alive"])
        yield Joined(nodes=nodes, is_left_after=owned)
    finally:
        if owned:
            ray.shutdown()


def run_task(function: Callable[..., Answer], *arguments: Any) -> Answer:
    """Run a function in a Ray task and return its result; errors arrive as they were raised.

    Each task has a process of its own: TensorFlow's threads can be set only before its first
    use, and a user's module is imported as it is now.
    """
    import ray

    task = ray.remote(num_cpus=0, max_retries=2, max_calls=1)(function)
    try:
        answer: Answer = ray.get(task.remote(*arguments))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from (None if isinstance(error.cause, SearchError) else error)
    return answer


def _arguments(study: Study) -> dict[str, Any]:
    shared: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if os.environ.get("RAY_ADDRESS"):
        return shared
    arguments = {
        **shared,
        "address": "local",  # else Ray joins what someone's `ray start` left on this machine
        "num_cpus": local_cores(),
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
    }
    if os.environ.get("TWOHEAD_SIMULATED_GPU") == "1":
        arguments["num_gpus"] = max(1, round(study.resources.gpu))
    return arguments
