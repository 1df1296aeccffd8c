"""A study that is run by a process of its own, which tests kill, interrupt and wait for."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support import stub_run
from tests.support.processes import TAG, kill, tagged, wait_until
from tests.support.stub_study import ROOT

HANG_SECONDS = 240


class Driver:
    """A process that runs the study, with its Ray; nothing of it outlives a test."""

    def __init__(
        self, storage: Path, study: Mapping[str, Any], *options: str, **changes: str
    ) -> None:
        self.tag = uuid.uuid4().hex
        command = [sys.executable, "-m", "tests.support.driver", str(storage)]
        self.process = subprocess.Popen(
            [*command, "--study", json.dumps(study), *options],
            cwd=ROOT,
            env={**os.environ, TAG: self.tag, **changes},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait(self) -> int:
        self.out, self.err = self.process.communicate(timeout=HANG_SECONDS)
        return self.process.returncode

    def wait_for(self, holds: Callable[[], bool]) -> None:
        """Wait for something that comes while the process runs."""
        wait_until(lambda: holds() or self.process.poll() is not None)
        assert holds(), self.process.communicate()

    def assert_nothing_is_left(self, seconds: float = 30) -> None:
        wait_until(lambda: not tagged(self.tag), seconds)


def kill_at(begin: Callable[..., Driver], storage: Path, place: str) -> None:
    """Run a study until it is killed.

    Args:
        begin: Returns a driver with these options.
        storage: Where the study is.
        place: What is in the log when the driver and its Ray die, such as ``ended:1``; after
            ``trained:2``, two epochs in all, the driver dies alone: what it leaves ends soon.
    """
    kind, _, count = place.partition(":")
    if kind != "trained":
        driver = begin("--after", place)
    else:
        driver = begin()
        driver.wait_for(lambda: len(stub_run.notes(storage, "trained")) >= int(count))
        kill(driver.process.pid)
    assert driver.wait() == -signal.SIGKILL, (place, driver.err)
    driver.assert_nothing_is_left(10)
