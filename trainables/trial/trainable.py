"""The warm actor: a Ray trainable that takes one trial after the other in one process."""

import os
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import psutil
import ray
from ray import tune

from trainables.spec.settings import StudySettings
from trainables.storage.store import Store
from trainables.trial.attempt import Attempt, Envelope, TrialFailure


class MultiHeadTrainable(tune.Trainable):  # type: ignore[misc] # ray is not typed
    """Trains the trial that the config's ``request`` (JSON of an `Envelope`) asks for.

    ``setup`` and ``reset_config`` only store the request: an error or a refusal there would
    lose the trial in Tune (ray 2.60). All that takes time or can fail happens in ``step``,
    which returns a failure as a final result, so that the process stays warm.
    """

    def setup(self, config: dict[str, Any], settings: StudySettings) -> None:
        """Store the request; ``settings`` are the same for all trials of a study."""
        self._settings = settings
        self._request = config
        self._attempt: Attempt | None = None
        self._began_at = 0.0
        self._has_trained = False
        self._is_spoiled = False
        self._node = _NodeWatch()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Store the request of the next trial; True, always."""
        self._request = new_config
        self._attempt = None
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch; the result names the trial by our number, not by Tune's id."""
        self._began_at = self._began_at or time.time()
        envelope = Envelope.from_json(self._request["request"])
        if self._attempt is None:
            self._leave_if_node_goes(envelope)
            self._recycle_if_grown(envelope)
            self._attempt = Attempt(
                envelope, self._settings, is_leaving=lambda: self._node.is_leaving
            )
        elif self._attempt.is_saved:
            self._leave_if_node_goes(envelope)
        found = self._attempt.step()
        self._has_trained = True
        if isinstance(found, TrialFailure):
            # What is left of a GPU's memory then lies in pieces.
            self._is_spoiled = found.is_out_of_memory and bool(self._settings.gpu)
            gave, done = asdict(found), True
        else:
            # As text: Tune flattens what it finds nested, and follows each number (ray 2.60).
            gave, done = {"measured": found.to_json().decode()}, found.epoch >= envelope.epochs
        if done:
            self._attempt = None
        return {
            "number": envelope.number,
            "attempt": envelope.attempt,
            "epoch": found.epoch,
            "gave": gave,
            "process": f"{ray.util.get_node_ip_address()}:{os.getpid()}",
            "began_at": self._began_at,
            "is_last": done,  # ``done`` would be an order to Tune: the driver says what ends
        }

    def evaluate(self, points: list[dict[str, Any]]) -> Any:
        """Return the figures of recorded points on the test split; see `evaluate_points`."""
        from trainables.trial.keras_factory import evaluate_points

        return evaluate_points(self._settings.study, self._settings, points, "test")

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Give Tune nothing to keep: the study's folder holds the checkpoints."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Take nothing from Tune: a trial finds its own newest checkpoint."""

    def _setup_logdir(self) -> None:
        """Make no folder: it would lie where every user of the machine may write (ray 2.60)."""
        self._logdir = os.getcwd()

    def _leave_if_node_goes(self, envelope: Envelope) -> None:
        """End this process if its node is taken away: the trial goes on elsewhere, at once.

        Nothing is lost by it, and it is not charged: all that was trained is saved.
        """
        if self._node.is_leaving:
            self._end_process("left", envelope)

    def _recycle_if_grown(self, envelope: Envelope) -> None:
        """End this process before a trial if it has grown too large; not charged to the trial.

        Or if an earlier trial ran out of a GPU's memory in it. A fresh one is never ended: the
        next would be as large, and so on for ever.
        """
        limit = self._settings.recycle_bytes
        has_grown = limit and self._has_trained and _resident_bytes() > limit
        if self._is_spoiled or has_grown:
            self._end_process("recycled", envelope)

    def _end_process(self, why: str, envelope: Envelope) -> None:
        """End this process; the driver finds out why from a file (``search.running.attempts``)."""
        name = f"{envelope.generation:06d}-{envelope.number:06d}-{envelope.attempt:03d}"
        Store(self._settings.study).put(f"{why}/{name}", b"")
        ray.actor.exit_actor()


def _resident_bytes() -> int:
    """Return what this process alone holds: mapped images are the machine's to drop."""
    memory = psutil.Process().memory_info()
    return memory.rss - memory.shared


PAUSE_SECONDS = 1.0
"""Between two looks; one takes a millisecond."""


class _NodeWatch:
    """Looks now and then, in a thread of its own, whether Ray drains this process' node.

    Ray places nothing more on a node that it drains, but it tells the processes there nothing,
    and goes on using those that are there (ray 2.60). Looking takes an answer of the cluster's
    head; while that is away the thread waits for it, and the training does not.
    """

    def __init__(self) -> None:
        self.is_leaving = False
        """Whether the node was announced to go; never taken back."""
        threading.Thread(target=self._look_out, name="node-watch", daemon=True).start()

    def _look_out(self) -> None:
        from ray._private.state import state

        own = ray.get_runtime_context().get_node_id()
        while not self.is_leaving:
            time.sleep(PAUSE_SECONDS)
            with suppress(Exception):  # no answer; the next one will do
                self.is_leaving = own in state.get_draining_nodes()
