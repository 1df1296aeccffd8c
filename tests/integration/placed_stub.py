"""The stub training, which also notes on which node of a Ray it is begun."""

from pathlib import Path

from tests.support import stub_run
from trainables.training.run import RunRequest, TrialRun

FACTORY = "tests.integration.placed_stub:make"


def make(request: RunRequest) -> TrialRun:
    """Build the run; a `trainables.training.run.RunFactory`."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    key = stub_run.key_of(request.config)
    stub_run.note(Path(request.settings.storage), "placed", f"{key} {node}")
    return stub_run.StubRun(request)


def placed(storage: Path) -> list[tuple[str, str]]:
    """Return (key of the config, id of the node) of each training that was begun."""
    lines = [line.split() for line in stub_run.notes(storage, "placed")]
    return [(key, node) for key, node in lines]
