"""Measures what a training takes and how fast several are side by side, each in a process.

``python -m trainables.probing.measure`` imports TensorFlow once, without using it, and forks a
process for each measurement: TensorFlow's limits are fixed by its first use, and a peak is a
process' own. It reads a JSON request from its standard input and writes one JSON answer for each
job.
"""

import ctypes
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from trainables.model.device import gpu_taken, is_simulated
from trainables.model.user_modules import add_import_folder
from trainables.spec.heads import HeadSpec
from trainables.spec.settings import StudySettings
from trainables.spec.trial import TrialSpec
from trainables.storage.sealed_json import convert
from trainables.trial.attempt import is_out_of_memory, reason_of

STEPS = 4
"""Of training: so many it takes until a process has all that it comes to take."""
LIMIT_SHARE = 0.8
"""Of a GPU, given to TensorFlow while it is measured; the rest is for what it takes besides."""
SEED = 0
PR_SET_PDEATHSIG = 1

Job = Mapping[str, Any]
Answer = dict[str, Any]


class _Synthetic:
    """A data set of the study's form, large enough for a few steps."""

    def __init__(self, spec: TrialSpec, rows: Mapping[str, int]) -> None:
        self.fingerprint = "synthetic"
        self._spec = spec
        self._rows = rows

    def split(self, name: str) -> Any:
        """Return random rows of a split."""
        rng = np.random.default_rng(0)
        num = self._rows[name]
        shape = (num, *self._spec.model.image_shape)
        labels = {head.name: _labels(head, num, rng) for head in self._spec.heads}
        images = rng.integers(0, 256, shape, np.uint8)
        return SimpleNamespace(images=images, check_images=None, labels=labels)


def _labels(head: HeadSpec, num: int, rng: np.random.Generator) -> Any:
    if head.kind == "classification":
        return rng.integers(0, head.units, num)
    # Sorted, so that of a box the first corner comes before the second.
    return np.sort(rng.random((num, head.units), np.float32), axis=1)


def peak(settings: StudySettings, job: Job) -> Answer:
    """Return the most memory that this process has come to take for training one config.

    Returns:
        ``peak_bytes``; ``kept_bytes``, what a process may keep of its earlier trials besides;
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


def speed(settings: StudySettings, job: Job) -> Iterator[Any]:
    """Train one config for some seconds; a generator that stops when all is built.

    Yields:
        Nothing when it is ready, then the rows trained in a second.
    """
    spec, run = _run(settings, job, 0)
    run.run_epoch()
    yield None
    rows, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < job["seconds"]:
        run.run_epoch()
        rows += STEPS * spec.batch_size
    yield rows / spent


def _run(settings: StudySettings, job: Job, limit: int) -> tuple[TrialSpec, Any]:
    from trainables.model.backend import configure_process
    from trainables.training.evaluation import evaluation_batch_size
    from trainables.training.keras_run import KerasRun

    configure_process(num_threads=job["threads"], gpu_memory_bytes=limit or None)
    add_import_folder(settings.module_folder)
    spec = settings.trial_spec(job["config"], is_reference=job["is_reference"])
    validation = evaluation_batch_size(spec.model.image_shape)
    steps = job.get("steps", STEPS)
    rows = {"train": steps * spec.batch_size, "validation": validation}
    data = _Synthetic(spec, rows)
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
    """A forked process that says what it finds, and waits where it is told to."""

    def __init__(self, work: Callable[["Child"], None]) -> None:
        self._answers, self._answer = os.pipe()
        self._start, self._starter = os.pipe()
        self._pid = os.fork()
        if self._pid:
            os.close(self._answer)
            os.close(self._start)
            return
        _die_with_parent()
        try:
            work(self)
        except BaseException as error:
            self.say({"failed": reason_of(error, None), "is_memory": is_out_of_memory(error)})
        finally:
            os._exit(0)

    def say(self, answer: Answer) -> None:
        """Give the parent an answer."""
        os.write(self._answer, json.dumps(answer).encode() + b"\n")

    def wait(self) -> None:
        """Wait until the parent lets it go on, if it ever does."""
        os.close(self._starter)
        os.read(self._start, 1)

    def answer(self) -> Answer:
        """Return the next answer of the child; that it has died, if it has."""
        line = b""
        while not line.endswith(b"\n"):
            more = os.read(self._answers, 2**16)
            if not more:
                return self._how_it_died()
            line += more
        found: Answer = json.loads(line)
        return found

    def _how_it_died(self) -> Answer:
        """Say what ended the child; what is out of memory is killed, or ends itself by SIGABRT."""
        seen = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        assert seen is not None
        if seen.si_code == os.CLD_EXITED:
            how = f"ended with status {seen.si_status}"
            return {"failed": f"the process that tried it {how}", "is_memory": False}
        is_memory = seen.si_status in (signal.SIGKILL, signal.SIGABRT)
        how = f"was killed by {signal.Signals(seen.si_status).name}"
        return {"failed": f"the process that tried it {how}", "is_memory": is_memory}

    def go(self) -> None:
        """Let the child go on."""
        os.write(self._starter, b".")

    def end(self) -> None:
        """End the child."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._answers)
        os.close(self._starter)


def measure(settings: StudySettings, job: Job) -> Answer:
    """Carry out one job in forked processes; what goes wrong there is its answer, ``failed``."""

    def work(child: Child) -> None:
        if job["what"] == "peak":
            child.say(peak(settings, job))
        else:
            steps = speed(settings, job)
            next(steps)
            child.say({})
            child.wait()
            child.say({"rows_per_second": next(steps)})

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
    import trainables.training.keras_run  # noqa: F401 - what all have in common

    settings = convert(request["settings"], StudySettings)
    for job in request["jobs"]:
        print(json.dumps(measure(settings, job)), file=answers, flush=True)


if __name__ == "__main__":
    main()
