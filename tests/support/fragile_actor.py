"""The warm actor, with places in it where it can be killed."""

import json
import os
from pathlib import Path
from typing import Any

from tests.support import stub_run
from trainables.spec.settings import StudySettings
from trainables.trial.trainable import MultiHeadTrainable


class FragileActor(MultiHeadTrainable):
    """Kills itself where ``kills/`` says; see `tests.support.stub_run`."""

    def setup(self, config: dict[str, Any], settings: StudySettings) -> None:
        super().setup(config, settings)
        self._pass("setup", config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._pass("reset", new_config)
        return super().reset_config(new_config)

    def step(self) -> dict[str, Any]:
        storage = Path(self._settings.storage)
        stub_run.die(storage, "step")
        result = super().step()
        stub_run.die(storage, f"report{result['epoch']}")
        if result["is_last"]:
            stub_run.note(storage, "idle", f"{result['number']} {os.getpid()}")
        return result

    def _pass(self, phase: str, config: dict[str, Any]) -> None:
        stub_run.number = json.loads(config["request"])["number"]
        stub_run.die(Path(self._settings.storage), phase)
