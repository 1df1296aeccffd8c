"""Ray, started for one study or joined where it runs, and tasks whose errors are ours."""

import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from search.cluster.child_process import apart
from search.cluster.health import ClusterWatch, head_patience, leave_lost_ray, outliving, watched
from search.cluster.ray_folder import NAME, RayFolder, private_folder
from search.cluster.ray_patches import replaced
from search.cluster.shares import joined_address
from search.cluster.signals import Flag
from search.cluster.starting import has_a_slot_per_core, num_cpus, start_ray
from search.cluster.token import ensure_private_token
from search.cluster.watchdog import tell, watchdog
from search.errors import ClusterLost, InputError, SearchError
from search.study.study import Study
from trainables.model.keras_home import settle_keras
from trainables.model.user_modules import hiding_file

Answer = TypeVar("Answer")

# Read by Ray Tune when it is imported or when a run starts (ray 2.60): no loggers that nobody
# reads, no experiment snapshot, no change of folder, no signal handler and no retries of Tune's.
# And how long a lost actor's cause is waited for: after Ray's own second a dead node is not yet
# known to be dead, and its actors pass for unavailable.
TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_STATE_REFRESH_PERIOD": "1000000000",
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
PROBE_SECONDS = 3.0
"""How long a Ray may take to accept a connection; Ray itself would wait for minutes."""
LOOPBACK = "127.0.0.1"
"""Where a Ray of ours listens, with every port of all its processes: given this very address,
each of them binds to it, and to all of the machine's with any other (ray 2.60)."""
PATIENT = 0.75
"""The share of the time after which Ray's own processes end themselves without a head."""

_joined: list["Joined"] = []
"""The Ray that this process has joined, while a study runs on it."""


def prepare_environment() -> None:
    """Set what Ray reads from the environment; what the user has set stays."""
    if os.path.expanduser("~") == "~":
        # Neither a home nor an entry among the users: Ray cannot be imported (ray 2.60). It is
        # what Docker gives such a user.
        os.environ["HOME"] = "/"
    settle_keras()  # its processes may import Keras before they import anything of ours
    for name, value in TUNE_ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """The Ray that a study runs on."""

    watch: ClusterWatch
    """Knows its nodes, and whether it still answers."""
    is_ours: bool
    """Whether it was started here for the study: then it is all there will ever be."""
    is_left_after: bool
    """Whether this process leaves it at the study's end, and all it holds there goes with it."""
    folder: RayFolder
    """Where it lives, if it was started here, and where Tune writes in any case."""


@contextmanager
def ray_for(
    study: Study, notify: Callable[[str], None], flag: Flag, *, warms: bool = False
) -> Iterator["Joined"]:
    """Join the Ray that is there, or start one on this machine for the time being.

    Joined is a Ray that this process has initialised, or the one at ``RAY_ADDRESS``. A signal
    that comes while Ray starts or ends waits until it has. Where trials need TensorFlow, the
    processes of a Ray that is started import it at once (``warms``), before they have a trial.

    `InputError` if there is no Ray at ``RAY_ADDRESS``, or no place for a private folder;
    `ClusterLost` if it ends meanwhile, from wherever it is waited for.
    """
    prepare_environment()
    notify("starting Ray")
    patience = PATIENT * head_patience()
    with outliving(bool(joined_address())):  # read when Ray is imported, and again below
        import ray
        from ray._private import worker

    flag.check()
    owned = not ray.is_initialized()
    leave = ray.shutdown
    is_ours = owned and not joined_address()
    with (
        private_folder() as folder,
        watchdog(str(folder.root), folder.lock_fd) if is_ours else nullcontext(),
        # Ray prints twenty lines of the log of a lost node, whatever `log_to_driver` says
        # (ray 2.60); our own lines say what was lost.
        replaced(worker, "_worker_logs_enabled", False) if owned else nullcontext(),
    ):
        try:
            if owned:
                with flag.held(), outliving(bool(joined_address())):
                    _init(_arguments(study, folder), warms=warms and has_a_slot_per_core(study))
                    folder.check()
            with watched(patience) as watch:
                joined = Joined(watch=watch, is_ours=is_ours, is_left_after=owned, folder=folder)
                _joined.append(joined)
                yield joined
        except ClusterLost:
            leave = leave_lost_ray
            raise
        finally:
            _joined.clear()
            if owned:
                with flag.held():
                    tell("leaving")
                    leave()
                    tell("ended")


def run_task(function: Callable[..., Answer], *arguments: Any) -> Answer:
    """Run a function in a Ray task and return its result; errors arrive as they were raised.

    Each task has a process of its own: TensorFlow's threads can be set only before its first
    use, and a user's module is imported as it is now. On a Ray of ours it is no process of
    Ray's: those are warm, and kept for trials.
    """
    if is_on_ours():
        with apart(function, *arguments) as wait:
            return wait()
    import ray

    task = ray.remote(num_cpus=0, max_retries=2, max_calls=1)(function).remote(*arguments)
    while not ray.wait([task], timeout=1.0)[0]:
        for joined in _joined:
            joined.watch.check()
    try:
        answer: Answer = ray.get(task)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from (None if isinstance(error.cause, SearchError) else error)
    except ray.exceptions.RayError as error:
        for joined in _joined:
            joined.watch.settle()
        text = " ".join(str(error).split())[:400]
        raise SearchError(f"a task of Ray was lost: {text}; run it again") from error
    return answer


def is_on_ours() -> bool:
    """Tell whether the Ray that is joined now is one of ours: it will never have other nodes."""
    return any(joined.is_ours for joined in _joined)


def _init(arguments: Mapping[str, Any], *, warms: bool = False) -> None:
    address = own_address(joined_address())
    check_answers(address)
    try:
        if address:
            import ray

            tell("starting")
            ray.init(address, **arguments)
            tell("running")
        else:
            ensure_private_token()
            start_ray(arguments, warms=warms)
    except Exception as error:  # a start that times out is a bare Exception (ray 2.60)
        if address:
            raise InputError(no_ray(address, error)) from error
        why = _first_line(error)
        raise SearchError(
            f"Ray could not be started on this machine: {why}; if it is busy, try again"
        ) from error


def check_answers(address: str) -> None:
    """Refuse a ``host:port`` where nothing accepts connections."""
    scheme = address.partition("://")[0] if "://" in address else ""
    if scheme in ("http", "https"):
        raise InputError(
            f"RAY_ADDRESS needs host:port, ray://host:port, 'auto' or 'local', got {address!r}, "
            "the address of a dashboard: unset RAY_ADDRESS, and `twohead submit --address "
            f"{address}` (search.connect in Python) has the cluster run the study"
        )
    if not address or scheme:
        return
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and int(port) < 2**16):
        raise InputError(
            f"RAY_ADDRESS needs host:port, ray://host:port, 'auto' or 'local', got {address!r}"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), PROBE_SECONDS).close()
    except OSError as error:
        raise InputError(no_ray(address, error)) from error


def no_ray(address: str, error: Exception) -> str:
    """Return what to say where a Ray could not be joined."""
    why = _first_line(error)
    return f"RAY_ADDRESS needs the address of a running Ray, got {address!r} ({why})"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _arguments(study: Study, folder: RayFolder) -> dict[str, Any]:
    shared: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    address = joined_address()
    if "://" not in address and any(hiding_file(path) for path in (os.getcwd(), sys.path[0])):
        shared["job_config"] = _pathless()
    if address:
        return shared
    arguments = {
        **shared,
        "address": "local",  # else Ray joins what someone's `ray start` left on this machine
        "num_cpus": num_cpus(study),
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        "_temp_dir": str(folder.temp),
        "_node_ip_address": LOOPBACK,
    }
    if os.environ.get("TWOHEAD_SIMULATED_GPU") == "1":
        gpu = study.resources.gpu
        arguments["num_gpus"] = 1 if gpu == "auto" else max(1, round(gpu))
    return arguments


def _pathless() -> Any:
    """Return a job whose processes do not import from the driver's folders.

    Ray puts the current folder and the script's before all others in each process, but not
    for a job whose files it brings there itself (ray 2.60).
    """
    from ray.job_config import JobConfig

    class Pathless(JobConfig):  # type: ignore[misc]
        def _runtime_env_has_working_dir(self) -> bool:
            return True

    return Pathless()


def own_address(address: str) -> str:
    """Return an address as it is, and for ``auto`` that of the Ray that runs on this machine.

    Ray itself would take one that any process of any user shows, or that stands in a file where
    every user may write (ray 2.60, ``find_gcs_addresses`` and ``ray_current_cluster``), and
    would show the token to whoever listens there. Refused is what is not just one.
    """
    if address != "auto":
        return address
    found = {shown for words, users in _processes() if (shown := _shown(words, users))}
    if len(found) == 1:
        return found.pop()
    raise InputError(
        "RAY_ADDRESS 'auto' needs just one running Ray of yours or of root on this machine, got "
        f"{', '.join(sorted(found)) or 'none'}; name the one to join as host:port"
    )


def _shown(words: Sequence[str], users: Sequence[int]) -> str | None:
    """Return the address in the command of a process, if it can be joined and trusted.

    ``users``: the real, effective and saved one; they differ where a user runs what is root's.
    """
    is_raylet = bool(words) and os.path.basename(words[0]) == "raylet"
    if not is_raylet or not users or set(users) - {0, os.getuid()}:
        return None
    values = dict(reversed([word.partition("=")[::2] for word in words]))
    folders = Path(values.get("--session_dir", "")).parts
    # One in a folder of ours is a study's own, and ends with it.
    is_a_studys = any(NAME.fullmatch(folder) for folder in folders)
    return None if is_a_studys else values.get("--gcs-address")


def _processes() -> Iterator[tuple[list[str], Sequence[int]]]:
    """Yield the command and the users of every process of this machine."""
    import psutil

    for process in psutil.process_iter(["cmdline", "uids"]):
        # A process may have written its title over its command, as one word.
        yield " ".join(process.info["cmdline"] or ()).split(), process.info["uids"] or ()
