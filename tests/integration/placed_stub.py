"""The stub training, which also notes on which node of a Ray it is begun."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support import stub_run
from trainables.spec.settings import StudySettings
from trainables.training.run import TrialRun

FACTORY = "tests.integration.placed_stub:make"


def make(settings: StudySettings, config: Mapping[str, Any], **options: Any) -> TrialRun:
    """Build the run; a `trainables.training.run.RunFactory`."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    key = stub_run.key_of(config)
    stub_run.note(Path(settings.storage), "placed", f"{key} {node}")
    return stub_run.make(settings, config, **options)


def placed(storage: Path) -> list[tuple[str, str]]:
    """Return (key of the config, id of the node) of each training that was begun."""
    lines = [line.split() for line in stub_run.notes(storage, "placed")]
    return [(key, node) for key, node in lines]
