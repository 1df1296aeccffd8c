"""Measures what a training takes and how fast several are side by side, each in a process.

An actor of Ray holds the share of a node. There ``python -m trainables.probing.measure`` imports
TensorFlow once, without using it, and forks a process for each measurement: TensorFlow's limits
are fixed by its first use, and a peak is a process' own. It reads a JSON request from its standard
input and writes one JSON answer for each job.
"""

import ctypes
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from trainables.errors import SearchError
from trainables.model.device import gpu_bytes, gpu_taken, is_simulated
from trainables.model.user_modules import add_import_folder
from trainables.probing.precision import blocks
from trainables.spec.settings import StudySettings
from trainables.spec.trial import TrialSpec
from trainables.storage.sealed_json import convert
from trainables.trial.attempt import is_out_of_memory, reason_of

if TYPE_CHECKING:
    from trainables.training.keras_run import KerasRun

STEPS = 4
"""Of training: so many it takes until a process has all that it comes to take."""
LIMIT_SHARE = 0.8
"""Of a GPU, given to TensorFlow while it is measured; the rest is for what it takes besides."""
SEED = 0
PR_SET_PDEATHSIG = 1

Job = Mapping[str, Any]
Answer = dict[str, Any]


class Probe:
    """An actor that holds a share of a node, and starts a process for what is measured there."""

    def measure(self, settings: StudySettings, jobs: Sequence[Job]) -> list[Answer]:
        """Return the answer to each job; SearchError if the process ended before the last."""
        # Without the current folder, which may be a user's and have a `search` of its own.
        command = [sys.executable, "-P", "-m", "trainables.probing.measure"]
        paths = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
        done = subprocess.run(
            command,
            input=json.dumps({"settings": asdict(settings), "jobs": list(jobs)}),
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=False,
        )
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        if len(answers) < len(jobs):
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise SearchError(f"models could not be measured: {last[:400]}")
        return answers


def gpu_bytes_here() -> int:
    """Return the memory of each GPU of this node; runs there, in a process that has none."""
    # From such a process Ray hides all of them (ray 2.60).
    if not os.environ.get("CUDA_VISIBLE_DEVICES"):
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    return gpu_bytes()


# What that process does


def _peak(settings: StudySettings, job: Job) -> Answer:
    """Return the most memory that this process has come to take for training one config.

    With ``kept_bytes``, what a process may keep of its earlier trials besides, and
    ``outside_bytes``, what is taken of a GPU besides TensorFlow's own part.
    """
    from trainables.training.program import MOST_KEPT, MOST_KEPT_BYTES, program_for

    limit = 0 if is_simulated() else int(job["gpu_bytes"] * LIMIT_SHARE)
    spec, run = _run(settings, job, limit)
    run.run_epoch()
    program = program_for(spec, seed=SEED, precision=settings.precision)
    # Half of what a program holds are initial values, which stay in the machine's memory.
    kept = min(MOST_KEPT_BYTES, (MOST_KEPT - 1) * program.resting_bytes) // 2
    held = sum(_held(spec, rows) for rows in job["rows"])
    if not limit:
        return {"peak_bytes": _resident_peak() + held, "kept_bytes": kept, "outside_bytes": 0}
    from trainables.model.backend import tf

    taken = int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    outside = max(0, gpu_taken() - limit)
    return {"peak_bytes": taken + held, "kept_bytes": kept, "outside_bytes": outside}


def _held(spec: TrialSpec, num_rows: int) -> int:
    """Return what the images of a split take while they are trained on."""
    from trainables.training.feeding import CHUNK_BYTES, RESIDENT_BYTES

    whole = num_rows * math.prod(spec.model.image_shape)
    return whole if whole < RESIDENT_BYTES else 2 * CHUNK_BYTES  # one in use, one coming


def _speed(settings: StudySettings, job: Job) -> Iterator[Any]:
    """Yield nothing when all is built, then the rows of one config trained in a second."""
    spec, run = _run(settings, job, 0)
    run.run_epoch()
    yield None
    rows, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < job["seconds"]:
        run.run_epoch()
        rows += STEPS * spec.batch_size
    yield rows / spent


def _run(settings: StudySettings, job: Job, limit: int) -> "tuple[TrialSpec, KerasRun]":
    from trainables.model.backend import configure_process
    from trainables.training.evaluation import evaluation_batch_size
    from trainables.training.keras_run import KerasRun

    configure_process(num_threads=job["threads"], gpu_memory_bytes=limit or None)
    add_import_folder(settings.module_folder)
    spec = settings.trial_spec(job["config"], is_reference=job["is_reference"])
    validation = evaluation_batch_size(spec.model.image_shape)
    steps = job.get("steps", STEPS)
    data = blocks(spec, {"train": steps * spec.batch_size, "validation": validation})
    return spec, KerasRun(spec=spec, dataset=data, seed=SEED, precision=settings.precision)


def _resident_peak() -> int:
    """Return the most that this process has had in memory, as if it had not been forked.

    A forked process does not count the files that its parent had mapped, mostly libraries, until
    it uses them itself; they are counted as the parent has them.
    """
    own = _status("self")
    return own["VmHWM"] - own["RssFile"] + max(own["RssFile"], _status(os.getppid())["RssFile"])


def _status(process: int | str) -> dict[str, int]:
    """Return the sizes in a process' status, in bytes."""
    with open(f"/proc/{process}/status") as file:
        pairs = (line.split(":") for line in file)
        return {key: int(v.split()[0]) * 1024 for key, v in pairs if v.strip().endswith(" kB")}


# A job in processes of its own


class Child:
    """A forked process that does some work, given its end of a pipe to send its answers through.

    What it is sent, by `go`, it waits for at the same end.
    """

    def __init__(self, work: Callable[[Any], None]) -> None:
        forking = multiprocessing.get_context("fork")
        self._pipe, end = forking.Pipe()
        self._process = forking.Process(target=_try, args=(work, end))
        self._process.start()
        end.close()

    def answer(self) -> Answer:
        """Return the next answer of the child; that it has died, if it has."""
        try:
            found: Answer = self._pipe.recv()
        except EOFError:
            return self._how_it_died()
        return found

    def _how_it_died(self) -> Answer:
        """Say what ended the child; what is out of memory is killed, or ends itself by SIGABRT."""
        self._process.join()
        status = self._process.exitcode or 0
        is_memory = -status in (signal.SIGKILL, signal.SIGABRT)
        killer = signal.Signals(-status).name if status < 0 else ""
        how = f"was killed by {killer}" if killer else f"ended with status {status}"
        return {"failed": f"the process that tried it {how}", "is_memory": is_memory}

    def go(self) -> None:
        """Let the child go on."""
        self._pipe.send(None)

    def end(self) -> None:
        """End the child."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _try(work: Callable[[Any], None], pipe: Any) -> None:
    _die_with_parent()
    try:
        work(pipe)
    except BaseException as error:
        pipe.send({"failed": reason_of(error, None), "is_memory": is_out_of_memory(error)})


def measure(settings: StudySettings, job: Job) -> Answer:
    """Carry out one job in forked processes; what goes wrong there is its answer, ``failed``."""

    def work(pipe: Any) -> None:
        if job["what"] == "peak":
            pipe.send(_peak(settings, job))
        else:
            steps = _speed(settings, job)
            next(steps)
            pipe.send({})
            pipe.recv()
            pipe.send({"rows_per_second": next(steps)})

    children = [Child(work) for _ in range(job.get("processes", 1))]
    try:
        answers = [child.answer() for child in children]
        failed = [answer for answer in answers if "failed" in answer]
        if failed or job["what"] != "speed":
            return (failed or answers)[0]
        for child in children:
            child.go()
        answers = [child.answer() for child in children]
    finally:
        for child in children:
            child.end()
    failed = [answer for answer in answers if "failed" in answer]
    return failed[0] if failed else {"rows_per_second": sum(a["rows_per_second"] for a in answers)}


def _die_with_parent() -> None:
    """Let the kernel end this process when the one that started it ends, however it does."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Answer the jobs of the request, each in a line of its own."""
    _die_with_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a user's function prints
    request = json.load(sys.stdin)
    import trainables.training.keras_run  # noqa: F401 - all jobs need it

    settings = convert(request["settings"], StudySettings)
    for job in request["jobs"]:
        print(json.dumps(measure(settings, job)), file=answers, flush=True)


if __name__ == "__main__":
    main()
