"""What Ray's errors say of a lost attempt; the texts are Ray 2.60's own."""

import pickle
from types import SimpleNamespace

import pytest
from ray.core.generated.common_pb2 import ActorDiedErrorContext, NodeDeathInfo
from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayTaskError

from search.attempts import Loss
from search.errors import SearchError, StorageFull, UnfitNode
from search.losing import Lost, why_lost

KILLED = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker "
    "exit detail: Worker unexpectedly exits with a connection error code 2. End of file. Some "
    "common causes include: (1) the process was killed by the OOM killer due to high memory usage"
)
NODE = (
    "The actor died because its node has died. Node Id: 4254ed6b\n\tthe actor's node was "
    "terminated unexpectedly: health check failed due to missing too many heartbeats"
)
MEMORY = "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP"


def died(text, reason=None):
    info = None if reason is None else NodeDeathInfo(reason=reason)
    context = ActorDiedErrorContext(actor_id=b"1" * 16, error_message=text, node_death_info=info)
    return ActorDiedError(cause=context)


def task_error(cause):
    return RayTaskError("train", f"Traceback ...\n{type(cause).__name__}: {cause}", cause)


def failed_trial(folder, error, *, is_pickled=True):
    """Return what Tune makes of an error: a file of text, and one of the error if it can."""
    (folder / "error.txt").write_text(str(error))
    if is_pickled:
        (folder / "error.pkl").write_bytes(pickle.dumps(error))
    return SimpleNamespace(
        error_file=str(folder / "error.txt"),
        pickled_error_file=str(folder / "error.pkl") if is_pickled else None,
    )


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        pytest.param(died(KILLED), Lost(loss=Loss.ACTOR), id="killed"),
        pytest.param(died(NODE), Lost(loss=Loss.NODE), id="node"),
        pytest.param(
            ActorUnavailableError("RpcError: Socket closed", b"1" * 16),
            Lost(loss=Loss.NODE),
            id="unavailable",
        ),
        pytest.param(
            died("", NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED),
            Lost(loss=Loss.PREEMPTED),
            id="preempted",
        ),
        pytest.param(
            task_error(StorageFull("no room")),
            Lost(loss=Loss.STORAGE, detail="no room"),
            id="storage",
        ),
        pytest.param(
            task_error(UnfitNode("no GPU here")),
            Lost(loss=Loss.UNFIT, detail="no GPU here"),
            id="unfit",
        ),
        pytest.param(
            task_error(KeyError("request")),
            Lost(loss=Loss.ACTOR, detail="KeyError: 'request'"),
            id="our_own",
        ),
    ],
)
def test_the_cause_of_a_lost_attempt_is_read_from_rays_error(tmp_path, error, lost):
    assert why_lost(failed_trial(tmp_path, error)) == lost


def test_a_process_that_ray_killed_for_its_nodes_memory_is_told_by_the_text(tmp_path):
    trial = failed_trial(tmp_path, OutOfMemoryError(MEMORY), is_pickled=False)

    assert why_lost(trial) == Lost(loss=Loss.MEMORY)


def test_an_error_that_this_process_cannot_read_counts_as_a_lost_process(tmp_path):
    trial = failed_trial(tmp_path, died(KILLED))
    (tmp_path / "error.pkl").write_bytes(b"cnowhere\nNothing\n.")

    assert why_lost(trial) == Lost(loss=Loss.ACTOR)


def test_a_process_that_cannot_be_set_up_ends_the_study(tmp_path):
    error = ActorDiedError(task_error(ModuleNotFoundError("No module named 'trainables'")))

    with pytest.raises(SearchError, match=r"can be set up, got .*No module named 'trainables'"):
        why_lost(failed_trial(tmp_path, error))
