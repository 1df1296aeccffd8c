"""What Ray's errors say of a lost attempt; the texts are Ray 2.60's own."""

from types import SimpleNamespace

import pytest
from ray.core.generated.common_pb2 import ActorDiedErrorContext, NodeDeathInfo
from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayTaskError
from ray.tune.experiment import Trial

from search.errors import SearchError, StorageFull, UnfitNode
from search.running.attempts import AttemptEnd, why_lost
from search.running.tune import _errors_kept_from_files

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


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        pytest.param(died(KILLED), AttemptEnd(), id="killed"),
        pytest.param(died(NODE), AttemptEnd(how="node"), id="node"),
        pytest.param(
            ActorUnavailableError("RpcError: Socket closed", b"1" * 16),
            AttemptEnd(how="node"),
            id="unavailable",
        ),
        pytest.param(
            died("", NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED),
            AttemptEnd(how="preempted"),
            id="preempted",
        ),
        pytest.param(
            task_error(StorageFull("no room")),
            AttemptEnd(how="storage", detail="no room"),
            id="storage",
        ),
        pytest.param(
            task_error(UnfitNode("no GPU here")),
            AttemptEnd(how="unfit", detail="no GPU here"),
            id="unfit",
        ),
        pytest.param(
            task_error(KeyError("request")),
            AttemptEnd(detail="KeyError: 'request'"),
            id="our_own",
        ),
        pytest.param(OutOfMemoryError(MEMORY), AttemptEnd(how="memory"), id="memory"),
        pytest.param(RuntimeError("of Tune's own"), AttemptEnd(), id="of_tune"),
        pytest.param(None, AttemptEnd(), id="none"),
    ],
)
def test_the_cause_of_a_lost_attempt_is_read_from_rays_error(error, lost):
    assert why_lost(error) == lost


def test_a_process_that_cannot_be_set_up_ends_the_study():
    error = ActorDiedError(task_error(ModuleNotFoundError("No module named 'trainables'")))

    with pytest.raises(SearchError, match=r"can be set up, got .*No module named 'trainables'"):
        why_lost(error)


def test_tune_hands_the_error_itself_over_and_writes_none(tmp_path):
    data = SimpleNamespace(num_failures=0, invalidate_cache=lambda: None)
    trial = SimpleNamespace(trial_id="a", local_path=str(tmp_path), run_metadata=data)
    error, taken = died(KILLED), []
    former = Trial.handle_error

    with _errors_kept_from_files(lambda *given: taken.append(given)):
        Trial.handle_error(trial, error)

    assert taken == [("a", error)]
    assert data.num_failures == 1  # so that Tune does not try it again
    assert list(tmp_path.iterdir()) == []
    assert Trial.handle_error is former
