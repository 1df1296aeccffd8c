"""A study that is run by a process of its own, which tests kill, interrupt and wait for."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support.processes import TAG, tagged, wait_until
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
