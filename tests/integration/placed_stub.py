"""The stub training, which notes its place, node and GPU, and can wait until so many are at it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support import stub_run
from tests.support.processes import wait_until
from trainables.spec.settings import StudySettings
from trainables.training.run import TrialRun

FACTORY = "tests.integration.placed_stub:make"


def make(settings: StudySettings, config: Mapping[str, Any], **options: Any) -> TrialRun:
    """Build the run; a `trainables.training.run.RunFactory`."""
    import ray

    context = ray.get_runtime_context()
    storage = Path(settings.storage)
    begun = {
        "key": stub_run.key_of(config),
        "node": context.get_node_id(),
        "gpu": context.get_accelerator_ids()["GPU"],
        "share": settings.gpu,
        "limit": settings.gpu_limit_bytes,
    }
    stub_run.note(storage, "begun", json.dumps(begun))
    wait_until(lambda: len(stub_run.notes(storage, "begun")) >= meeting(storage), 120)
    return stub_run.make(settings, config, **options)


def begun(storage: Path) -> list[dict[str, Any]]:
    """Return what each training noted when it was begun."""
    return [json.loads(line) for line in stub_run.notes(storage, "begun")]


def placed(storage: Path) -> list[tuple[str, str]]:
    """Return (key of the config, id of the node) of each training that was begun."""
    return [(one["key"], one["node"]) for one in begun(storage)]


def meet(storage: Path, number: int) -> None:
    """Let trainings wait until so many have been begun."""
    stub_run.note(storage, "meeting", str(number))


def meeting(storage: Path) -> int:
    return int((stub_run.notes(storage, "meeting") or ["0"])[-1])
