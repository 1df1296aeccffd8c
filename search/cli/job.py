"""What runs on a cluster's head: ``python -P -m search.cli.job run|drive|ask ...``.

A job of Ray's Jobs API starts it; `search.remote` submits the jobs. ``run`` is a process that
starts ``drive``, which runs a study, and starts it again; ``ask`` answers a question.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from search.cli.head_answers import answer
from search.cli.local import run_study
from search.cli.main import BAD_INPUT, DONE, FAILED, INTERRUPTED, complain, fail, plain_console
from search.cli.supervisor import ends_with
from search.errors import ClusterLost, SearchError, StorageError, StorageFull
from search.remote.questions import to_log
from search.remote.request import COMMAND, JobRequest, check_places
from search.study import digits_study as defaults
from search.text import our_version

REFUSED = 3
"""Exit status of a driver that would fail again in the same way."""
FINAL = (DONE, BAD_INPUT, INTERRUPTED, REFUSED)
PAUSES = (2.0, 10.0, 30.0)
"""Seconds before each restart; there are no more."""
LONG_RUN_SECONDS = 3600.0
"""A driver that ran for so long may be started as often again as one that never died."""
NEWBORN_SECONDS = 1.0
"""A driver this young may have been missed by who told all processes of the job to end."""
PATIENCE_SECONDS = 90.0
"""For the owner of a study to be given up, where its machine was lost; its lease is shorter."""
LOOK_SECONDS = 0.1
TEST_FACTORY = "TWOHEAD_TEST_FACTORY"
"""In the environment of a node under test: ``module:function`` that trains in Keras' place."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a study, or answer a question; return the exit status, as `search.cli.main` does."""
    parser = argparse.ArgumentParser(prog="search.cli.job", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "drive"):
        commands.add_parser(name).add_argument("request", type=Path)
    ask = commands.add_parser("ask")
    ask.add_argument("question")
    ask.add_argument("asked", type=json.loads)
    args = parser.parse_args(argv)
    if args.command == "run":
        return supervise([sys.executable, *COMMAND[1:], "drive", str(args.request)])
    if args.command == "drive":
        return drive(args.request)
    sys.stdout.write("\n" + to_log(answer(args.asked), args.question))
    sys.stdout.flush()
    return DONE


def supervise(command: Sequence[str], *, pauses: Sequence[float] = PAUSES) -> int:
    """Run a driver to its end, and again where it was killed or failed unexpectedly.

    On SIGTERM, which `ray job stop` sends to every process of a job by itself, this only waits
    for the driver: a second one would cut its orderly end short.
    """
    stop = _Stop()
    restarts = 0
    while True:
        began = time.monotonic()
        status = _wait(subprocess.Popen(command), stop, began)
        if stop.is_set and status != DONE:
            return INTERRUPTED
        if status in FINAL:
            return FAILED if status == REFUSED else status
        if time.monotonic() - began >= LONG_RUN_SECONDS:
            restarts = 0
        if restarts == len(pauses):
            complain(f"the driver {_words(status)} once more: it is not started again")
            return FAILED
        pause, restarts = pauses[restarts], restarts + 1
        complain(f"the driver {_words(status)}: start {restarts} of {len(pauses)} in {pause:g} s")
        if stop.comes_within(pause):
            return INTERRUPTED


class _Stop:
    """Is set by SIGTERM or SIGINT."""

    def __init__(self) -> None:
        self.is_set = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def comes_within(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not self.is_set and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
        return self.is_set

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.is_set = True


def _wait(driver: "subprocess.Popen[bytes]", stop: _Stop, began: float) -> int:
    was_set = False
    while True:
        try:
            return driver.wait(LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            if stop.is_set and not was_set and time.monotonic() - began < NEWBORN_SECONDS:
                driver.terminate()
            was_set = stop.is_set


def _words(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def drive(path: Path) -> int:
    """Run the study of a request in this process, joining the Ray of ``RAY_ADDRESS``."""
    try:
        if not ends_with(os.getppid(), signal.SIGTERM):  # nobody would watch over it
            raise KeyboardInterrupt
        return _drive(path)
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except Exception as error:
        status = fail(error, show=False)
        return status if status != FAILED or _may_pass(error) else REFUSED


def _drive(path: Path) -> int:
    request = JobRequest.read(path)
    if request.version != our_version():
        complain(
            f"warning: submitted with version {request.version}, run with {our_version()}: "
            "install the same on both sides"
        )
    study = request.study_here()
    complain(f"study {study.name} in {study.storage}, driven on {socket.gethostname()}")
    needs_digits = defaults.is_digits(study)
    if not needs_digits:
        check_places(study)
    options: dict[str, Any] = {
        "needs_digits": needs_digits,
        "patience": PATIENCE_SECONDS,
        "retry_failed": request.retry_failed,
    }
    if factory := os.environ.get(TEST_FACTORY):
        options["factory"] = factory
    status = run_study(study, plain_console(), **options)
    # The last line of a job's log is what `twohead status` shows.
    complain(f"study {study.name} {'is finished' if status == DONE else 'was interrupted'}")
    return status


def _may_pass(error: Exception) -> bool:
    """Tell whether a fresh driver may get further: after what nobody foresaw, and lost lines."""
    if isinstance(error, StorageError):
        return not isinstance(error, StorageFull)
    return isinstance(error, ClusterLost) or not isinstance(error, SearchError)


if __name__ == "__main__":
    sys.exit(main())
